"""Notifications: one message for one channel."""

from base64 import b64decode, b64encode
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
    """Somebody acknowledged it."""
    FLAPPING = "flapping"
    """It fires and resolves too often; changes are not notified until it is stable."""
    RESOLVED = "resolved"
    """All of its alerts are resolved."""
    NOTICE = "notice"
    """A message that belongs to no alert: a silence that ends, a test notification, a channel that fails."""


class Link(NamedTuple):
    """Where to look."""

    text: str
    href: str


class Fact(NamedTuple):
    """A name and what it is, like `Priority`: `P1`."""

    name: str
    value: str


class OfferKind(StrEnum):
    """What a person can do from a message."""

    ACKNOWLEDGE = "acknowledge"
    SNOOZE = "snooze"
    NOTE = "note"
    RESOLVE = "resolve"
    APPROVE = "approve"
    REFUSE = "refuse"


class Offer(NamedTuple):
    """
    Something that a message lets people do, in channels that can show buttons.

    ``value`` names the incident or the run of a runbook, and its version. It is readable by everybody in the channel
    and gives no right: who answers is checked when they do.
    """

    kind: OfferKind
    value: str


@dataclass(frozen=True, slots=True)
class DocumentSection:
    """A part of a document in plain text: sentences, figures by name, and a chart of one line."""

    heading: str = ""
    lines: tuple[str, ...] = ()
    facts: tuple[Fact, ...] = ()
    chart: str = ""


@dataclass(frozen=True, slots=True)
class Document:
    """
    What a notification brings: a page of HTML, and the same as sections for channels with a layout of their own.

    ``images`` are those that the page shows, by the names in its `cid:` addresses.
    """

    html: str
    images: Mapping[str, bytes] = field(default_factory=dict)
    sections: tuple[DocumentSection, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "html": self.html,
            "images": {it: b64encode(image).decode() for it, image in self.images.items()},
            "sections": [
                [it.heading, list(it.lines), [list(fact) for fact in it.facts], it.chart] for it in self.sections
            ],
        }

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> Self:
        """Return the document that ``as_dict`` returned."""
        sections = [
            DocumentSection(heading, tuple(lines), tuple(Fact(*fact) for fact in facts), chart)
            for heading, lines, facts, chart in body.get("sections", ())  # an older version put none in the outbox
        ]
        return cls(body["html"], {it: b64decode(image) for it, image in body["images"].items()}, tuple(sections))


TEST_PREFIX: Final = "test-"
"""Begins the group id of a test notification."""

COPY_SEPARATOR: Final = "~"
"""Stands in the key of a copy between the message's key and the copy's channel or recipient."""


@dataclass(frozen=True, slots=True)
class Notification:
    """
    One message in plain text; each channel formats and escapes it: parts of it come from outside.

    ``group_id`` is the same from the first notification of a group to the last; ``number`` counts the notifications of
    a group from 0; ``key`` is the same for all attempts to deliver this message.
    """

    group_id: str
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
    """When the group was opened."""
    language: str = "en"
    alerts: tuple[Alert, ...] = ()
    """Its alerts: those that fire, and those that were resolved since the last message."""
    group_labels: Labels = field(default_factory=Labels)
    """The labels that its alerts were grouped by."""
    receiver: str = ""
    """The channel that it is for."""
    recipients: tuple[str, ...] = ()
    """The recipients of the channel that still have to get it; empty means all."""
    unconfirmed: int = 0
    """How many attempts were sent completely and got no response: each of them may have arrived."""
    offers: tuple[Offer, ...] = ()
    """What people can do from it."""
    document: Document | None = None
    """What it brings, for channels that can show it: a report."""
    is_retry: bool = False
    """Whether it was attempted before, and may have arrived. Belongs to an attempt, not to the message."""

    @property
    def is_resolved(self) -> bool:
        """Whether it closes its group."""
        return self.kind is NotificationKind.RESOLVED

    @property
    def is_test(self) -> bool:
        """Whether somebody sent it to see whether the channel works."""
        return self.group_id.startswith(TEST_PREFIX)

    @property
    def message(self) -> str:
        """The key that all copies of this message for some of the recipients share."""
        return self.key.partition(COPY_SEPARATOR)[0]

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data, for the outbox."""
        return {
            "group_id": self.group_id,
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
            "group_labels": dict(self.group_labels),
            "receiver": self.receiver,
            "recipients": list(self.recipients),
            "unconfirmed": self.unconfirmed,
            "offers": [[offer.kind.value, offer.value] for offer in self.offers],
            "document": self.document.as_dict() if self.document else None,
        }

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> Self:
        """Return it from what ``as_dict`` returned."""
        return cls(
            group_id=body["group_id"],
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
            group_labels=Labels(body["group_labels"]),
            receiver=body["receiver"],
            recipients=tuple(body["recipients"]),
            unconfirmed=body["unconfirmed"],
            # Messages that an older version put in the outbox have neither.
            offers=tuple(Offer(OfferKind(kind), value) for kind, value in body.get("offers", ())),
            document=Document.from_dict(body["document"]) if body.get("document") else None,
        )


SEVERITIES: tuple[str, ...] = ("critical", "warning", "info")
"""From worst to mildest."""


def worst(severities: Sequence[str]) -> str:
    """Return the worst of some severities; an unknown one counts as a warning."""
    known = [severity if severity in SEVERITIES else "warning" for severity in severities]
    return min(known, key=SEVERITIES.index, default="warning")


DELIVERY_TOPIC: Final = "delivery"
"""The topic of deliveries in the event log; their bodies are `Delivery.as_dict`."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """
    That a channel accepted a notification, or that it finally did not (``error``).

    ``thread`` is the notification's group, ``alerts`` the fingerprints of its alerts.
    """

    thread: str
    channel: str
    kind: str
    title: str
    at: datetime
    alerts: tuple[str, ...] = ()
    error: str = ""

    @classmethod
    def of(cls, notification: Notification, channel: str, at: datetime, error: str = "") -> Self:
        """Return the delivery of a notification."""
        alerts = tuple(alert.fingerprint for alert in notification.alerts[:100])
        return cls(notification.group_id, channel, notification.kind.value, notification.title, at, alerts, error)

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data, for the event log."""
        return {
            "thread": self.thread,
            "channel": self.channel,
            "kind": self.kind,
            "title": self.title,
            "at": self.at.isoformat(),
            "alerts": list(self.alerts),
            "error": self.error,
        }

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> Self:
        """Return it from what ``as_dict`` returned."""
        at = datetime.fromisoformat(body["at"])
        return cls(
            body["thread"], body["channel"], body["kind"], body["title"], at, tuple(body["alerts"]), body["error"]
        )
