"""The set of open blocks."""

import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import numpy as np

from toban.core.errors import StoreError
from toban.logs.store.block import SUFFIX, Block, BlockName, IndexCache
from toban.logs.store.block_writer import UNFINISHED, PackedChunk, write_block
from toban.logs.store.chunk import ChunkDeletedError, Column
from toban.logs.store.head_recovery import log
from toban.logs.store.signature import sign
from toban.tsdb.corruption import CorruptionError, fsync_folder, quarantine, quarantine_name

INDEX_BYTES: Final = 6 * 2**20
"""Bytes of block indexes that are kept in memory."""


def last_time(block: Block) -> int:
    """
    Return the time of a block's newest line (milliseconds).

    A line of the future would keep its block for ever: it counts as one of the time when the block was sealed.
    """
    return min(block.newest, block.sealed_at)


class BlockSet:
    """
    All open blocks, in the order of their numbers. One thread changes the set; any thread may read ``blocks``.

    Damage is reported. Opening and changing raise ``OSError``.
    """

    def __init__(self, folder: Path, report: Callable[[CorruptionError], None]) -> None:
        self.blocks: tuple[Block, ...] = ()
        self._folder = folder
        self._report = report
        self._cache = IndexCache(INDEX_BYTES)

    def open(self) -> None:
        """Remove files that were never finished, open all blocks, and quarantine those that can't be read."""
        for path in self._folder.glob(f"*{UNFINISHED}"):
            path.unlink()
        opened = [self._open_block(path) for path in self._folder.glob(f"*{SUFFIX}")]
        self.blocks = tuple(sorted((block for block in opened if block), key=lambda block: block.name))

    def close(self) -> None:
        """Drop all blocks: each is closed when its last reader has dropped it too."""
        self.blocks = ()

    def size(self) -> int:
        """Return the bytes of all blocks."""
        return sum(block.size for block in self.blocks)

    def add(self, name: BlockName, chunks: Iterator[PackedChunk], now: int) -> None:
        """Write a block and add it; nothing when there are no chunks. Raises ``StoreError`` when it can't be read."""
        first = next(chunks, None)
        if first:
            path = write_block(self._folder, name, itertools.chain([first], chunks), now)
            block = self._open_block(path)
            if not block:
                raise StoreError(f"logs: {path.name}: can't be read after it was written: check the disk")
            self.blocks = (*self.blocks, block)

    def expired(self, oldest: int, limit: int) -> list[Block]:
        """Return the blocks whose lines are all older than a time (milliseconds), and the oldest beyond a size."""
        kept = [block for block in self.blocks if last_time(block) >= oldest]
        size = sum(block.size for block in kept)
        while kept and size > limit:
            size -= kept.pop(0).size
        return [block for block in self.blocks if block not in kept]

    def delete(self, expired: Sequence[Block]) -> None:
        """Delete blocks."""
        self.blocks = tuple(block for block in self.blocks if block not in expired)
        for block in expired:
            block.path.unlink(missing_ok=True)
        if expired:
            fsync_folder(self._folder)

    def repair(self) -> None:
        """Write the intact chunks of damaged blocks anew, and keep the damaged files under other names."""
        for block in self.blocks:
            if block.damaged:
                self._rewrite(block)

    def column(self, first: int, column: Column) -> bytes:
        """
        Return a column of the chunk with a first number.

        Raises ``CorruptionError``, and ``ChunkDeletedError`` when there is none.
        """
        for block in self.blocks:
            if block.name.first <= first <= block.name.last:
                for number in np.flatnonzero(block.index.numbers[:, 0] == first).tolist():
                    return block.column(number, column)
        raise ChunkDeletedError(f"logs: the lines from {first} on are deleted")

    def _open_block(self, path: Path) -> Block | None:
        try:
            return Block(path, self._cache, self._report)
        except CorruptionError as error:
            self._report(error)
            log.warning("damaged block quarantined", file=str(quarantine(path)))
            return None

    def _rewrite(self, block: Block) -> None:
        intact = _intact(block)
        first = next(intact, None)
        quarantined = quarantine_name(block.path)
        os.link(block.path, quarantined)
        rewritten = None
        try:
            if first:
                path = write_block(self._folder, block.name, itertools.chain([first], intact), block.sealed_at)
                rewritten = self._open_block(path)
            else:
                block.path.unlink()
        except BaseException:
            quarantined.unlink()
            raise
        log.warning("damaged block quarantined and rewritten without the damage", file=str(quarantined))
        others = [rewritten if one is block else one for one in self.blocks]
        self.blocks = tuple(one for one in others if one)


def _intact(block: Block) -> Iterator[PackedChunk]:
    """Yield what is stored of the intact chunks of a block."""
    try:
        count = len(block.index.numbers)
    except CorruptionError:
        return
    for number in range(count):
        with suppress(CorruptionError):
            chunk = block.chunk(number)
            columns = [chunk.read(column) for column in Column]
            texts = [chunk.data(column) for column in (Column.LOUD, Column.QUIET)]
            trace_ids = chunk.trace_ids.at(np.arange(chunk.info.count))
            yield chunk.info, columns, sign(texts, trace_ids)
