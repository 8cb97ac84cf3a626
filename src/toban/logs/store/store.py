"""The store of log lines: appends, searches, and keeps within its limits."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Final, Self

import numpy as np

from toban.core.errors import StoreError
from toban.core.log_line import LogLine, LogStream
from toban.core.metric_registry import MetricRegistry
from toban.core.ports import Clock
from toban.core.samples import counter, gauge, milliseconds
from toban.logs.line_store import Direction, LineSelection, SearchSlice, StoredLine, StoreReport, StreamCount
from toban.logs.settings import LogSettings
from toban.logs.store.block import MAX_CHUNKS, MAX_STREAMS, BlockName
from toban.logs.store.block_set import BlockSet, last_time
from toban.logs.store.chunk import Chunk, ChunkDeletedError
from toban.logs.store.head import Head, HeadDamagedError
from toban.logs.store.head_recovery import log, open_head_file
from toban.logs.store.search import HeadChunk, Query, StoreSearch, StoreView, count_lines
from toban.tsdb.corruption import CorruptionError

APPENDED: Final = counter("toban_log_store_lines_appended_total", "Log lines appended and durable.")
FAILURES: Final = counter("toban_log_store_append_failures_total", "Appends of log lines that failed.")
CORRUPTIONS: Final = counter(
    "toban_log_store_corruptions_total", "Damaged files, blocks and rows of the log store found on disk."
)
LINES: Final = gauge("toban_log_store_lines", "Log lines in the store.")
BYTES: Final = gauge("toban_log_store_bytes", "Size of the log store on disk.", "bytes")
BLOCKS: Final = gauge("toban_log_store_blocks", "Blocks of log lines on disk.")
OLDEST: Final = gauge(
    "toban_log_store_oldest_timestamp_seconds", "Time of the oldest log line in the store.", "seconds"
)

DAY_MILLISECONDS: Final = 86_400_000

KEPT_SINCE: Final = "kept-since"
"""The name of the cursor that holds the time from which on no line was deleted."""


class EmbeddedLineStore:
    """
    Stores log lines in a folder, and is a context manager that opens and closes it: a `LineStore`.

    Opening raises ``StoreError``. A damaged block is kept under another name, reported once, and what is intact of it
    is searched.
    """

    def __init__(self, folder: Path, settings: LogSettings, clock: Clock, meters: MetricRegistry) -> None:
        self._folder = folder
        self._settings = settings
        self._clock = clock
        self._meters = meters
        self._block_set = BlockSet(folder, self._record_damage)
        self._reporting = Lock()

    def __enter__(self) -> Self:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._block_set.open()
        except OSError as error:
            raise StoreError(f"logs: opening {self._folder}: {error}") from error
        self._opened = self._now(), self._clock.monotonic()
        self._head = self._open_head()
        self._update_metrics()
        return self

    def __exit__(
        self, type_: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._block_set.close()
        self._head.file.close()

    def append(self, lines: Sequence[LogLine], cursors: Mapping[str, str]) -> int:
        """
        Store lines and cursors in one transaction; return the number of the first line.

        When it returns, they survive a crash of toban; with ``synchronous: full`` also a power cut. Raises
        ``StoreError`` when the disk fails: then nothing of it is stored.
        """
        try:
            first = self._head.append(lines, cursors)
        except StoreError as error:
            self._meters.add(FAILURES)
            if isinstance(error, HeadDamagedError):
                self._reopen_head()
            raise
        self._meters.add(APPENDED, len(lines))
        return first

    def cursor(self, name: str) -> str:
        """Return a cursor, empty where there is none."""
        return self._head.cursor(name)

    def cursors(self, prefix: str) -> Mapping[str, str]:
        """Return all cursors whose names begin with a prefix."""
        return {name: value for name, value in self._head.cursors().items() if name.startswith(prefix)}

    def forget_cursors(self, names: Sequence[str]) -> None:
        """Delete cursors."""
        self._head.forget_cursors(names)

    def numbered(self, first: int, limit: int) -> Sequence[StoredLine]:
        """Return up to ``limit`` lines by number, from ``first`` on; lines that are damaged or deleted are left out."""
        found: list[StoredLine] = []
        for chunk in self._numbered_chunks(first):
            start = max(first, chunk.info.first) - chunk.info.first
            stop = min(chunk.info.count, start + limit - len(found))
            with suppress(CorruptionError, ChunkDeletedError):
                found += chunk.lines(np.arange(start, stop))
            if len(found) >= limit:
                break
        return found

    def search(
        self, selection: LineSelection, limit: int, direction: Direction = Direction.BACKWARD
    ) -> Iterator[SearchSlice]:
        """
        Find lines, newest first or oldest first, slice by slice: about every 100 ms one, also without lines.

        Raises ``BadQueryError`` for an expression that is not valid.
        """
        return StoreSearch(Query(selection), self._view(), limit, direction).slices(self._clock.monotonic)

    def count(self, selection: LineSelection, step: int) -> Iterator[Sequence[StreamCount]]:
        """
        Count lines by stream and step of time (milliseconds), slice by slice; without filters no text is read.

        Raises ``BadQueryError`` for an expression that is not valid.
        """
        return count_lines(Query(selection), self._view(), step, self._clock.monotonic)

    def streams(self, start: int, end: int) -> Sequence[LogStream]:
        """Return the streams that may have lines in a range of time, sorted."""
        query, view = Query(LineSelection(start, end)), self._view()
        found: set[LogStream] = set()
        for one in query.chunks(view):
            if isinstance(one, HeadChunk):
                found.update(one.info.streams)
                continue
            with suppress(CorruptionError):
                found.update(stream for chunk in query.chunks_of(one) for stream in chunk.info.streams)
        return sorted(found)

    def report(self) -> StoreReport:
        """Return what the store holds."""
        view = self._view()
        infos = [one.info for one in view.head]
        times = [(one.oldest, one.newest) for one in view.blocks] + [(one.oldest, one.newest) for one in infos]
        return StoreReport(
            lines=sum(block.lines for block in view.blocks) + sum(info.count for info in infos),
            bytes=self._block_set.size() + self._head_bytes(),
            oldest=min((oldest for oldest, _ in times), default=None),
            newest=max((newest for _, newest in times), default=None),
            next_number=self._head.next_number,
        )

    def kept_since(self) -> int | None:
        """Return the time (milliseconds) from which on no line was deleted; None where no line is stored."""
        view = self._view()
        oldest = min([*(it.oldest for it in view.blocks), *(it.info.oldest for it in view.head)], default=None)
        # A line that came late may be older than what was deleted: the time of that counts.
        return self._kept_since() or oldest

    def _kept_since(self) -> int:
        """Return the time of the newest line that was deleted, plus one; 0 where none was."""
        text = self._head.cursor(KEPT_SINCE)
        return int(text) if text else 0

    def maintain(self, now: int) -> None:
        """
        Seal what is full, delete what is too old or too much, and repair damaged blocks; for the thread that writes.

        Raises ``StoreError`` when the disk fails; nothing is lost, and the next run retries.
        """
        try:
            self._seal(now)
            self._expire(now)
            self._block_set.repair()
            self._head.shrink()
        except HeadDamagedError:
            self._reopen_head()
            raise
        except OSError as error:
            raise StoreError(f"logs: maintenance: {error}") from error
        finally:
            self._update_metrics()

    def _view(self) -> StoreView:
        # The head before the blocks: what is sealed in between is found twice at most, and then in its block only.
        head = self._head.chunks()
        blocks = self._block_set.blocks
        sealed = blocks[-1].name.last if blocks else 0
        return StoreView(blocks, tuple(chunk for chunk in head if chunk.info.first > sealed))

    def _numbered_chunks(self, first: int) -> Iterator[Chunk]:
        """Yield the chunks with a number or a higher one, in order."""
        view = self._view()
        for block in view.blocks:
            if block.name.last >= first:
                with suppress(CorruptionError):
                    numbers = block.index.numbers
                    for number in np.flatnonzero(numbers[:, 0] + numbers[:, 1] > first).tolist():
                        yield block.chunk(number)
        for one in view.head:
            if one.info.last >= first:
                yield one.chunk()

    def _seal(self, now: int) -> None:
        """Seal the chunks of the head: as many as fill a block, and all of an earlier day."""
        day = now // DAY_MILLISECONDS
        ends = day != self._head.day(day)
        if ends:
            self._head.complete_open()
        while chunks := self._next_block(whole=not ends):
            name = BlockName(chunks[0].info.first, chunks[-1].info.last)
            self._block_set.add(name, self._head.packed(chunks), now)
            self._head.drop(chunks)
            self._head.remove(name)
        if ends:
            self._head.set_day(day)

    def _next_block(self, *, whole: bool) -> list[HeadChunk]:
        """Return the head's oldest chunks that go into one block; none when a block must be ``whole`` and isn't."""
        chunks: list[HeadChunk] = []
        streams: set[LogStream] = set()
        for chunk in self._head.complete():
            more = streams | set(chunk.info.streams)
            if chunks and (len(chunks) == MAX_CHUNKS or len(more) > MAX_STREAMS):
                return chunks
            chunks.append(chunk)
            streams = more
        return chunks if len(chunks) == MAX_CHUNKS or not whole else []

    def _expire(self, now: int) -> None:
        """Delete what is too old, and the oldest while there is too much."""
        opened, since = self._opened
        # A clock that jumps ahead must not expire everything at once.
        steady = min(now, opened + round((self._clock.monotonic() - since) * 1000))
        oldest = steady - self._settings.retention // timedelta(milliseconds=1)
        expired = self._block_set.expired(oldest, self._settings.retention_size - self._head_bytes())
        if not expired:
            return
        kept = max(self._kept_since(), *(last_time(block) + 1 for block in expired))
        # Stored before the blocks are deleted: a crash in between asks for lines elsewhere that are still here; the
        # other order would miss some.
        self._head.append([], {KEPT_SINCE: str(kept)})
        self._block_set.delete(expired)

    def _open_head(self) -> Head:
        full = self._settings.synchronous == "full"
        file, next_number = open_head_file(self._folder / "head.db", self._record_damage, self._now(), full=full)
        head = Head(file, self._block_set.column, self._record_damage)
        try:
            # A crash between the two: the lines of a finished block are still in the head.
            for block in self._block_set.blocks:
                head.remove(block.name)
            head.restore(next_number)
            head.day(self._now() // DAY_MILLISECONDS)
        except BaseException:
            file.close()
            raise
        return head

    def _reopen_head(self) -> None:
        """Open the head's file anew after it was found damaged."""
        self._head.file.close()
        self._head = self._open_head()

    def _record_damage(self, error: CorruptionError) -> None:
        with self._reporting:
            self._meters.add(CORRUPTIONS)
        log.warning("corruption found", error=str(error))

    def _update_metrics(self) -> None:
        report = self.report()
        self._meters.set(LINES, report.lines)
        self._meters.set(BYTES, report.bytes)
        self._meters.set(BLOCKS, len(self._block_set.blocks))
        if report.oldest is None:
            self._meters.remove(OLDEST)
        else:
            self._meters.set(OLDEST, report.oldest / 1000)

    def _head_bytes(self) -> int:
        return sum(path.stat().st_size for path in self._folder.glob("head.db*"))

    def _now(self) -> int:
        return milliseconds(self._clock.now())
