"""The store: appends samples and selects them."""

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
from toban.core.failure_log import FailureLog
from toban.core.labels import Labels
from toban.core.matchers import Matcher
from toban.core.metric_registry import MetricRegistry
from toban.core.periodic import run_periodically
from toban.core.ports import Clock, HealthStatus, RetentionReport
from toban.core.samples import Batch, MetricFamily, SeriesBlock, counter, gauge, is_absent, milliseconds
from toban.tsdb.block_set import BlockSet
from toban.tsdb.compaction import BlockCalendar
from toban.tsdb.corruption import CorruptionError, log
from toban.tsdb.head import Head
from toban.tsdb.head_recovery import recover_head
from toban.tsdb.head_writer import HeadWriter
from toban.tsdb.maintenance import StoreMaintenance
from toban.tsdb.querier import Querier
from toban.tsdb.remote_cursor import RemoteCursor
from toban.tsdb.series_index import SeriesIndex
from toban.tsdb.settings import TsdbSettings

APPENDED: Final = counter("toban_tsdb_samples_appended_total", "Samples appended and durable.")
FAILURES: Final = counter("toban_tsdb_append_failures_total", "Appends that failed or were not durable at once.")
REJECTED: Final = counter(
    "toban_tsdb_samples_rejected_total",
    "Samples rejected because they are too old or in the future.",
    labels=("reason",),
)
LOST: Final = counter(
    "toban_tsdb_batches_lost_total", "Batches dropped from memory because the disk failed for too long."
)
CORRUPTIONS: Final = counter("toban_tsdb_corruptions_total", "Damaged files, blocks and rows found on disk.")
BLOCKS: Final = gauge("toban_tsdb_blocks", "Blocks on disk.")
BYTES: Final = gauge("toban_tsdb_disk_bytes", "Size of the blocks and the head on disk.", "bytes")
SERIES: Final = gauge("toban_tsdb_series", "Series in the store.")
HEAD_SERIES: Final = gauge("toban_tsdb_head_series", "Series in the head.")
UNFLUSHED: Final = gauge("toban_tsdb_unflushed_bytes", "Values in memory that are not on disk yet.", "bytes")

MAINTENANCE_INTERVAL: Final = timedelta(minutes=1)
MAX_AHEAD: Final = timedelta(hours=1)
"""How far a sample's time may be in the future: clocks differ, but not by more."""

CLOSE_TIMEOUT: Final = 1.0
"""Seconds that closing waits for a thread that is blocked by the disk."""


