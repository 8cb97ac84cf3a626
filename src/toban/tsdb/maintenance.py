"""Maintenance of the store: flush, compaction, retention, verification and repair."""

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from threading import Event, Lock
from typing import Final

import numpy as np

from toban.core.samples import MetricFamily
from toban.tsdb.block import Block, BlockName, TileCache
from toban.tsdb.block_set import BlockSet
from toban.tsdb.block_writer import write_block
from toban.tsdb.compaction import BlockCalendar, expired
from toban.tsdb.corruption import log, quarantine_name
from toban.tsdb.head import Head
from toban.tsdb.head_writer import HeadWriter
from toban.tsdb.remote_cursor import RemoteCursor
from toban.tsdb.series_index import SeriesIndex

LATE_BYTES: Final = 8 * 2**20
"""Bytes of late samples that are flushed without waiting for the next window to end."""

HEAD_BYTES: Final = 64 * 2**20
"""Bytes in the head beyond which it is flushed at once, whatever the time."""

VERIFY_BYTES: Final = 64 * 2**20
"""Bytes of blocks that are verified in one run."""

PAUSE: Final = 0.001
"""Seconds between two tiles, in which appends can run."""


class _StopRequestedError(Exception):
    """The store is being closed."""


class StoreMaintenance:
    """
    Maintenance runs, in a worker thread, one at a time.

    A run raises ``OSError`` or ``StoreError`` when the disk fails; nothing is lost, and the next run retries.
    """

    def __init__(
        self,
        head: Head,
        block_set: BlockSet,
        writer: HeadWriter,
        index: SeriesIndex,
        families: Mapping[str, MetricFamily],
        calendar: BlockCalendar,
        remote_cursor: RemoteCursor | None = None,
    ) -> None:
        self._head = head
        self._block_set = block_set
        self._writer = writer
        self._index = index
        self._families = families
        self._calendar = calendar
        self._remote_cursor = remote_cursor
        self._flushed_before = -(2**63)
        self._verified: set[Block] = set()
        self._running = Lock()
        self._stopping = Event()

    def stop(self, timeout: float) -> None:
        """Stop the current run at its next tile, and wait for it up to ``timeout`` seconds."""
        self._stopping.set()
        if self._running.acquire(timeout=timeout):
            self._running.release()

    def run_once(self, now: int, *, oldest: int, limit: int) -> None:
        """
        Do what is due at ``now``; nothing older than ``oldest`` is kept, nor more bytes of blocks than ``limit``.

        1. Rewrite blocks that were found damaged, without the damaged part.
        2. Flush the windows of the head that are over.
        3. Compact blocks.
        4. Remove blocks that are too old or too large in all.
        5. Verify some blocks, so that damage is found before a query needs them.
        """
        if not self._running.acquire(blocking=False):
            return
        try:
            with suppress(_StopRequestedError):
                self._repair()
                self._flush(now)
                self._compact(now)
                self._expire(oldest, limit)
                self._verify()
        finally:
            self._running.release()

    def _flush(self, now: int) -> None:
        cutoff = self._calendar.cutoff(now)
        sizes = self._head.windows()
        late = sum(size for window, size in sizes.items() if (window + 1) * self._calendar.window <= cutoff)
        if sum(sizes.values()) > HEAD_BYTES:
            due = list(sizes)
        elif late > (0 if cutoff > self._flushed_before else LATE_BYTES):
            due = [window for window in sizes if (window + 1) * self._calendar.window <= cutoff]
        else:
            return
        for start, end in sorted({self._calendar.span(window * self._calendar.window, cutoff) for window in due}):
            self._flush_span(start, end)
        self._flushed_before = cutoff

    def _flush_span(self, start: int, end: int) -> None:
        """
        Write what the head holds of ``start`` ≤ time < ``end`` to a block.

        The rows are dropped after the block is durable. A crash in between leaves both, with the same samples; readers
        read the head before the blocks, so they see both rather than neither.
        """
        sequence = self._head.sequence
        if self._remote_cursor:
            self._remote_cursor.copy_unsent(start, end)
        pieces = [piece for ids, rows in self._head.snapshot(start, end - 1) for piece in rows.pieces(ids)]
        name = BlockName(start, end, self._block_set.next_sequence())
        path = write_block(self._block_set.folder, name, pieces, self._index, self._families, pause=self._pause)
        self._block_set.add(path)
        self._head.drop(start, end, sequence)
        self._writer.remove(start, end, sequence)

    def _compact(self, now: int) -> None:
        while due := self._calendar.compaction(list(self._block_set.sizes()), self._calendar.cutoff(now)):
            name, names = due
            blocks = [block for block in self._block_set.blocks if block.name in names]
            path = self._rewrite(name, blocks, [one.sequence for one in names])
            if any(block.damaged for block in blocks):
                # Repaired first, so that the damaged file is quarantined rather than removed as replaced.
                path.unlink()
                return
            self._block_set.add(path, blocks)
            self._block_set.remove(blocks)

    def _repair(self) -> None:
        for block in [block for block in self._block_set.blocks if block.damaged]:
            quarantined = quarantine_name(block.path)
            os.link(block.path, quarantined)
            path = self._rewrite(block.name, [block], list(block.sources))
            self._block_set.add(path, [block])
            log.warning("damaged block quarantined and rewritten without the damage", file=str(quarantined))

    def _rewrite(self, name: BlockName, blocks: list[Block], sources: list[int]) -> Path:
        # A tile of the new block needs one or two of each old block; with these in the cache each is decoded once.
        cache = TileCache(len(blocks) * 2**20)
        pieces = [piece for block in blocks for piece in block.pieces(-(2**62), 2**62, None, cache)]
        return write_block(
            self._block_set.folder, name, pieces, self._index, self._families, sources=sources, pause=self._pause
        )

    def _expire(self, oldest: int, limit: int) -> None:
        if self._remote_cursor:
            self._remote_cursor.truncate(oldest)
        names = expired(self._block_set.sizes(), before=oldest, limit=limit)
        if not names:
            return
        removed = [block for block in self._block_set.blocks if block.name in names]
        self._block_set.remove(removed)
        self._verified.difference_update(removed)
        left = [block.ids for block in self._block_set.blocks]
        ids = np.unique(np.concatenate([block.ids for block in removed]))
        self._head.forget_series(np.setdiff1d(ids, np.concatenate(left)) if left else ids)

    def _verify(self) -> None:
        read = 0
        self._verified.intersection_update(self._block_set.blocks)
        for block in self._block_set.blocks:
            if block not in self._verified and read < VERIFY_BYTES:
                self._pause()
                block.verify()
                read += block.size
                self._verified.add(block)

    def _pause(self) -> None:
        if self._stopping.wait(PAUSE):
            raise _StopRequestedError
