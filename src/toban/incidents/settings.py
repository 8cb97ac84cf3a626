"""Settings of incidents: what belongs together, deadlines, escalation; and of people who are on call."""

from collections.abc import Collection, Iterator, Mapping
from datetime import date, time, timedelta
from typing import Annotated, Final, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from toban.core.config_types import Duration, Section, Zone

Priority = Literal["P1", "P2", "P3", "P4"]

ON_CALL: Final = "on_call"
NEXT: Final = "next"
EVERYONE: Final = "everyone"
TARGETS: Final = (ON_CALL, NEXT, EVERYONE)
"""Whom a step of an escalation may name, beside people: who is on call then, who is on call after them, everyone."""

WEEKDAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def _clock_time(value: object) -> object:
    if isinstance(value, int):
        raise ValueError('a time of day needs quotes: "09:00"')  # noqa: TRY004  # YAML 1.1 reads 09:00 as a number
    return value


def _weekdays(value: object) -> object:
    """Read weekdays as `mon-fri`, `mon,wed` or a list of these."""
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, list | tuple):
        return value
    days: list[str] = []
    for part in parts:
        first, _, last = str(part).strip().lower().partition("-")
        if first not in WEEKDAYS or (last and last not in WEEKDAYS):
            raise ValueError(f"invalid weekdays {part!r}: write them like mon-fri, or mon, wed, sat")
        place = WEEKDAYS.index(first)
        count = (WEEKDAYS.index(last) - place) % 7 + 1 if last else 1
        days += [WEEKDAYS[(place + step) % 7] for step in range(count)]
    return tuple(dict.fromkeys(days))


Weekdays = Annotated[tuple[str, ...], BeforeValidator(_weekdays)]
"""Days of the week, like `mon-fri`."""

TimeOfDay = Annotated[time, BeforeValidator(_clock_time)]
"""A time of day, like `"09:00"`."""


class Deadlines(Section):
    """How soon somebody must answer an incident, and how soon it must be resolved."""

    respond: Duration
    """From its start until somebody acknowledges it."""

    resolve: Duration
    """From its start until it is resolved."""


class EscalationStep(Section):
    """A step of an escalation."""

    notify: tuple[str, ...] = (ON_CALL,)
    """Whom: `on_call`, `next` (who is on call after them), `everyone`, or people by name."""

    wait: Duration = timedelta(minutes=5)
    """How long to wait for an answer before the next step; the last step is repeated at this interval."""


class WorkingHours(Section):
    """When the team works: deadlines that count working hours stand still at other times."""

    days: Weekdays = ("mon", "tue", "wed", "thu", "fri")
    """The days of the week, like `mon-fri`."""

    starts: TimeOfDay = Field(default=time(9), alias="from")
    """When work begins, like `"09:00"`."""

    ends: TimeOfDay = Field(default=time(18), alias="to")
    """When work ends, like `"18:00"`."""

    closed: tuple[date, ...] = ()
    """Days without work, in addition to the holidays of `on_call.holidays`."""

    @model_validator(mode="after")
    def _ends_after_it_starts(self) -> "WorkingHours":
        if self.ends <= self.starts:
            raise ValueError("`to` must be later than `from`")
        if not self.days:
            raise ValueError("`days` must name a day")
        return self


class QuietHours(Section):
    """When a person is not notified of incidents; never of a P1."""

    starts: TimeOfDay = Field(alias="from")
    """When quiet begins, in the zone of the person."""

    ends: TimeOfDay = Field(alias="to")
    """When it ends: earlier than `from` is the next day."""

    priorities: tuple[Literal["P2", "P3", "P4"], ...] = ("P2", "P3", "P4")
    """The priorities that wait until then."""


class Person(Section):
    """Somebody who can be on call."""

    title: str = Field(default="", alias="name")
    """The name that is shown; default: the key."""

    timezone: Zone | None = None
    """The time zone of the person; default: that of `on_call`."""

    channels: tuple[str, ...] = ()
    """The channels that reach this person, the first one first: each further step tries one more."""

    user: str = ""
    """The user of the console that is this person; default: the key."""

    email: str = ""
    """The address by which calendars and single sign-on name this person."""

    slack: str = ""
    """The member ID at Slack, like `U012AB3CD`."""

    pagerduty: str = ""
    """The e-mail address or user ID at PagerDuty, if another one."""

    quiet: QuietHours | None = None


def _known_zone(value: str) -> str:
    ZoneInfo(value)
    return value


class OnCallSettings(Section):
    """The people who can be on call, and when."""

    people: Mapping[str, Person] = Field(default_factory=dict)
    """People by short names, like `hana`."""

    timezone: Annotated[Zone, AfterValidator(_known_zone)] | None = None
    """The time zone of shifts and working hours; default: that of `notify`."""

    working_hours: WorkingHours = WorkingHours()

    fallback: tuple[str, ...] = ()
    """Who is notified when nobody else can be: people by name; default: everyone."""


