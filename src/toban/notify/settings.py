"""Settings of notifications: routes, grouping, inhibition, maintenance windows, flapping."""

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field

from toban.core.config_types import Address, Duration, Section, Zone
from toban.core.matcher_syntax import MatcherText
from toban.core.schedule import Schedule


class Route(Section):
    """Where some alerts go."""

    matchers: tuple[MatcherText, ...] = ()
    """Matchers that must all match, like `severity="critical"`. Without any the route takes all alerts."""

    channels: tuple[str, ...] = ()
    """The channels to notify; with none at all these alerts are not notified."""

    group_by: tuple[str, ...] = ("alertname",)
    """The labels by which alerts are grouped into one notification."""

    group_wait: Duration | None = None
    """How long the first notification of a group waits for more alerts."""

    group_interval: Duration | None = None
    """How long after a notification the next one of the same group may follow, if something changed."""

    repeat_interval: Duration | None = None
    """How long after its last notification an unchanged group is notified again."""

    goes_on: bool = Field(default=False, alias="continue")
    """Whether routes below this one may match the same alerts too."""


class Inhibition(Section):
    """Alerts that are not notified while another alert explains them."""

    source_matchers: tuple[MatcherText, ...]
    """Matchers of the alert that explains others."""

    target_matchers: tuple[MatcherText, ...]
    """Matchers of the alerts that it inhibits."""

    equal: tuple[str, ...] = ()
    """Labels that must be equal in both."""


class Window(Section):
    """A recurring time in which some alerts are not notified, because somebody works on the shop."""

    name: str
    """Its name, like the work that is done."""

    cron: Schedule
    """When it opens: `0 3 * * 0` is Sundays at 03:00."""

    lasts: Duration = Field(alias="for")
    """How long it is open."""

    timezone: Zone | None = None
    """The time zone of `cron`; default: that of `notify`."""

    matchers: tuple[MatcherText, ...] = ()
    """Matchers of the alerts that are muted; without any, all alerts."""


class Flapping(Section):
    """When an alert counts as flapping."""

    changes: Annotated[int, Field(ge=3)] = 6
    """How many times an alert may fire or resolve within 15 minutes before it is flapping."""

    settle: Duration = timedelta(seconds=90)
    """How long an alert must be resolved before that is notified."""

    stable: Duration = timedelta(minutes=10)
    """How long a flapping alert must not change before it is stable."""


class Heartbeat(Section):
    """A dead man's switch: a URL that is requested while toban works, and raises the alarm when requests stop."""

    url: Address
    """The URL to request, from Healthchecks.io, UptimeRobot or Dead Man's Snitch."""

    interval: Duration = timedelta(minutes=1)
    """How often, while rules are evaluated and notifications delivered in time."""


class Drill(Section):
    """An alert that fires on purpose, to check that its notification is delivered."""

    enabled: bool = True
    """Whether drills run on schedule; `toban alerts drill` starts one at any time."""

    cron: Schedule = "0 10 * * 1"
    """When; default: Mondays at 10:00 in the time zone of `notify`."""

    channels: tuple[str, ...] = ()
    """The channels that must deliver it; default: those that page nobody."""


class NotifySettings(Section):
    """Who is notified of what, in which language, and how often."""

    language: Literal["en", "ja"] = "en"
    """The language of notifications."""

    timezone: Zone = "UTC"
    """The time zone of times in notifications, of maintenance windows and drills."""

    address: Address | None = None
    """The URL of toban's pages, for links in notifications."""

    routes: tuple[Route, ...] = ()
    """Where alerts go: the first route that matches; without a match, by severity to the configured channels."""

    group_by: tuple[str, ...] = ("alertname",)
    """The labels by which alerts without a route are grouped into one notification."""

    group_wait: Duration = timedelta(seconds=10)
    """How long the first notification of a group waits for more alerts."""

    group_interval: Duration = timedelta(minutes=1)
    """How long after a notification the next one of the same group may follow, if something changed."""

    repeat_interval: Duration = timedelta(hours=4)
    """How long after its last notification an unchanged group is notified again."""

    fallback: str = ""
    """The channel for what another one could not deliver for two minutes; default: any other channel."""

    inhibit: tuple[Inhibition, ...] = ()
    """Inhibit rules, in addition to the shipped ones."""

    maintenance_windows: tuple[Window, ...] = ()
    """Recurring times in which some alerts are not notified."""

    flapping: Flapping = Flapping()

    heartbeat: Heartbeat | None = None

    drill: Drill = Drill()