class Store:
    """
    Stores samples in a folder: a sink, a source, a service, and a context manager that opens and closes it.

    Samples within the retention are accepted in any order; of two of one series at one time the later append counts.
    Samples that are older, or in the future, are rejected and counted. Opening raises ``StoreError``, for example when
    another toban has the folder open. ``health`` is unhealthy while samples can't be written; damage that was found and
    quarantined is named there too, but the store is healthy with what is left.

    With ``backlog``, ``remote_cursor`` reads what is appended: so many bytes may wait for it.
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
        self._block_set = BlockSet(folder, self._index, self._record_damage)
        full = settings.synchronous == "full"
        self._path = folder / "head.db"
        self._writer = HeadWriter(self._path, self._head, self._index, self._families, full=full)
        calendar = BlockCalendar(length, 12 * length)
        self._backlog = folder / "backlog.db"
        self.remote_cursor = (
            None if backlog is None else RemoteCursor(self._head, self._backlog, backlog, self._record_damage)
        )
        self._maintenance = StoreMaintenance(
            self._head, self._block_set, self._writer, self._index, self._families, calendar, self.remote_cursor
        )
        self._querier = Querier(self._head, self._block_set, self._index)
        self._failure = FailureLog(log, "store maintenance failed", "store maintenance recovered")
        self._damage: list[str] = []
        self._dropped_batches = 0
        self._lock: int | None = None

    def __enter__(self) -> Self:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._lock = self._acquire_lock()
            self._block_set.open()
            for block in self._block_set.blocks:
                self._families.update(block.families)
            full = self._settings.synchronous == "full"
            file = recover_head(self._path, self._head, self._index, self._families, self._record_damage, full=full)
            if self.remote_cursor:
                self.remote_cursor.open()
            else:
                for path in self._folder.glob(f"{self._backlog.name}*"):
                    path.unlink()
        except (OSError, StoreError) as error:
            self._release_lock()
            if isinstance(error, StoreError):
                raise
            raise StoreError(f"tsdb: opening {self._folder}: {error}") from error
        self._opened = milliseconds(self._clock.now()), self._clock.monotonic()
        self._writer.start(file)
        self._update_metrics()
        return self

    def __exit__(
        self, type_: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._maintenance.stop(CLOSE_TIMEOUT)
        self._writer.stop(CLOSE_TIMEOUT)
        if self.remote_cursor:
            self.remote_cursor.close()
        self._block_set.close()
        self._release_lock()

    async def append(self, batches: Sequence[Batch]) -> None:
        """
        Append the samples of one scrape, all or none; return when they survive a crash.

        Raises ``StoreError`` when they can't be made durable now: they can be selected all the same, and the write is
        retried. Raises ``SeriesLimitError`` when there would be too many series: then none is appended.
        """
        try:
            fitting = [batch for batch in batches if len(batch.layout) and self._is_in_time(batch)]
            families = self._intern(fitting)
            rows = self._head.append(fitting)
            if rows:
                await self._writer.write(rows, families)
        except StoreError:
            self._meters.add(FAILURES)
            raise
        self._meters.add(APPENDED, sum(int(np.count_nonzero(~is_absent(batch.values))) for batch in fitting))

    def select(self, matchers: Sequence[Matcher], start: int, end: int, most: int | None = None) -> list[SeriesBlock]:
        """
        Return the samples of all series that the matchers select, ``start`` and ``end`` included (milliseconds).

        One source over time is one group, even if series of it come and go. Damaged tiles are left out.
        Raises ``StoreError``, and ``SampleLimitError`` before more than ``most`` samples are in memory.
        """
        return self._querier.select(matchers, start, end, most)

    def series(self, matchers: Sequence[Matcher], start: int, end: int) -> list[Labels]:
        """Return the series that ``select`` would return, perhaps with some that end or begin just outside."""
        return self._querier.series(matchers, start, end)

    def oldest(self, matchers: Sequence[Matcher]) -> int | None:
        """Return about when the oldest sample is of the series that the matchers select, or None without samples."""
        return self._querier.oldest(matchers)

    def families(self) -> Mapping[str, MetricFamily]:
        """Return the metric families by name."""
        return dict(self._families)

    async def run(self) -> NoReturn:
        """Maintain the store until cancelled."""
        try:
            await run_periodically("tsdb", MAINTENANCE_INTERVAL, self.maintain, clock=self._clock, meters=self._meters)
        finally:
            self._maintenance.stop(0)

    async def maintain(self) -> None:
        """Flush, compact, expire and verify once. A failure is in ``health`` until a later run succeeds."""
        now = milliseconds(self._clock.now())
        # A clock that jumps ahead must not expire everything at once.
        opened, since = self._opened
        steady = min(now, opened + round((self._clock.monotonic() - since) * 1000))
        oldest = steady - self._settings.retention // timedelta(milliseconds=1)
        try:
            limit = self._settings.size - self._head_bytes()
            await asyncio.to_thread(self._maintenance.run_once, now, oldest=oldest, limit=limit)
        except (OSError, StoreError) as error:
            self._failure.failed(f"tsdb: maintenance: {error}")
        else:
            self._failure.succeeded()
        self._update_metrics()
        if self._writer.bug:
            raise self._writer.bug

    async def apply_retention(self) -> None:
        """Maintain the store now, and remove what is too old or too much. Raises ``StoreError``."""
        await self.maintain()
        if error := self._failure.error:
            raise StoreError(error)

    async def retention_report(self) -> RetentionReport:
        """Return what it keeps, and what waits for remote write. Raises ``StoreError``."""
        oldest, now = await asyncio.to_thread(self.oldest, []), milliseconds(self._clock.now())
        size = await asyncio.to_thread(lambda: sum(self._block_set.sizes().values()) + self._head_bytes())
        content = f"{len(self._index):,} series in {len(self._block_set.blocks):,} blocks and the head"
        notes = await asyncio.to_thread(self.remote_cursor.notes) if self.remote_cursor else ()
        settings = self._settings
        return RetentionReport(
            oldest, None if oldest is None else now, settings.retention, size, settings.size, content, notes
        )

    def health(self) -> HealthStatus:
        """Return whether samples are durable, and what was found damaged since the start."""
        if error := self._writer.error:
            return HealthStatus(False, f"{error}; {self._writer.unflushed_bytes} bytes of samples are in memory only")
        if error := self._failure.error:
            return HealthStatus(False, f"{error}; samples are durable in the head")
        if self._damage:
            return HealthStatus(
                True, f"samples are durable; damage was found and quarantined: {'; '.join(self._damage[-3:])}"
            )
        return HealthStatus(True, f"{len(self._index)} series in {len(self._block_set.blocks)} blocks and the head")

    def _is_in_time(self, batch: Batch) -> bool:
        now = self._clock.now()
        if batch.at < milliseconds(now - self._settings.retention):
            reason = "old"
        elif batch.at > milliseconds(now + MAX_AHEAD):
            reason = "future"
        else:
            return True
        self._meters.add(REJECTED, len(batch.layout), reason=reason)
        return False

    def _intern(self, batches: Sequence[Batch]) -> list[MetricFamily]:
        """Intern new layouts; return the families that are new or changed. Raises ``StoreError``."""
        layouts = [batch.layout for batch in batches if not self._head.is_interned(batch.layout)]
        if not layouts:
            return []
        try:
            new = self._index.count_new({labels for layout in layouts for labels in layout.series})
        except TypeError as error:
            raise StoreError(f"tsdb: a label is not valid Unicode: {error}") from error
        if new and len(self._index) + new > self._settings.series:
            raise SeriesLimitError(
                f"tsdb: {new} new series would make {len(self._index) + new}, more than `metrics.series`"
                f" ({self._settings.series}) allows: find the labels whose values grow, or raise it"
            )
        families = [
            family for layout in layouts for family in layout.families if self._families.get(family.name) != family
        ]
        self._families.update((family.name, family) for family in families)
        for layout in layouts:
            self._head.intern(layout)
        return families

    def _record_damage(self, error: CorruptionError) -> None:
        self._damage.append(str(error).removeprefix("tsdb: "))
        self._meters.add(CORRUPTIONS)
        log.warning("corruption found", error=str(error))

    def _update_metrics(self) -> None:
        self._meters.set(BLOCKS, len(self._block_set.blocks))
        self._meters.set(BYTES, sum(self._block_set.sizes().values()) + self._head_bytes())
        self._meters.set(SERIES, len(self._index))
        self._meters.set(HEAD_SERIES, self._head.series())
        self._meters.set(UNFLUSHED, self._writer.unflushed_bytes)
        self._meters.add(LOST, self._writer.dropped_batches - self._dropped_batches)
        self._dropped_batches = self._writer.dropped_batches

    def _head_bytes(self) -> int:
        return sum(path.stat().st_size for path in self._folder.glob("head.db*"))

    def _acquire_lock(self) -> int:
        handle = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(handle)
            raise StoreError(f"tsdb: {self._folder} is in use by another toban") from error
        return handle

    def _release_lock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
