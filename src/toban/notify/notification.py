"""What people are told."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, NamedTuple, Self

from toban.core.alerts import Alert
from toban.core.labels import Labels


class NotificationKind(StrEnum):
    """Why a notification is sent."""

    FIRING = "firing"
    """Something is wrong, or more than before."""
    REMINDER = "reminder"
    """The same is still wrong."""
    ACKNOWLEDGED = "acknowledged"
    """Somebody looks after it."""
    UNSTABLE = "unstable"
    """It comes and goes; there will be no word of each time."""
    RESOLVED = "resolved"
    """All of it is over."""
    NOTICE = "notice"
    """A word of toban's own that belongs to no alert: a silence that ends, a drill, a channel that fails."""


class Link(NamedTuple):
    """Where to look."""

    text: str
    href: str


class Fact(NamedTuple):
    """A name and what it is, like `Priority`: `P1`."""

    name: str
    value: str


APART: Final = "~"
"""Stands in a key between that of a message, and what tells a copy from it: another channel, or one recipient."""


@dataclass(frozen=True, slots=True)
class Notification:
    """
    One message, in words that suit every channel; each dresses it for its own stage.

    Text is plain: it may hold what others wrote, and each channel escapes it. ``thread`` is the same from an alert
    group's first firing to its end; ``number`` counts a thread's messages from 0; ``key`` is the same however often
    this message is tried.
    """

    thread: str
    number: int
    key: str
    kind: NotificationKind
    severity: str
    """The worst of its alerts: of those that fire, or at the end of those that did."""
    title: str
    """One line: what is wrong. It stays the same from firing to resolved."""
    lines: tuple[str, ...]
    facts: tuple[Fact, ...]
    links: tuple[Link, ...]
    at: datetime
    """When it was decided to send it."""
    since: datetime
    """When the thread began."""
    language: str = "en"
    alerts: tuple[Alert, ...] = ()
    """What it is about: those that fire, and those that are over since the last message."""
    group: Labels = field(default_factory=Labels)
    """The labels that its alerts were grouped by."""
    receiver: str = ""
    """The channel that it is for."""
    only: tuple[str, ...] = ()
    """Those recipients of the channel that still have to get it; nobody named means all."""
    unsure: int = 0
    """How many tries ended without an answer after it was handed over whole: each of them may have arrived."""
    again: bool = False
    """Whether it was tried before: it may have arrived without a word of that. Belongs to a try, not to the message."""

    @property
    def over(self) -> bool:
        """Whether this ends its thread."""
        return self.kind is NotificationKind.RESOLVED

    @property
    def message(self) -> str:
        """The key that all copies of this message for some of the recipients share."""
        return self.key.partition(APART)[0]

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data, for the spool."""
        return {
            "thread": self.thread,
            "number": self.number,
            "key": self.key,
            "kind": self.kind.value,
            "severity": self.severity,
            "title": self.title,
            "lines": list(self.lines),
            "facts": [list(fact) for fact in self.facts],
            "links": [list(link) for link in self.links],
            "at": self.at.isoformat(),
            "since": self.since.isoformat(),
            "language": self.language,
            "alerts": [alert.as_dict() for alert in self.alerts],
            "group": dict(self.group),
            "receiver": self.receiver,
            "only": list(self.only),
            "unsure": self.unsure,
        }

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> Self:
        """Return the notification that `body` wrote down."""
        return cls(
            thread=body["thread"],
            number=body["number"],
            key=body["key"],
            kind=NotificationKind(body["kind"]),
            severity=body["severity"],
            title=body["title"],
            lines=tuple(body["lines"]),
            facts=tuple(Fact(*fact) for fact in body["facts"]),
            links=tuple(Link(*link) for link in body["links"]),
            at=datetime.fromisoformat(body["at"]),
            since=datetime.fromisoformat(body["since"]),
            language=body["language"],
            alerts=tuple(Alert.from_dict(alert) for alert in body["alerts"]),
            group=Labels(body["group"]),
            receiver=body["receiver"],
            only=tuple(body.get("only", ())),
            unsure=body.get("unsure", 0),
        )


SEVERITIES: tuple[str, ...] = ("critical", "warning", "info")
"""From worst to mildest."""


def worst(severities: Sequence[str]) -> str:
    """Return the worst of some severities; a word that is not known counts as a warning."""
    known = [severity if severity in SEVERITIES else "warning" for severity in severities]
    return min(known, key=SEVERITIES.index, default="warning")
