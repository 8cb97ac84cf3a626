"""Threads: what belongs to one message, from a group's first firing to its end."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Self

from toban.core.labels import Labels
from toban.notify.flap_detection import Shown


@dataclass(frozen=True, slots=True)
class Thread:
    """
    A group of alerts while it is spoken of, and what was said.

    ``told`` holds how each of its alerts was last spoken of; ``number`` how many messages there were; ``spoken`` when
    the last was. Its channels stay those that it began with: who heard of the beginning hears of the end.
    """

    id: str
    key: str
    channels: tuple[str, ...]
    group: Labels
    opened: datetime
    told: Mapping[str, Shown] = field(default_factory=dict)
    number: int = 0
    spoken: datetime | None = None
    severity: str = ""
    title: str = ""
    members: frozenset[str] = frozenset()
    """The fingerprints of its alerts, also of those that were not spoken of yet."""

    def check(self, now: datetime) -> None:
        """Look at all that deciding and writing need of it; what is wrong with it raises here."""
        names = [*self.members, *self.told, *self.channels, *self.group.keys(), *self.group.values()]
        "".join([self.id, self.key, self.severity, self.title, *names]).encode()
        for shown in self.told.values():
            Shown(shown)
        # Also raises for a time without a zone.
        _ = self.opened <= now and (self.spoken is None or self.spoken <= now)

    def no_later(self, now: datetime) -> Self:
        """Return it with no time that is still to come: what a clock said that was set back since, was now."""
        if self.opened <= now and (self.spoken is None or self.spoken <= now):
            return self
        return replace(self, opened=min(self.opened, now), spoken=self.spoken and min(self.spoken, now))

    def body(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "id": self.id,
            "key": self.key,
            "channels": list(self.channels),
            "group": dict(self.group),
            "opened": self.opened.isoformat(),
            "told": {name: shown.value for name, shown in self.told.items()},
            "number": self.number,
            "spoken": self.spoken.isoformat() if self.spoken else None,
            "severity": self.severity,
            "title": self.title,
            "members": sorted(self.members),
        }

    @classmethod
    def read(cls, body: Mapping[str, Any]) -> Self:
        """Return the thread that `body` wrote down."""
        return cls(
            body["id"],
            body["key"],
            tuple(body["channels"]),
            Labels(body["group"]),
            datetime.fromisoformat(body["opened"]),
            {name: Shown(shown) for name, shown in body["told"].items()},
            body["number"],
            datetime.fromisoformat(body["spoken"]) if body["spoken"] else None,
            body["severity"],
            body["title"],
            frozenset(body["members"]),
        )


def thread_id(key: str, fingerprint: str, since: datetime) -> str:
    """
    Return the name of a thread: the same whenever it is computed from the same beginning.

    So a message that was sent while state was away belongs to the thread that is found when state is back.
    """
    return hashlib.sha256(f"{key}\n{fingerprint}\n{since.isoformat()}".encode()).hexdigest()[:20]
