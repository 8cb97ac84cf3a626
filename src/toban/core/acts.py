"""What people do about alerts, as the event log tells it; an acknowledgement is no act."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Self

TOPIC: Final = "act"
"""The topic of acts in the event log; their bodies are `Act.as_dict`."""


@dataclass(frozen=True, slots=True)
class Act:
    """
    Something that a person did about alerts: a silence with a comment, a note.

    It is about the alerts with some fingerprints, or about those that some matchers match (as text).
    """

    kind: str
    at: datetime
    by: str
    alerts: tuple[str, ...] = ()
    matchers: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data, for the event log."""
        return {
            "kind": self.kind,
            "at": self.at.isoformat(),
            "by": self.by,
            "alerts": list(self.alerts),
            "matchers": list(self.matchers),
        }

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> Self:
        """Return it from what ``as_dict`` returned."""
        at = datetime.fromisoformat(body["at"])
        return cls(body["kind"], at, body["by"], tuple(body["alerts"]), tuple(body["matchers"]))