DEADLINES: Final[Mapping[Priority, Deadlines]] = {
    "P1": Deadlines(respond=timedelta(minutes=15), resolve=timedelta(hours=4)),
    "P2": Deadlines(respond=timedelta(hours=1), resolve=timedelta(hours=24)),
    "P3": Deadlines(respond=timedelta(hours=4), resolve=timedelta(hours=72)),
    "P4": Deadlines(respond=timedelta(hours=24), resolve=timedelta(hours=168)),
}

ACKNOWLEDGED_FOR: Final[Mapping[Priority, timedelta]] = {
    "P1": timedelta(minutes=30),
    "P2": timedelta(hours=4),
    "P3": timedelta(hours=24),
    "P4": timedelta(hours=72),
}

ESCALATION: Final[Mapping[Priority, tuple[EscalationStep, ...]]] = {
    "P1": (
        EscalationStep(notify=(ON_CALL,), wait=timedelta(minutes=5)),
        EscalationStep(notify=(ON_CALL,), wait=timedelta(minutes=5)),
        EscalationStep(notify=(ON_CALL, NEXT), wait=timedelta(minutes=5)),
        EscalationStep(notify=(EVERYONE,), wait=timedelta(minutes=15)),
    ),
    "P2": (
        EscalationStep(notify=(ON_CALL,), wait=timedelta(minutes=30)),
        EscalationStep(notify=(ON_CALL, NEXT), wait=timedelta(hours=1)),
        EscalationStep(notify=(EVERYONE,), wait=timedelta(hours=4)),
    ),
    "P3": (EscalationStep(notify=(ON_CALL,), wait=timedelta(hours=24)),),
    "P4": (),
}


class IncidentSettings(Section):
    """How alerts become incidents, and how people are reached."""

    enabled: bool = True
    """Whether alerts open incidents."""

    delay: Duration = timedelta(seconds=10)
    """How long an alert fires before it opens an incident: what explains it may fire meanwhile."""

    window: Duration = timedelta(minutes=30)
    """How long after the last change of an incident an alert of the same component still belongs to it."""

    resolve_after: Duration = timedelta(seconds=90)
    """How long all alerts must be resolved before the incident is."""

    reopen_within: Duration = timedelta(minutes=15)
    """How soon after it was resolved an alert that fires again re-opens an incident."""

    deadlines: Mapping[Priority, Deadlines] = Field(default_factory=dict)
    """Deadlines by priority, where they differ from the defaults."""

    around_the_clock: tuple[Priority, ...] = ("P1",)
    """The priorities whose deadlines always run; those of the others stand still outside working hours."""

    acknowledged_for: Mapping[Priority, Duration] = Field(default_factory=dict)
    """How long an acknowledgement lasts by priority, where it differs from the defaults; then toban asks again."""

    answer_within: Duration = timedelta(minutes=5)
    """How long toban waits for the answer to that before it escalates again."""

    escalation: Mapping[Priority, tuple[EscalationStep, ...]] = Field(default_factory=dict)
    """Steps of the escalation by priority, where they differ from the defaults."""

    def deadlines_of(self, priority: Priority) -> Deadlines:
        """Return the deadlines of a priority."""
        return self.deadlines.get(priority, DEADLINES[priority])

    def acknowledgement_of(self, priority: Priority) -> timedelta:
        """Return how long an acknowledgement of a priority lasts."""
        return self.acknowledged_for.get(priority, ACKNOWLEDGED_FOR[priority])

    def steps_of(self, priority: Priority) -> tuple[EscalationStep, ...]:
        """Return the steps of the escalation of a priority."""
        return self.escalation.get(priority, ESCALATION[priority])


def unknown_names(
    incidents: IncidentSettings, on_call: OnCallSettings, channels: Collection[str]
) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Yield what settings say of channels and people that are not configured, with its place."""
    configured = ", ".join(sorted(channels)) or "none"
    people = ", ".join(on_call.people) or "nobody"
    for name, person in on_call.people.items():
        for channel in person.channels:
            if channel not in channels:
                message = f"unknown channel {channel!r}: configured are {configured}"
                yield ("on_call", "people", name, "channels"), message
        if name in TARGETS:
            yield ("on_call", "people", name), f"{name!r} has a meaning of its own in escalations: choose another name"
    for name in on_call.fallback:
        if name not in on_call.people:
            yield ("on_call", "fallback"), f"unknown person {name!r}: `on_call.people` has {people}"
    for priority, steps in incidents.escalation.items():
        for place, step in enumerate(steps):
            for name in step.notify:
                if name not in TARGETS and name not in on_call.people:
                    known = f"`on_call.people` has {people}, and there are {', '.join(TARGETS)}"
                    yield ("incidents", "escalation", priority, place, "notify"), f"unknown person {name!r}: {known}"
