"""What runbooks tell the rest of toban, through the event log."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Self

TOPIC: Final = "runbook"
"""The topic of events of runbooks in the event log; their bodies are `RunbookEvent.as_dict`."""

SENTENCES: Final = "toban.runbooks"
"""The package whose message catalogue has what runbooks say, in each language."""


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
    text_ja: str = ""
    """The text in Japanese, where it is of the runbook's author."""

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        body = {
            "run": self.run,
            "runbook": self.runbook,
            "event": self.event,
            "text": self.text,
            "alert": self.alert,
            "at": self.at.isoformat(),
            "by": self.by,
            "approval": self.approval,
        }
        # What it has not is left out: the last release does not know it.
        return body | ({"text_ja": self.text_ja} if self.text_ja else {})

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> Self:
        """Return it from what ``as_dict`` returned."""
        return cls(**{**body, "at": datetime.fromisoformat(body["at"])})
