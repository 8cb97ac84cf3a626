"""Settings of incidents: what belongs together, deadlines, escalation."""

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Annotated, Final, Literal

from pydantic import BeforeValidator, Field

from toban.core.config_types import Duration, Section
from toban.oncall.settings import OnCallSettings

Priority = Literal["P1", "P2", "P3", "P4"]

ON_CALL: Final = "on_call"
NEXT: Final = "next"
EVERYONE: Final = "everyone"
TARGETS: Final = (ON_CALL, NEXT, EVERYONE)
"""Whom a step of an escalation may name, beside people: who is on call then, who is on call after them, everyone."""


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


def _known_priorities(value: object) -> object:
    unknown = [key for key in value if key not in DEADLINES] if isinstance(value, Mapping) else []
    if unknown:
        raise ValueError(f"unknown priority {unknown[0]!r:.60}: there are {', '.join(DEADLINES)}")
    return value


_KnownPriorities: Final = BeforeValidator(_known_priorities)


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

    deadlines: Annotated[Mapping[Priority, Deadlines], _KnownPriorities] = Field(default_factory=dict)
    """Deadlines by priority, where they differ from the defaults."""

    around_the_clock: tuple[Priority, ...] = ("P1",)
    """The priorities whose deadlines always run; those of the others stand still outside working hours."""

    acknowledged_for: Annotated[Mapping[Priority, Duration], _KnownPriorities] = Field(default_factory=dict)
    """How long an acknowledgement lasts by priority, where it differs from the defaults; then toban asks again."""

    answer_within: Duration = timedelta(minutes=5)
    """How long toban waits for the answer to that before it escalates again."""

    escalation: Annotated[Mapping[Priority, tuple[EscalationStep, ...]], _KnownPriorities] = Field(default_factory=dict)
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


def unknown_people(incidents: IncidentSettings, on_call: OnCallSettings) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Yield the people whom escalations name and who are not configured, and ambiguous names, with their places."""
    for name in on_call.people:
        if name in TARGETS:
            yield ("on_call", "people", name), f"{name!r} has a meaning of its own in escalations: choose another name"
    people = ", ".join(on_call.people) or "nobody"
    for priority, steps in incidents.escalation.items():
        for place, step in enumerate(steps):
            for name in step.notify:
                if name not in TARGETS and name not in on_call.people:
                    known = f"`on_call.people` has {people}, and there are {', '.join(TARGETS)}"
                    yield ("incidents", "escalation", priority, place, "notify"), f"unknown person {name!r}: {known}"
