"""Notification groups: alerts that are notified together, from the first that fires to the last that resolves."""

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
    An open group, and what was sent of it.

    ``reported`` is how each alert was reported last, ``number`` how many notifications were sent, ``notified`` when the
    last was. Channels stay those of the first notification: who was notified of the start is notified of the end.
    """

    id: str
    key: str
    channels: tuple[str, ...]
    labels: Labels
    opened: datetime
    reported: Mapping[str, ReportedAs] = field(default_factory=dict)
    number: int = 0
    notified: datetime | None = None
    severity: str = ""
    title: str = ""
    members: frozenset[str] = frozenset()
    """The fingerprints of its alerts, also of those that were not reported yet."""

    def check(self, now: datetime) -> None:
        """Use everything that deciding and rendering use of it; what is wrong with it raises here."""
        names = [*self.members, *self.reported, *self.channels, *self.labels.keys(), *self.labels.values()]
        "".join([self.id, self.key, self.severity, self.title, *names]).encode()
        for report in self.reported.values():
            ReportedAs(report)
        # Also raises for a time without a zone.
        _ = self.opened <= now and (self.notified is None or self.notified <= now)

    def not_after(self, now: datetime) -> Self:
        """Return it with times in the future set to now: the clock was set back since they were taken."""
        if self.opened <= now and (self.notified is None or self.notified <= now):
            return self
        return replace(self, opened=min(self.opened, now), notified=self.notified and min(self.notified, now))

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "id": self.id,
            "key": self.key,
            "channels": list(self.channels),
            "labels": dict(self.labels),
            "opened": self.opened.isoformat(),
            "reported": {name: report.value for name, report in self.reported.items()},
            "number": self.number,
            "notified": self.notified.isoformat() if self.notified else None,
            "severity": self.severity,
            "title": self.title,
            "members": sorted(self.members),
        }

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> Self:
        """Return it from what ``as_dict`` returned."""
        return cls(
            body["id"],
            body["key"],
            tuple(body["channels"]),
            Labels(body["labels"]),
            datetime.fromisoformat(body["opened"]),
            {name: ReportedAs(report) for name, report in body["reported"].items()},
            body["number"],
            datetime.fromisoformat(body["notified"]) if body["notified"] else None,
            body["severity"],
            body["title"],
            frozenset(body["members"]),
        )


def group_id(key: str, fingerprint: str, since: datetime) -> str:
    """
    Return the id of a group: the same whenever it is computed from the same first alert.

    So a message that was sent while state was unavailable belongs to the group that is found when state is back.
    """
    return hashlib.sha256(f"{key}\n{fingerprint}\n{since.isoformat()}".encode()).hexdigest()[:20]
