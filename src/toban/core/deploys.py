"""A deploy, as whoever did it reports it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Self

TOPIC: Final = "deploy"
"""The topic of deploys in the event log; their bodies are `Deploy.as_dict`."""


@dataclass(frozen=True, slots=True)
class Deploy:
    """A deploy: of which version, when, by whom, and as which source reports it (`api`, `github`, `fly`)."""

    version: str
    at: datetime
    source: str
    by: str = ""
    url: str = ""
    text: str = ""
    id: int = 0
    """Its number; 0 before it is stored."""

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data, for the event log."""
        return {
            "version": self.version,
            "at": self.at.isoformat(),
            "source": self.source,
            "by": self.by,
            "url": self.url,
            "text": self.text,
        }

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> Self:
        """Return it from what ``as_dict`` returned."""
        at = datetime.fromisoformat(body["at"])
        return cls(body["version"], at, body["source"], body["by"], body["url"], body["text"])
