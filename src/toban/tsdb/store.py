"""The store: takes numbers and finds them again."""

import asyncio
import fcntl
import os
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Final, NoReturn, Self

import numpy as np

from toban.core.errors import SeriesLimitError, StoreError
from toban.core.labels import Labels
from toban.core.matchers import Matcher
from toban.core.metric_registry import MetricRegistry
from toban.core.periodic import run_periodically
from toban.core.ports import Clock, HealthStatus
from toban.core.samples import Batch, MetricFamily, SeriesBlock, counter, gauge, is_absent, milliseconds
from toban.tsdb.block_set import BlockSet
from toban.tsdb.compaction import BlockCalendar
from toban.tsdb.corruption import CorruptionError, log_corruption
from toban.tsdb.head import Head
from toban.tsdb.head_recovery import recover_head
from toban.tsdb.head_writer import HeadWriter
from toban.tsdb.maintenance import StoreMaintenance
from toban.tsdb.querier import Querier
from toban.tsdb.remote_cursor import RemoteCursor
from toban.tsdb.series_index import SeriesIndex
from toban.tsdb.settings import TsdbSettings

APPENDED: Final = counter("toban_tsdb_samples_appended_total", "Numbers taken in and made durable.")
FAILURES: Final = counter("toban_tsdb_append_failures_total", "Appends that could not be made durable at once.")
REFUSED: Final = counter(
    "toban_tsdb_samples_rejected_total", "Numbers refused, because they are too old or of the future."
)
LOST: Final = counter(
    "toban_tsdb_batches_lost_total", "Batches let go because the disk did not take them for too long."
)
CORRUPTIONS: Final = counter("toban_tsdb_corruptions_total", "Damage found on disk.")
BLOCKS: Final = gauge("toban_tsdb_blocks", "Sealed blocks.")
BYTES: Final = gauge("toban_tsdb_disk_bytes", "What the numbers take on disk.", "bytes")
SERIES: Final = gauge("toban_tsdb_series", "Series that the store knows.")
HEAD_SERIES: Final = gauge("toban_tsdb_head_series", "Series that the head knows.")
UNSAVED: Final = gauge("toban_tsdb_unflushed_bytes", "Numbers that wait in memory for the disk.", "bytes")

ROUND: Final = timedelta(minutes=1)
AHEAD: Final = timedelta(hours=1)
"""How far a time may lie in the future: clocks differ, but not by more."""

PATIENCE: Final = 1.0
"""Seconds that closing waits for a thread that a disk holds up."""


