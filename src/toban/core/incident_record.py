"""True incidents as the incident book tells them: incidents keep it, and the review counts what alerts made of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True)
class IncidentRecord:
    """
    An incident in which something was wrong.

    ``begins`` is since when, ``ends`` is None while it is open. ``evidence`` is what says that it was true:
    ``declared``, ``summary``, ``action_item``, or what a person or a runbook did, by its kind in the timeline.
    """

    id: int
    title: str
    begins: datetime
    ends: datetime | None
    evidence: str
    title_ja: str = ""
    """The title in Japanese, where it has another one."""


class IncidentHistory(Protocol):
    """Knows the true incidents of the past."""

    async def true_incidents(self, begins: datetime, ends: datetime) -> Sequence[IncidentRecord]:
        """Return the true incidents that were open at some time between two times. Raises ``StateError``."""
        ...
