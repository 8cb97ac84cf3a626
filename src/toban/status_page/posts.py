"""What an operator tells customers about an outage."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Self


class PostStatus(StrEnum):
    """How far an outage is understood, in the words of status pages."""

    INVESTIGATING = "investigating"
    IDENTIFIED = "identified"
    MONITORING = "monitoring"
    RESOLVED = "resolved"


@dataclass(frozen=True, slots=True)
class PostUpdate:
    """One message of a post."""

    at: datetime
    status: PostStatus
    text: str


@dataclass(frozen=True, slots=True)
class StatusPost:
    """An outage as customers read of it: its title, the components that it affects, and its messages, oldest first."""

    id: str
    title: str
    components: Sequence[str]
    updates: Sequence[PostUpdate]

    @property
    def status(self) -> PostStatus:
        """The status of its newest message."""
        return self.updates[-1].status

    @property
    def starts(self) -> datetime:
        """When it was published."""
        return self.updates[0].at

    @property
    def ends(self) -> datetime | None:
        """When it was resolved; None while it is open."""
        return self.updates[-1].at if self.status is PostStatus.RESOLVED else None

    def updated(self, update: PostUpdate) -> Self:
        """Return it with one more message."""
        return replace(self, updates=(*self.updates, update))

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data, without its id."""
        return {
            "title": self.title,
            "components": list(self.components),
            "updates": [{"at": it.at.isoformat(), "status": it.status, "text": it.text} for it in self.updates],
        }

    @classmethod
    def from_dict(cls, post_id: str, body: Mapping[str, Any]) -> Self:
        """Return the post that `as_dict` wrote."""
        updates = [
            PostUpdate(datetime.fromisoformat(it["at"]), PostStatus(it["status"]), it["text"]) for it in body["updates"]
        ]
        return cls(post_id, body["title"], tuple(body["components"]), tuple(updates))