class Store:
    """
    Keeps samples in a folder: a sink, a source, a service, and a context manager that opens and closes it.

    Numbers up to the retention old are taken in any order; of two for one series at one time the later append counts.
    What is older, or lies in the future, is refused and counted. Opening raises ``StoreError``, when another toban
    has the folder open for one. ``health`` is not well while numbers can't be written; damage that was found and set
    aside is named there too, but the store is well with what is left.

    With ``backlog``, what is appended can be passed on by ``remote_cursor``: so many bytes may wait for it.
    """

    name = "tsdb"

    def __init__(
        self,
        folder: Path,
        settings: TsdbSettings,
        clock: Clock,
        meters: MetricRegistry,
        *,
        window: timedelta = timedelta(hours=2),
        backlog: int | None = None,
    ) -> None:
        self._folder = folder
        self._settings = settings
        self._clock = clock
        self._meters = meters
        length = window // timedelta(milliseconds=1)
        self._index = SeriesIndex()
        self._families: dict[str, MetricFamily] = {}
        self._head = Head(self._index, length)
        self._shelf = BlockSet(folder, self._index, self._damaged)
        full = settings.synchronous == "full"
        self._path = folder / "head.db"
        self._writer = HeadWriter(self._path, self._head, self._index, self._families, full=full)
        calendar = BlockCalendar(length, 12 * length)
        self._backlog = folder / "backlog.db"
        self.remote_cursor = (
            None if backlog is None else RemoteCursor(self._head, self._backlog, backlog, self._damaged)
        )
        self._tending = StoreMaintenance(
            self._head, self._shelf, self._writer, self._index, self._families, calendar, self.remote_cursor
        )
        self._reading = Querier(self._head, self._shelf, self._index)
        self._trouble = ""
        self._damage: list[str] = []
        self._lost = 0
        self._lock: int | None = None

    def __enter__(self) -> Self:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._lock = self._locked()
            self._shelf.open()
            for block in self._shelf.blocks:
                self._families.update(block.families)
            full = self._settings.synchronous == "full"
            file = recover_head(self._path, self._head, self._index, self._families, self._damaged, full=full)
            if self.remote_cursor:
                self.remote_cursor.open()
            else:
                for path in self._folder.glob(f"{self._backlog.name}*"):
                    path.unlink()
        except (OSError, StoreError) as error:
            self._unlock()
            if isinstance(error, StoreError):
                raise
            raise StoreError(f"tsdb: opening {self._folder}: {error}") from error
        self._opened = milliseconds(self._clock.now()), self._clock.monotonic()
        self._writer.start(file)
        self._report()
        return self

    def __exit__(
        self, sort: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._tending.stop(PATIENCE)
        self._writer.stop(PATIENCE)
        if self.remote_cursor:
            self.remote_cursor.close()
        self._shelf.close()
        self._unlock()

    async def append(self, batches: Sequence[Batch]) -> None:
        """
        Keep what one look brought, all or nothing; return when it will survive a crash.

        Raises ``StoreError`` when it can't be made durable now: it can be read nevertheless, and is written as soon
        as the disk takes it. Also when there would be too many series: then nothing is kept.
        """
        try:
            fitting = [batch for batch in batches if len(batch.layout) and self._is_in_time(batch)]
            declared = self._welcome(fitting)
            rows = self._head.append(fitting)
            if rows:
                await self._writer.write(rows, declared)
        except StoreError:
            self._meters.add(FAILURES)
            raise
        self._meters.add(APPENDED, sum(int(np.count_nonzero(~is_absent(batch.values))) for batch in fitting))

    def select(self, matchers: Sequence[Matcher], start: int, end: int, most: int | None = None) -> list[SeriesBlock]:
        """
        Return the samples of all series that meet the conditions, ``start`` and ``end`` included (milliseconds).

        One source over time is one group, also where its series came and went. What is damaged is left out.
        Raises ``StoreError``, and ``SampleLimitError`` before more than ``most`` samples are in memory.
        """
        return self._reading.select(matchers, start, end, most)

    def series(self, matchers: Sequence[Matcher], start: int, end: int) -> list[Labels]:
        """Return the labels alone of what ``select`` would find, perhaps of a little more at the edges of time."""
        return self._reading.series(matchers, start, end)

    def oldest(self, matchers: Sequence[Matcher]) -> int | None:
        """Return about when the oldest number was of the series that meet the conditions, nothing where none is."""
        return self._reading.oldest(matchers)

    def families(self) -> Mapping[str, MetricFamily]:
        """Return what is known of each metric, by name."""
        return dict(self._families)

    async def run(self) -> NoReturn:
        """Keep the store in order until cancelled."""
        try:
            await run_periodically("tsdb", ROUND, self.maintain, clock=self._clock, meters=self._meters)
        finally:
            self._tending.stop(0)

    async def maintain(self) -> None:
        """Do one round: seal, compact, remove, check. Trouble shows in ``health`` until one is through."""
        now = milliseconds(self._clock.now())
        # A clock that jumps ahead must not age everything at once.
        opened, since = self._opened
        steady = min(now, opened + round((self._clock.monotonic() - since) * 1000))
        oldest = steady - self._settings.retention // timedelta(milliseconds=1)
        trouble = ""
        try:
            limit = self._settings.size - self._head_bytes()
            await asyncio.to_thread(self._tending.run_once, now, oldest=oldest, limit=limit)
        except (OSError, StoreError) as error:
            trouble = f"tsdb: sealing: {error}"
            if trouble != self._trouble:
                log_corruption("the store could not be kept in order", error=trouble)
        self._trouble = trouble
        self._report()
        if self._writer.bug:
            raise self._writer.bug

    def health(self) -> HealthStatus:
        """Say whether numbers are durable, and what was found damaged since the start."""
        if trouble := self._writer.trouble:
            return HealthStatus(False, f"{trouble}; {self._writer.unsaved} bytes of numbers are in memory only")
        if self._trouble:
            return HealthStatus(False, f"{self._trouble}; numbers are durable and wait in the head")
        if self._damage:
            return HealthStatus(
                True, f"numbers are durable; damage was found and set aside: {'; '.join(self._damage[-3:])}"
            )
        return HealthStatus(True, f"{len(self._index)} series in {len(self._shelf.blocks)} blocks and the head")

    def _is_in_time(self, batch: Batch) -> bool:
        now = self._clock.now()
        if batch.at < milliseconds(now - self._settings.retention):
            reason = "old"
        elif batch.at > milliseconds(now + AHEAD):
            reason = "future"
        else:
            return True
        self._meters.add(REFUSED, len(batch.layout), reason=reason)
        return False

    def _welcome(self, batches: Sequence[Batch]) -> list[MetricFamily]:
        """Make new layouts known; return the families that are declared anew. Raises ``StoreError``."""
        layouts = [batch.layout for batch in batches if not self._head.knows(batch.layout)]
        if not layouts:
            return []
        try:
            new = self._index.unknown({labels for layout in layouts for labels in layout.series})
        except TypeError as error:
            raise StoreError(f"tsdb: a label can't be stored: {error}") from error
        if new and len(self._index) + new > self._settings.series:
            raise SeriesLimitError(
                f"tsdb: {new} new series would make {len(self._index) + new}, more than `metrics.series`"
                f" ({self._settings.series}) allows: see which labels grow, or raise it"
            )
        declared = [
            family for layout in layouts for family in layout.families if self._families.get(family.name) != family
        ]
        self._families.update((family.name, family) for family in declared)
        for layout in layouts:
            self._head.source(layout)
        return declared

    def _damaged(self, error: CorruptionError) -> None:
        self._damage.append(str(error).removeprefix("tsdb: "))
        self._meters.add(CORRUPTIONS)
        log_corruption("damage on disk", error=str(error))

    def _report(self) -> None:
        self._meters.set(BLOCKS, len(self._shelf.blocks))
        self._meters.set(BYTES, sum(self._shelf.sizes().values()) + self._head_bytes())
        self._meters.set(SERIES, len(self._index))
        self._meters.set(HEAD_SERIES, self._head.series())
        self._meters.set(UNSAVED, self._writer.unsaved)
        self._meters.add(LOST, self._writer.lost - self._lost)
        self._lost = self._writer.lost

    def _head_bytes(self) -> int:
        return sum(path.stat().st_size for path in self._folder.glob("head.db*"))

    def _locked(self) -> int:
        handle = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(handle)
            raise StoreError(f"tsdb: {self._folder} is in use by another toban") from error
        return handle

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
