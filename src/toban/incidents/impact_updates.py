"""Keeps what open incidents cost up to date."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection

from toban.core.errors import StateError
from toban.core.impact import Impact
from toban.core.metric_registry import MetricRegistry
from toban.core.periodic import run_periodically
from toban.core.ports import Clock, HealthStatus
from toban.incidents import repository
from toban.incidents.incident import Incident
from toban.incidents.service import IncidentService
from toban.state.database import State

INTERVAL: Final = timedelta(minutes=1)

Estimate = Callable[[datetime, datetime], Awaitable[Impact | None]]
"""Returns what is missing between two times; nothing where that can't be told."""


class ImpactUpdater:
    """Estimates once a minute what each open incident costs, and once more at its end."""

    name = "incident impact"

    def __init__(
        self, service: IncidentService, estimate: Estimate, state: State, clock: Clock, meters: MetricRegistry
    ) -> None:
        self._service = service
        self._estimate = estimate
        self._state = state
        self._clock = clock
        self._meters = meters

    async def run(self) -> None:
        """Estimate until cancelled."""
        await run_periodically(self.name, INTERVAL, self.once, clock=self._clock, meters=self._meters)

    async def once(self) -> None:
        """Estimate what each incident costs that is open, or has ended since the last estimate."""
        for incident in list(self._service.book.incidents.values()):
            if not _is_due(incident):
                continue
            impact = await self._estimate(incident.starts, incident.resolved or self._clock.now())
            if impact is None:
                continue

            def work(connection: Connection, number: int = incident.id, found: Impact = impact) -> None:
                if current := repository.incident(connection, number):
                    repository.save_incident(connection, replace(current, impact=found))
                    self._service.invalidate()

            try:
                await self._state.transaction(work)
            except StateError:
                return  # reported by state; the next run makes up for it

    def health(self) -> HealthStatus:
        """Return that it runs: what can't be estimated is not claimed."""
        return HealthStatus(True, "estimates what open incidents cost")


def _is_due(incident: Incident) -> bool:
    if incident.priority == "P4":
        return False  # what calls nobody costs no orders
    if incident.is_open:
        return True
    return bool(incident.resolved and incident.impact and incident.impact.at < incident.resolved)
