"""Which incidents were true: by what people and runbooks did about them, for the review of alerts."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import Connection

from toban.core.incident_record import IncidentRecord
from toban.incidents import repository
from toban.incidents.incident import EntryKind, Incident, TimelineEntry
from toban.state.database import State

MOST: Final = 1_000
"""How many true incidents are returned: the newest ones."""

PERSONAL: Final = (
    EntryKind.NOTE,
    EntryKind.ACTION_ITEM,
    EntryKind.ASSIGNED,
    EntryKind.ESCALATED,
    EntryKind.PRIORITY,
)
"""What a person does about a true incident only. To acknowledge, to snooze and to merge says that somebody saw it."""

KINDS: Final = (*PERSONAL, EntryKind.RESOLVED, EntryKind.RUNBOOK)


class TrueIncidents:
    """The ``IncidentHistory`` of the incident book."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def true_incidents(self, begins: datetime, ends: datetime) -> Sequence[IncidentRecord]:
        """Return the true incidents that were open at some time between two times, oldest first."""

        def work(connection: Connection) -> list[IncidentRecord]:
            found = repository.incidents_between(connection, begins, ends)
            return true_ones(found, repository.timelines_between(connection, begins, ends, KINDS))

        return (await self._state.transaction(work))[-MOST:]


def true_ones(incidents: Sequence[Incident], entries: Iterable[TimelineEntry]) -> list[IncidentRecord]:
    """Return those of some incidents that were true, by the entries of their timelines."""
    acts: dict[int, str] = {}
    for entry in entries:
        if is_evidence(entry):
            acts.setdefault(entry.incident, entry.kind.value)
    return [
        IncidentRecord(it.id, it.title, it.starts, it.resolved, evidence, it.title_ja)
        for it in incidents
        if (evidence := _own_evidence(it) or acts.get(it.id, ""))
    ]


def is_evidence(entry: TimelineEntry) -> bool:
    """Return whether an entry says that something was wrong; an answer only says that somebody saw it."""
    facts: Mapping[str, object] = entry.facts
    if entry.kind is EntryKind.RUNBOOK:
        return facts.get("event") == "acted"
    if entry.kind is EntryKind.RESOLVED:
        return bool(entry.actor and facts.get("comment"))
    return bool(entry.actor) and entry.kind in PERSONAL


def _own_evidence(incident: Incident) -> str:
    if incident.declared_by:
        return "declared"
    if incident.summary:
        return "summary"
    return "action_item" if incident.action_items else ""
