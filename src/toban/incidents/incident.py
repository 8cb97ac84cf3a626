"""Incidents: what people are called for, from the first alert to the last."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, Literal, Self, cast

from toban.core.alerts import PRIORITIES, Alert, AlertStatus, priority
from toban.core.impact import Impact
from toban.incidents.settings import Priority

MAX_ALERTS: Final = 200
"""How many alerts an incident holds; more of them are notified, and don't belong to any."""

Hold = Literal["", "quiet", "suppressed"]
"""What a step of an escalation waits for the end of: nothing, quiet hours, or what silences all of its alerts."""


class IncidentState(StrEnum):
    """The state of an incident."""

    TRIGGERED = "triggered"
    """Nobody has answered."""
    ACKNOWLEDGED = "acknowledged"
    """Somebody works on it."""
    RESOLVED = "resolved"


class EntryKind(StrEnum):
    """What an entry of the timeline tells."""

    OPENED = "opened"
    REOPENED = "reopened"
    ALERT_FIRED = "alert_fired"
    ALERT_RESOLVED = "alert_resolved"
    PRIORITY = "priority"
    PAGED = "paged"
    NOBODY = "nobody"
    HELD = "held"
    DELIVERED = "delivered"
    NOT_DELIVERED = "not_delivered"
    ACKNOWLEDGED = "acknowledged"
    UNACKNOWLEDGED = "unacknowledged"
    ASKED = "asked"
    LAPSED = "lapsed"
    SNOOZED = "snoozed"
    WOKEN = "woken"
    ASSIGNED = "assigned"
    NOTE = "note"
    ESCALATED = "escalated"
    DEADLINE = "deadline"
    HANDED_OVER = "handed_over"
    MERGED = "merged"
    SPLIT = "split"
    RESOLVED = "resolved"
    ACTION_ITEM = "action_item"
    RUNBOOK = "runbook"
    DEPLOY = "deploy"


@dataclass(frozen=True, slots=True)
class TimelineEntry:
    """
    Something that happened in an incident: at which time, what, by whom, and the facts.

    ``actor`` is a person or a principal; empty where toban itself acted.
    """

    incident: int
    at: datetime
    kind: EntryKind
    actor: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    id: int = 0
    """Its number; 0 before it is stored."""


@dataclass(frozen=True, slots=True)
class Answer:
    """
    That somebody works on an incident: who, since when, and until when that counts.

    ``asked`` is when toban asked whether it still does; nothing before it asked. ``is_snooze`` means that they want to
    be called again at ``until`` without being asked.
    """

    by: str
    at: datetime
    until: datetime
    comment: str = ""
    asked: datetime | None = None
    is_snooze: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "by": self.by,
            "at": self.at.isoformat(),
            "until": self.until.isoformat(),
            "comment": self.comment,
            "asked": _text(self.asked),
            "is_snooze": self.is_snooze,
        }

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> Self:
        """Return it from what ``as_dict`` returned."""
        return cls(
            body["by"],
            datetime.fromisoformat(body["at"]),
            datetime.fromisoformat(body["until"]),
            body["comment"],
            _time(body["asked"]),
            body["is_snooze"],
        )


@dataclass(frozen=True, slots=True)
class Escalation:
    """
    How far an escalation is: the next step, when it is due, and how many steps were made since it began.

    ``attempts`` counts how often each person was notified: each time they are tried by one more channel.
    """

    step: int
    due: datetime
    number: int = 0
    attempts: Mapping[str, int] = field(default_factory=dict)
    held: Hold = ""
    """What the step waits for the end of; the timeline says it once."""

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "step": self.step,
            "due": self.due.isoformat(),
            "number": self.number,
            "attempts": dict(self.attempts),
            "held": self.held,
        }

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> Self:
        """Return it from what ``as_dict`` returned."""
        due, held = datetime.fromisoformat(body["due"]), body["held"]
        if isinstance(held, bool):  # written before the two were told apart
            held = "suppressed" if held else ""
        return cls(body["step"], due, body["number"], dict(body["attempts"]), held)


@dataclass(frozen=True, slots=True)
class ActionItem:
    """Something to do after an incident, by whom; open until it is ticked."""

    number: int
    text: str
    owner: str = ""
    done: datetime | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {"number": self.number, "text": self.text, "owner": self.owner, "done": _text(self.done)}

    @classmethod
    def from_dict(cls, place: int, body: Mapping[str, Any]) -> Self:
        """Return it from what ``as_dict`` returned; older versions wrote no number but its place, from 1."""
        return cls(body.get("number", place), body["text"], body["owner"], _time(body["done"]))


