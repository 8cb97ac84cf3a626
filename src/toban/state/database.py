"""The one door to state."""

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

TRANSACTIONS: Final = counter("toban_state_transactions_total", "Transactions with state, by how they ended.")
LOOK_EVERY: Final = timedelta(seconds=15)
FEED_KEPT: Final = timedelta(days=30)
JOURNAL_KEPT: Final = timedelta(days=400)
TRIES: Final = 5


class State:
    """
    Everything but samples that must survive a restart, behind one door and on one thread.

    State in trouble does not stop toban: each transaction raises ``StateError``, `health` says why, and the first
    transaction that works again is the recovery.
    """

    name = "state"

    def __init__(self, database: StateBackend, clock: Clock, meters: MetricRegistry) -> None:
        self._database = database
        self._clock = clock
        self._meters = meters
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="toban-state")
        self._trouble = ""
        self.quarantine = Quarantine(self.transaction, clock, meters)
        """What of it can't be read, and what the parts of toban skip because processing it fails."""

    @property
    def is_exclusive(self) -> bool:
        """Whether nobody but this process works with it."""
        return self._database.alone

    def now(self) -> datetime:
        """Return the time of day, for what is written."""
        return self._clock.now()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, sort: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._thread.submit(self._database.close)
        # What has begun is finished; what waits has a waiter that is gone.
        await asyncio.to_thread(self._thread.shutdown, wait=True)

    async def transaction(self, work: Callable[[Connection], T]) -> T:
        """
        Do some work as one transaction and return what it returns: all of it, or nothing of it.

        ``work`` is a plain function of a connection. It may be called again when another copy of toban got in between,
        so it changes nothing but state. Raises ``StateError`` when state can't be read or written just now.
        """
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._transact, work)

    def _transact(self, work: Callable[[Connection], T]) -> T:
        attempt, moves = 1, True
        while True:
            unreadable: list[UnreadableRow] = []
            try:
                with self._database.begin() as connection:
                    connection.info[quarantine.FOUND] = unreadable
                    connection.info[quarantine.MOVED] = self._clock.now() if moves else None
                    result = work(connection)
            except (OperationalError, InterfaceError, StateError) as error:
                if attempt < TRIES and isinstance(error, OperationalError) and self._database.is_conflict(error):
                    attempt += 1
                    continue
                if unreadable and moves:
                    # It may be readable all the same, as on a full disk: what can't be read stays and is left out.
                    log.warning("not put in quarantine", error=str(error).splitlines()[0])
                    self._database.reset()
                    moves = False
                    continue
                self._failed(error)
                self._database.reset()
                raise StateError(self._trouble) from error
            self._well()
            if unreadable:
                self._report(unreadable, moved=moves)
            return result

    def _report(self, unreadable: Sequence[UnreadableRow], *, moved: bool) -> None:
        if moved:
            for it in unreadable:
                what = {"table": it.table.name, "row": it.name, "error": it.error}
                log.error("a row can't be read: it is put in quarantine", **what)
        left = [] if moved else [ItemFailure(it.table.name, it.name, it.error) for it in unreadable]
        self.quarantine.report(self.name, left)

    def _failed(self, error: Exception) -> None:
        reason = str(error.orig) if isinstance(error, DBAPIError) else str(error)
        trouble = f"state {self._database.address}: {reason.strip().splitlines()[0]}"
        self._meters.add(TRANSACTIONS, outcome="failed")
        if trouble != self._trouble:
            log.warning("failed", error=trouble)
        self._trouble = trouble

    def _well(self) -> None:
        self._meters.add(TRANSACTIONS, outcome="done")
        if self._trouble:
            log.info("recovered", state=self._database.address)
        self._trouble = ""

    async def run(self) -> None:
        """Look after state until cancelled: find trouble and its end early, and let go of what is old."""
        await run_periodically("state", LOOK_EVERY, self._look, clock=self._clock, meters=self._meters)

    async def _look(self) -> None:
        now = self._clock.now()

        def tidy(connection: Connection) -> None:
            event_log.prune(connection, now - FEED_KEPT)
            audit_log.prune(connection, now - JOURNAL_KEPT)

        try:
            await self.transaction(tidy)
        except StateError:
            return  # told and remembered where it was met

    def health(self) -> HealthStatus:
        """Tell whether the newest transaction worked."""
        return HealthStatus(not self._trouble, self._trouble or f"{self._database.address}: well")
