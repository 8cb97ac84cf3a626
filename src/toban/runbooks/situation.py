"""What is known when a runbook is about to run or to act."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Final

from sqlalchemy import Connection

from toban.core.alerts import Alert, AlertStatus
from toban.core.metric_registry import MetricRegistry
from toban.core.ports import Clock
from toban.core.samples import gauge
from toban.runbooks import repository
from toban.runbooks.action import ActionTools
from toban.runbooks.brakes import WEEK, Situation
from toban.runbooks.run import Run, StopSwitch
from toban.runbooks.runbook import Runbook
from toban.runbooks.settings import RunbookSettings
from toban.state.database import State

STOP_FILE: Final = "stop-automation"
"""A file of this name in the data folder stops automation, also while nothing else can be reached."""

STOPPED: Final = gauge("toban_automation_stopped", "Whether automation is stopped by the stop switch.")


@dataclass(frozen=True, slots=True)
class RunbookPorts:
    """
    What runbooks use under one configuration.

    ``doubts`` says why toban does not trust what it knows just now, ``maintenance`` what makes alerts expected; both
    are empty in quiet times. ``deployed`` is when something was deployed last.
    """

    settings: RunbookSettings
    runbooks: Sequence[Runbook]
    tools: ActionTools
    alerts: Callable[[], Sequence[Alert]]
    doubts: Callable[[], str]
    maintenance: Callable[[], str]
    deployed: Callable[[], datetime | None] = lambda: None
    zone: tzinfo = UTC
    """The zone of the team's clock."""
    on_events: Callable[[], None] = lambda: None
    """Called when there are new events of runbooks in the event log."""


class SituationReader:
    """Reads the situation from state and from what runs now."""

    def __init__(
        self, ports: Callable[[], RunbookPorts], folder: Path, state: State, clock: Clock, meters: MetricRegistry
    ) -> None:
        self._ports = ports
        self._file = folder / STOP_FILE
        self._state = state
        self._clock = clock
        self._meters = meters

    @property
    def has_stop_file(self) -> bool:
        """Whether the file stops automation."""
        return self._file.exists()

    async def read(self) -> Situation:
        """Return what is known now. Raises ``StateError``."""
        now, ports = self._clock.now(), self._ports()

        def work(connection: Connection) -> tuple[list[Run], StopSwitch]:
            return repository.recent_runs(connection, now - WEEK), repository.stop_switch(connection)

        runs, switch = await self._state.transaction(work)
        is_stopped = switch.is_stopped or self.has_stop_file
        self._meters.set(STOPPED, is_stopped)
        firing = [it for it in ports.alerts() if it.status is AlertStatus.FIRING]
        return Situation(
            now,
            is_stopped,
            ports.zone,
            firing,
            runs,
            ports.deployed(),
            ports.maintenance(),
            ports.doubts(),
        )
