"""Threads: what belongs to one message, from a group's first firing to its end."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Self

from toban.core.labels import Labels
from toban.notify.flap_detection import ReportedAs


@dataclass(frozen=True, slots=True)
class NotificationGroup:
    """
    A group of alerts while it is spoken of, and what was said.

    ``reported`` holds how each of its alerts was last spoken of; ``number`` how many messages there were;
    ``notified`` when
    the last was. Its channels stay those that it began with: who heard of the beginning hears of the end.
    """

    id: str
    key: str
    channels: tuple[str, ...]
    group: Labels
    opened: datetime
    reported: Mapping[str, ReportedAs] = field(default_factory=dict)
    number: int = 0
    notified: datetime | None = None
    severity: str = ""
    title: str = ""
    members: frozenset[str] = frozenset()
    """The fingerprints of its alerts, also of those that were not spoken of yet."""

    def check(self, now: datetime) -> None:
        """Look at all that deciding and writing need of it; what is wrong with it raises here."""
        names = [*self.members, *self.reported, *self.channels, *self.group.keys(), *self.group.values()]
        "".join([self.id, self.key, self.severity, self.title, *names]).encode()
        for shown in self.reported.values():
            ReportedAs(shown)
        # Also raises for a time without a zone.
        _ = self.opened <= now and (self.notified is None or self.notified <= now)

    def no_later(self, now: datetime) -> Self:
        """Return it with no time that is still to come: what a clock said that was set back since, was now."""
        if self.opened <= now and (self.notified is None or self.notified <= now):
            return self
        return replace(self, opened=min(self.opened, now), notified=self.notified and min(self.notified, now))

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "id": self.id,
            "key": self.key,
            "channels": list(self.channels),
            "group": dict(self.group),
            "opened": self.opened.isoformat(),
            "told": {name: shown.value for name, shown in self.reported.items()},
            "number": self.number,
            "spoken": self.notified.isoformat() if self.notified else None,
            "severity": self.severity,
            "title": self.title,
            "members": sorted(self.members),
        }

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> Self:
        """Return the thread that `body` wrote down."""
        return cls(
            body["id"],
            body["key"],
            tuple(body["channels"]),
            Labels(body["group"]),
            datetime.fromisoformat(body["opened"]),
            {name: ReportedAs(shown) for name, shown in body["told"].items()},
            body["number"],
            datetime.fromisoformat(body["spoken"]) if body["spoken"] else None,
            body["severity"],
            body["title"],
            frozenset(body["members"]),
        )


def group_id(key: str, fingerprint: str, since: datetime) -> str:
    """
    Return the name of a thread: the same whenever it is computed from the same beginning.

    So a message that was sent while state was away belongs to the thread that is found when state is back.
    """
    return hashlib.sha256(f"{key}\n{fingerprint}\n{since.isoformat()}".encode()).hexdigest()[:20]
