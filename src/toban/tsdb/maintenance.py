"""What is done with numbers once they are in: sealed, compacted, checked, and in the end removed."""

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
from toban.tsdb.corruption import log_corruption, quarantine_name
from toban.tsdb.head import Head
from toban.tsdb.head_writer import HeadWriter
from toban.tsdb.remote_cursor import RemoteCursor
from toban.tsdb.series_index import SeriesIndex

LATE: Final = 8 * 2**20
"""Bytes of late numbers that are sealed without waiting for the next window to end."""

FULL: Final = 64 * 2**20
"""Bytes in the head beyond which it is sealed at once, whatever the time."""

CHECKED: Final = 64 * 2**20
"""Bytes of blocks that are read through in one round."""

BREATH: Final = 0.001
"""Seconds between two tiles, so that who appends meanwhile gets his turn."""


class _StoppedError(Exception):
    """The store is being closed."""


class StoreMaintenance:
    """
    The rounds that keep the store in order, in a thread of their own, one at a time.

    Each raises ``OSError`` or ``StoreError`` when the disk does not let it; nothing is lost then, and the next round
    tries again.
    """

    def __init__(
        self,
        head: Head,
        shelf: BlockSet,
        writer: HeadWriter,
        index: SeriesIndex,
        families: Mapping[str, MetricFamily],
        calendar: BlockCalendar,
        passing: RemoteCursor | None = None,
    ) -> None:
        self._head = head
        self._shelf = shelf
        self._writer = writer
        self._index = index
        self._families = families
        self._calendar = calendar
        self._passing = passing
        self._sealed_before = -(2**63)
        self._checked: set[Block] = set()
        self._busy = Lock()
        self._stopping = Event()

    def stop(self, patience: float) -> None:
        """End the round that is under way, if there is one, at its next tile."""
        self._stopping.set()
        if self._busy.acquire(timeout=patience):
            self._busy.release()

    def run_once(self, now: int, *, oldest: int, limit: int) -> None:
        """
        Do what is due at a time: bring down no numbers older than ``oldest``, no more bytes of blocks than ``limit``.

        1. Take the sound part of blocks that turned out to be damaged.
        2. Seal the windows of the head that are over.
        3. Make one block of many.
        4. Remove what is too old or too much.
        5. Read some blocks through, so that damage is known before somebody needs them.
        """
        if not self._busy.acquire(blocking=False):
            return
        try:
            with suppress(_StoppedError):
                self._repair()
                self._flush(now)
                self._compact(now)
                self._expire(oldest, limit)
                self._check()
        finally:
            self._busy.release()

    def _flush(self, now: int) -> None:
        cutoff = self._calendar.cutoff(now)
        sizes = self._head.windows()
        late = sum(size for window, size in sizes.items() if (window + 1) * self._calendar.window <= cutoff)
        if sum(sizes.values()) > FULL:
            due = list(sizes)
        elif late > (0 if cutoff > self._sealed_before else LATE):
            due = [window for window in sizes if (window + 1) * self._calendar.window <= cutoff]
        else:
            return
        for start, end in sorted({self._calendar.span(window * self._calendar.window, cutoff) for window in due}):
            self._seal(start, end)
        self._sealed_before = cutoff

    def _seal(self, start: int, end: int) -> None:
        """
        Seal what the head holds from ``start`` up to before ``end``.

        The rows go only after the block is durable. A crash in between leaves both, which say the same; readers look
        at the head before the blocks, so they too see both rather than neither.
        """
        turn = self._head.turn
        if self._passing:
            self._passing.keep(start, end)
        pieces = [piece for ids, rows in self._head.taken(start, end - 1) for piece in rows.pieces(ids)]
        name = BlockName(start, end, self._shelf.turn())
        path = write_block(self._shelf.folder, name, pieces, self._index, self._families, breathe=self._breathe)
        self._shelf.add(path)
        self._head.drop(start, end, turn)
        self._writer.remove(start, end, turn)

    def _compact(self, now: int) -> None:
        while due := self._calendar.compaction(list(self._shelf.sizes()), self._calendar.cutoff(now)):
            name, names = due
            blocks = [block for block in self._shelf.blocks if block.name in names]
            path = self._rewritten(name, blocks, [one.turn for one in names])
            if any(block.damaged for block in blocks):
                # Repaired first, so that the damaged file is kept and not taken for replaced.
                path.unlink()
                return
            self._shelf.add(path, blocks)
            self._shelf.remove(blocks)

    def _repair(self) -> None:
        for block in [block for block in self._shelf.blocks if block.damaged]:
            kept = quarantine_name(block.path)
            os.link(block.path, kept)
            path = self._rewritten(block.name, [block], list(block.sources))
            self._shelf.add(path, [block])
            log_corruption("a damaged block was set aside; what is sound of it stays", file=str(kept))

    def _rewritten(self, name: BlockName, blocks: list[Block], sources: list[int]) -> Path:
        # A tile of the new block needs one or two of each old one; with these at hand each is decoded once.
        cache = TileCache(len(blocks) * 2**20)
        pieces = [piece for block in blocks for piece in block.pieces(-(2**62), 2**62, None, cache)]
        return write_block(
            self._shelf.folder, name, pieces, self._index, self._families, sources=sources, breathe=self._breathe
        )

    def _expire(self, oldest: int, limit: int) -> None:
        if self._passing:
            self._passing.truncate(oldest)
        names = expired(self._shelf.sizes(), before=oldest, limit=limit)
        if not names:
            return
        gone = [block for block in self._shelf.blocks if block.name in names]
        self._shelf.remove(gone)
        self._checked.difference_update(gone)
        left = [block.ids for block in self._shelf.blocks]
        ids = np.unique(np.concatenate([block.ids for block in gone]))
        self._head.release(np.setdiff1d(ids, np.concatenate(left)) if left else ids)

    def _check(self) -> None:
        read = 0
        self._checked.intersection_update(self._shelf.blocks)
        for block in self._shelf.blocks:
            if block not in self._checked and read < CHECKED:
                self._breathe()
                block.verify()
                read += block.size
                self._checked.add(block)

    def _breathe(self) -> None:
        if self._stopping.wait(BREATH):
            raise _StoppedError
