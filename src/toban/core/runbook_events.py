"""What runbooks tell the rest of toban, through the event log."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Self

TOPIC: Final = "runbook"
"""The topic of events of runbooks in the event log; their bodies are `RunbookEvent.as_dict`."""


@dataclass(frozen=True, slots=True)
class RunbookEvent:
    """
    Something that a run did: it was started, asks, acted, helped, failed.

    ``alert`` is the fingerprint of its alert; ``by`` the person who started, approved or refused it; ``approval``
    identifies what it asks to approve.
    """

    run: int
    runbook: str
    event: str
    text: str
    alert: str
    at: datetime
    by: str = ""
    approval: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "run": self.run,
            "runbook": self.runbook,
            "event": self.event,
            "text": self.text,
            "alert": self.alert,
            "at": self.at.isoformat(),
            "by": self.by,
            "approval": self.approval,
        }

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> Self:
        """Return it from what ``as_dict`` returned."""
        return cls(**{**body, "at": datetime.fromisoformat(body["at"])})
