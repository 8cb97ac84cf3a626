"""Transactions with state."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from types import TracebackType
from typing import Final, Self, TypeVar

import structlog
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from toban.core.errors import StateError
from toban.core.failure_log import FailureLog
from toban.core.item_isolation import ItemFailure
from toban.core.metric_registry import MetricRegistry
from toban.core.periodic import run_periodically
from toban.core.ports import Clock, HealthStatus
from toban.core.samples import counter
from toban.state import audit_log, event_log, quarantine
from toban.state.backends import StateBackend
from toban.state.quarantine import Quarantine, UnreadableRow

log = structlog.get_logger("toban.state")
T = TypeVar("T")

TRANSACTIONS: Final = counter(
    "toban_state_transactions_total", "Transactions with state, by how they ended.", labels=("outcome",)
)
CHECK_INTERVAL: Final = timedelta(seconds=15)
EVENT_RETENTION: Final = timedelta(days=30)
AUDIT_RETENTION: Final = timedelta(days=400)
MAX_ATTEMPTS: Final = 5


class State:
    """
    Everything but samples that must survive a restart: transactions on one thread.

    A failing database does not stop toban: each transaction raises ``StateError``, and `health` has the reason. State
    has recovered when a transaction is committed again.
    """

    name = "state"

    def __init__(self, backend: StateBackend, clock: Clock, meters: MetricRegistry) -> None:
        self._backend = backend
        self._clock = clock
        self._meters = meters
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="toban-state")
        self._failure = FailureLog(log, "state failed", "state recovered", state=backend.address)
        self.quarantine = Quarantine(self.transaction, clock, meters)
        """Unreadable rows, and items that parts of toban skip because processing them fails."""

    @property
    def is_exclusive(self) -> bool:
        """Whether no other process uses it."""
        return self._backend.is_exclusive

    def now(self) -> datetime:
        """Return the current time."""
        return self._clock.now()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, type_: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._thread.submit(self._backend.close)
        # The running transaction is finished; nothing awaits those in the queue.
        await asyncio.to_thread(self._thread.shutdown, wait=True)

    async def transaction(self, work: Callable[[Connection], T]) -> T:
        """
        Run a function in one transaction and return its result.

        ``work`` is a plain function of a connection. It is called again after a conflict with another instance, so it
        changes nothing but state. Raises ``StateError`` when state can't be read or written now.
        """
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._transact, work)

    def _transact(self, work: Callable[[Connection], T]) -> T:
        attempt, moves = 1, True
        while True:
            unreadable: list[UnreadableRow] = []
            try:
                with self._backend.begin() as connection:
                    connection.info[quarantine.UNREADABLE_KEY] = unreadable
                    connection.info[quarantine.MOVE_TIME_KEY] = self._clock.now() if moves else None
                    result = work(connection)
            except (OperationalError, InterfaceError, StateError) as error:
                if attempt < MAX_ATTEMPTS and isinstance(error, OperationalError) and self._backend.is_conflict(error):
                    attempt += 1
                    continue
                if unreadable and moves:
                    # State may be read-only, as on a full disk: unreadable rows stay in their tables and are skipped.
                    log.warning("rows not moved to quarantine", error=str(error).splitlines()[0])
                    self._backend.reset()
                    moves = False
                    continue
                self._failed(error)
                self._backend.reset()
                raise StateError(self._failure.error) from error
            self._succeeded()
            if unreadable:
                self._report(unreadable, moved=moves)
            return result

    def _report(self, unreadable: Sequence[UnreadableRow], *, moved: bool) -> None:
        if moved:
            for it in unreadable:
                fields = {"table": it.table.name, "row": it.name, "error": it.error}
                log.error("row unreadable, moved to quarantine", **fields)
        left = [] if moved else [ItemFailure(it.table.name, it.name, it.error) for it in unreadable]
        self.quarantine.report(self.name, left)

    def _failed(self, error: Exception) -> None:
        reason = str(error.orig) if isinstance(error, DBAPIError) else str(error)
        self._meters.add(TRANSACTIONS, outcome="failed")
        self._failure.failed(f"state {self._backend.address}: {reason.strip().splitlines()[0]}")

    def _succeeded(self) -> None:
        self._meters.add(TRANSACTIONS, outcome="committed")
        self._failure.succeeded()

    async def run(self) -> None:
        """Check state and delete old rows periodically, until cancelled."""
        await run_periodically("state", CHECK_INTERVAL, self._check, clock=self._clock, meters=self._meters)

    async def _check(self) -> None:
        now = self._clock.now()

        def prune(connection: Connection) -> None:
            event_log.prune(connection, now - EVENT_RETENTION)
            audit_log.prune(connection, now - AUDIT_RETENTION)

        try:
            await self.transaction(prune)
        except StateError:
            return  # logged where it happened

    def health(self) -> HealthStatus:
        """Return whether the last transaction was committed."""
        error = self._failure.error
        return HealthStatus(not error, error or f"{self._backend.address}: healthy")
