"""Who hears about what."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Final, Literal

from cronsim import CronSim, CronSimError
from pydantic import AfterValidator, Field

from toban.core.config_types import Address, Duration, Section, Zone
from toban.notify.matcher_syntax import MatcherText

SIGNS: Final = {"@hourly": "0 * * * *", "@daily": "0 0 * * *", "@weekly": "0 0 * * 0", "@monthly": "0 0 1 * *"}
"""Words for times that schedules often name."""


def _cron(text: str) -> str:
    plain = SIGNS.get(text, text)
    try:
        CronSim(plain, datetime(2026, 1, 1, tzinfo=UTC))
    except CronSimError as error:
        raise ValueError(f"{text!r} is no time of a schedule ({error}): write it like `0 3 * * 1`") from error
    return plain


Schedule = Annotated[str, AfterValidator(_cron)]
"""Minutes, hours, days, months and weekdays, as cron writes them."""


class Route(Section):
    """Where some alerts go."""

    matchers: tuple[MatcherText, ...] = ()
    """Conditions on labels, all of which must be met: `severity="critical"`. Without any it takes all alerts."""

    channels: tuple[str, ...] = ()
    """The channels to tell; none at all keeps quiet about these alerts."""

    group_by: tuple[str, ...] = ("alertname",)
    """The labels by which alerts are put together in one message."""

    group_wait: Duration | None = None
    """How long the first message of a group waits for others to join."""

    group_interval: Duration | None = None
    """How long after a message the next one of the same group may follow, if there is news."""

    repeat_interval: Duration | None = None
    """How long after its last message a group is told again that nothing has changed."""

    goes_on: bool = Field(default=False, alias="continue")
    """Whether routes below this one may take the same alerts too."""


class Inhibition(Section):
    """What is not told while something else explains it."""

    source_matchers: tuple[MatcherText, ...]
    """Conditions on the alert that explains."""

    target_matchers: tuple[MatcherText, ...]
    """Conditions on the alerts that it holds back."""

    equal: tuple[str, ...] = ()
    """Labels in which both must agree."""


class Window(Section):
    """A time in which some alerts are not told, because somebody works on the shop."""

    name: str
    """What is done in it."""

    cron: Schedule
    """When it begins: `0 3 * * 0` is Sundays at three."""

    lasts: Duration = Field(alias="for")
    """How long it is open, on a clock that never jumps."""

    timezone: Zone | None = None
    """The time zone of its clock; that of `notify` unless set."""

    matchers: tuple[MatcherText, ...] = ()
    """Conditions on the alerts that are muted; all of them without any."""


class Flapping(Section):
    """What is done about alerts that come and go."""

    changes: Annotated[int, Field(ge=3)] = 6
    """How many times an alert may begin or end within a quarter of an hour before it is called unstable."""

    settle: Duration = timedelta(seconds=90)
    """How long an alert must be over before that is told."""

    stable: Duration = timedelta(minutes=10)
    """How long an unstable alert must stay as it is before it is called stable."""


class Heartbeat(Section):
    """Who watches toban: an address that misses it when it is silent."""

    url: Address
    """The address to ask, as Healthchecks, UptimeRobot or Dead Man's Snitch give it."""

    interval: Duration = timedelta(minutes=1)
    """How often, while rules are judged, messages leave and beats are kept."""


class Drill(Section):
    """An alert on purpose, to see whether its message arrives."""

    enabled: bool = True
    """Whether there is one at set times; `toban alerts drill` starts one at any time."""

    cron: Schedule = "0 10 * * 1"
    """When: Mondays at ten, in the time zone of `notify`, unless set."""

    channels: tuple[str, ...] = ()
    """The channels that must hear of it; those that wake nobody unless set."""


class NotifySettings(Section):
    """Who hears about what, in which words, and how often."""

    language: Literal["en", "ja"] = "en"
    """The language of messages."""

    timezone: Zone = "UTC"
    """The time zone of times in messages, and of windows."""

    address: Address | None = None
    """Where people find toban's pages, for links in messages."""

    routes: tuple[Route, ...] = ()
    """Where alerts go, the first that fits; what fits none goes by severity to the channels there are."""

    group_by: tuple[str, ...] = ("alertname",)
    """The labels by which alerts that no route takes are put together in one message."""

    group_wait: Duration = timedelta(seconds=10)
    """How long the first message of a group waits for others to join."""

    group_interval: Duration = timedelta(minutes=1)
    """How long after a message the next one of the same group may follow, if there is news."""

    repeat_interval: Duration = timedelta(hours=4)
    """How long after its last message a group is told again that nothing has changed."""

    fallback: str = ""
    """The channel that hears what another one could not be told for two minutes; another one there is unless set."""

    inhibit: tuple[Inhibition, ...] = ()
    """What is not told while something else explains it, beside what is shipped."""

    maintenance_windows: tuple[Window, ...] = ()
    """Times in which some alerts are not told."""

    flapping: Flapping = Flapping()

    heartbeat: Heartbeat | None = None

    drill: Drill = Drill()
