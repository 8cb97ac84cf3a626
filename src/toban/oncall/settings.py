"""Settings of people who are on call, and when."""

from collections.abc import Collection, Iterator, Mapping
from datetime import time
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from toban.core.config_types import Section, Zone
from toban.oncall.holiday_calendar import holiday_calendar
from toban.oncall.schedule_settings import (
    MAX_CLOSED,
    MAX_LAYERS,
    MAX_OVERRIDES,
    Closed,
    Layer,
    OverrideSetting,
    TimeOfDay,
    Weekdays,
)


class WorkingHours(Section):
    """When the team works: deadlines that count working hours stand still at other times."""

    days: Weekdays = ("mon", "tue", "wed", "thu", "fri")
    """The days of the week, like `mon-fri`."""

    starts: TimeOfDay = Field(default=time(9), alias="from")
    """When work begins, like `"09:00"`."""

    ends: TimeOfDay = Field(default=time(18), alias="to")
    """When work ends, like `"18:00"`."""

    closed: tuple[Closed, ...] = Field(default=(), max_length=MAX_CLOSED)
    """
    Days without work, in addition to the holidays of `on_call.holidays`: `2026-08-10`, `2026-08-10..2026-08-16`, or of
    each year `"12-29..01-03"`.
    """

    @model_validator(mode="after")
    def _ends_after_it_starts(self) -> "WorkingHours":
        if self.ends <= self.starts:
            raise ValueError("`to` must be later than `from`")
        if not self.days:
            raise ValueError("`days` must name a day")
        return self


class QuietHours(Section):
    """When a person is not notified of incidents; never of a P1. Either `from` and `to`, or `when`."""

    when: Literal["", "outside hours"] = ""
    """`outside hours`: outside `on_call.working_hours`, in the zone of the person."""

    starts: TimeOfDay | None = Field(default=None, alias="from")
    """When quiet begins, in the zone of the person."""

    ends: TimeOfDay | None = Field(default=None, alias="to")
    """When it ends: earlier than `from` is the next day."""

    priorities: tuple[Literal["P2", "P3", "P4"], ...] = ("P2", "P3", "P4")
    """The priorities that wait until then."""

    @model_validator(mode="after")
    def _has_a_time(self) -> "QuietHours":
        given = [it is not None for it in (self.starts, self.ends)]
        if any(given) if self.when else not all(given):
            raise ValueError('give `from` and `to`, or `when: "outside hours"`')
        return self


def _quiet(value: object) -> object:
    """Read quiet hours as a list: one of them, or `outside hours`, is a list of one."""
    if value is None:
        return ()
    found = value if isinstance(value, list | tuple) else (value,)
    return tuple({"when": it} if isinstance(it, str) else it for it in found)


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

    phone: str = ""
    """The number by which calls reach this person, like `+81901234567`: they answer with a key."""

    line: str = ""
    """The user ID at LINE (U…), which events of its webhook have."""

    quiet: Annotated[tuple[QuietHours, ...], BeforeValidator(_quiet)] = Field(default=(), max_length=20)
    """When this person is not notified; one of these needs no list."""

    shift_notice: bool = True
    """Whether they are told by their first channel when their shift starts; at night after their quiet hours."""


def _known_zone(value: str) -> str:
    ZoneInfo(value)
    return value


def _known_country(value: str) -> str:
    holiday_calendar(value)
    return value


class OnCallSettings(Section):
    """The people who can be on call, and when."""

    people: Mapping[str, Person] = Field(default_factory=dict)
    """People by short names, like `hana`."""

    timezone: Annotated[Zone, AfterValidator(_known_zone)] | None = None
    """The time zone of shifts and working hours; default: that of `notify`."""

    working_hours: WorkingHours = WorkingHours()

    holidays: Annotated[str, AfterValidator(_known_country)] = ""
    """Whose holidays are days without work: `jp`; or another country like `de` or `de-BY`, by `toban[holidays]`."""

    layers: tuple[Layer, ...] = Field(default=(), max_length=MAX_LAYERS)
    """The on-call schedule; default: everybody is always on call. A later layer has precedence over an earlier one."""

    overrides: tuple[OverrideSetting, ...] = Field(default=(), max_length=MAX_OVERRIDES)
    """Who is on call in place of others, above all layers; a later one has precedence over an earlier one."""

    fallback: tuple[str, ...] = ()
    """Who is notified when nobody else can be: people by name; default: everyone."""

    @model_validator(mode="after")
    def _overrides_a_schedule(self) -> "OnCallSettings":
        if self.overrides and not self.layers:
            raise ValueError("`overrides` need `layers`: without a schedule everybody is always on call")
        return self

    def layer_name(self, number: int) -> str:
        """Return the name of a layer, counted from 0."""
        return self.layers[number].name or f"layer {number + 1}"


def unknown_names(on_call: OnCallSettings, channels: Collection[str]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Yield the channels and people that settings name and that are not configured, each with its place."""
    configured = ", ".join(sorted(channels)) or "none"
    people = ", ".join(on_call.people) or "nobody"
    for name, person in on_call.people.items():
        for channel in person.channels:
            if channel not in channels:
                yield ("people", name, "channels"), f"unknown channel {channel!r}: configured are {configured}"
    for path, name in _people_named(on_call):
        if name not in on_call.people:
            yield path, f"unknown person {name!r}: `on_call.people` has {people}"


def _people_named(on_call: OnCallSettings) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Yield the people whom the schedule and the fallback name, each with its place."""
    for name in on_call.fallback:
        yield ("fallback",), name
    for number, layer in enumerate(on_call.layers):
        for turn in layer.people:
            for name in turn:
                yield ("layers", number, "people"), name
    for number, override in enumerate(on_call.overrides):
        yield ("overrides", number, "person"), override.person
        if override.instead_of:
            yield ("overrides", number, "instead_of"), override.instead_of