@dataclass(frozen=True, slots=True)
class Incident:
    """
    An incident.

    ``opened`` is when toban opened it, ``starts`` since when something is wrong. ``alerts`` are by fingerprint.
    ``paged`` are the channels whose people were called: they also get the answer and the end.
    """

    id: int
    title: str
    priority: Priority
    state: IncidentState
    opened: datetime
    starts: datetime
    updated: datetime
    alerts: Mapping[str, Alert] = field(default_factory=dict)
    component: str = ""
    title_ja: str = ""
    """The title in Japanese, where the alert that opened it has one; one that somebody typed is the same for all."""
    answer: Answer | None = None
    responded: datetime | None = None
    """When it was acknowledged for the first time."""
    reopened: datetime | None = None
    """When it was opened again for the last time."""
    resolved: datetime | None = None
    resolved_by: str = ""
    """Who resolved it; empty where its alerts did."""
    assignee: str = ""
    escalation: Escalation | None = None
    paged: tuple[str, ...] = ()
    messages: int = 0
    """How many messages were sent: the number of the next one."""
    warned: frozenset[str] = frozenset()
    """The deadlines that were warned about, like ``respond 50``."""
    on_duty: tuple[str, ...] = ()
    """Who was on call when that was last looked up."""
    merged_into: int = 0
    declared_by: str = ""
    """Who declared it; empty where alerts opened it."""
    summary: str = ""
    """What happened, in the words of the person who wrote the report."""
    action_items: Sequence[ActionItem] = ()
    impact: Impact | None = None
    lingering: frozenset[str] = frozenset()
    """The alerts that fire only as long as their windows reach back to what was resolved."""
    is_out_of_step: bool = False
    """Whether its alerts must still be told that it is acknowledged, or no longer."""
    runs_told: frozenset[int] = frozenset()
    """The runs of runbooks that people were told of because they ask for something: they also hear how these end."""

    def titled(self, language: str) -> str:
        """Return its title in a language."""
        return (self.title_ja if language == "ja" else "") or self.title

    @property
    def is_open(self) -> bool:
        """Whether it is not resolved."""
        return self.state is not IncidentState.RESOLVED

    @property
    def due_from(self) -> datetime:
        """When the clocks of its deadlines began to run: what was resolved meanwhile gets its time again."""
        return self.reopened or self.opened

    @property
    def thread(self) -> str:
        """The id that all of its messages share."""
        return f"incident-{self.id}"

    @property
    def firing(self) -> list[Alert]:
        """Its alerts that fire, the most urgent first."""
        found = [it for it in self.alerts.values() if it.status is AlertStatus.FIRING]
        return sorted(found, key=lambda it: (priority(it.labels), it.starts, it.fingerprint))

    @property
    def is_settling(self) -> bool:
        """Whether none of its alerts fires any more, or just lingers: it is resolved soon, unless one comes back."""
        return self.is_open and bool(self.alerts) and not self.acute

    @property
    def acute(self) -> list[Alert]:
        """Its alerts that fire for more than what was resolved, the most urgent first."""
        return [it for it in self.firing if it.fingerprint not in self.lingering]

    @property
    def severity(self) -> str:
        """The severity of its messages."""
        return {"P1": "critical", "P2": "warning"}.get(self.priority, "info")

    def changed(self, now: datetime, **fields: Any) -> Self:
        """Return it with some fields changed now."""
        return replace(self, updated=now, **fields)

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data, without its id."""
        return {
            "title": self.title,
            "priority": self.priority,
            "state": self.state.value,
            "opened": self.opened.isoformat(),
            "starts": self.starts.isoformat(),
            "updated": self.updated.isoformat(),
            "alerts": [alert.as_dict() for alert in self.alerts.values()],
            "component": self.component,
            "title_ja": self.title_ja,
            "answer": self.answer.as_dict() if self.answer else None,
            "responded": _text(self.responded),
            "reopened": _text(self.reopened),
            "resolved": _text(self.resolved),
            "resolved_by": self.resolved_by,
            "assignee": self.assignee,
            "escalation": self.escalation.as_dict() if self.escalation else None,
            "paged": list(self.paged),
            "messages": self.messages,
            "warned": sorted(self.warned),
            "on_duty": list(self.on_duty),
            "merged_into": self.merged_into,
            "declared_by": self.declared_by,
            "summary": self.summary,
            "action_items": [it.as_dict() for it in self.action_items],
            "impact": self.impact.as_dict() if self.impact else None,
            "lingering": sorted(self.lingering),
            "is_out_of_step": self.is_out_of_step,
            "runs_told": sorted(self.runs_told),
        }

    @classmethod
    def from_dict(cls, number: int, body: Mapping[str, Any]) -> Self:
        """Return the incident that ``as_dict`` returned."""
        alerts = [Alert.from_dict(it) for it in body["alerts"]]
        return cls(
            id=number,
            title=body["title"],
            priority=checked_priority(body["priority"]),
            state=IncidentState(body["state"]),
            opened=datetime.fromisoformat(body["opened"]),
            starts=datetime.fromisoformat(body["starts"]),
            updated=datetime.fromisoformat(body["updated"]),
            alerts={alert.fingerprint: alert for alert in alerts},
            component=body["component"],
            title_ja=body.get("title_ja", ""),
            answer=Answer.from_dict(body["answer"]) if body["answer"] else None,
            responded=_time(body["responded"]),
            reopened=_time(body.get("reopened")),  # incidents of older versions are read too
            resolved=_time(body["resolved"]),
            resolved_by=body["resolved_by"],
            assignee=body["assignee"],
            escalation=Escalation.from_dict(body["escalation"]) if body["escalation"] else None,
            paged=tuple(body["paged"]),
            messages=body["messages"],
            warned=frozenset(body["warned"]),
            on_duty=tuple(body["on_duty"]),
            merged_into=body["merged_into"],
            declared_by=body["declared_by"],
            summary=body["summary"],
            action_items=tuple(ActionItem.from_dict(at, it) for at, it in enumerate(body["action_items"], 1)),
            impact=Impact.from_dict(body["impact"]) if body["impact"] else None,
            lingering=frozenset(body.get("lingering", ())),
            is_out_of_step=body["is_out_of_step"],
            runs_told=frozenset(body.get("runs_told", ())),
        )


def checked_priority(text: str) -> Priority:
    """Return a priority. Raises ``ValueError``."""
    if text not in PRIORITIES:
        raise ValueError(f"unknown priority {text[:20]!r}: known are {', '.join(PRIORITIES)}")
    return cast("Priority", text)


def most_urgent(alerts: Sequence[Alert], least: Priority = "P4") -> Priority:
    """Return the most urgent priority of some alerts, at least ``least``."""
    return cast("Priority", min([least, *(priority(it.labels) for it in alerts)]))


def _text(at: datetime | None) -> str | None:
    return at.isoformat() if at else None


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
