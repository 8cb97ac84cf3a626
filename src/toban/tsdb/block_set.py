"""The set of open blocks."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import orjson

from toban.core.labels import Labels
from toban.tsdb.block import SUFFIX, Block, BlockName
from toban.tsdb.block_writer import UNFINISHED
from toban.tsdb.corruption import CorruptionError, fsync_folder, log, quarantine
from toban.tsdb.series_index import SeriesIndex
from toban.tsdb.series_merge import Int64Array


class BlockSet:
    """
    All open blocks. One thread changes the set; any thread may read ``blocks``.

    Damage is reported. Opening and changing raise ``OSError``.
    """

    def __init__(self, folder: Path, index: SeriesIndex, report: Callable[[CorruptionError], None]) -> None:
        self.folder = folder
        self.blocks: tuple[Block, ...] = ()
        self._index = index
        self._report = report

    def open(self) -> None:
        """
        Open all blocks.

        1. Remove files that were never finished: their samples are still where they were.
        2. Quarantine blocks that can't be read.
        3. Remove blocks that a compaction replaced and a crash left behind.
        """
        for path in self.folder.glob(f"*{UNFINISHED}"):
            path.unlink()
        known: dict[bytes, int] = {}
        opened = [self._open_block(path, known) for path in sorted(self.folder.glob(f"*{SUFFIX}"))]
        self.blocks = tuple(sorted((block for block in opened if block), key=lambda block: block.name.sequence))
        replaced = {sequence for block in self.blocks for sequence in block.sources}
        self.remove([block for block in self.blocks if block.name.sequence in replaced])

    def close(self) -> None:
        """Drop all blocks: each is closed when its last reader has dropped it too."""
        self.blocks = ()

    def next_sequence(self) -> int:
        """Return the sequence number of the next block."""
        return 1 + max((block.name.sequence for block in self.blocks), default=0)

    def add(self, path: Path, replaced: Sequence[Block] = ()) -> None:
        """Add a block and drop those that it replaces, in one step for readers; the files of these are left alone."""
        block = self._open_block(path, {})
        if block:
            self.blocks = (*(one for one in self.blocks if one not in replaced), block)

    def remove(self, removed: Sequence[Block]) -> None:
        """Remove blocks and their files."""
        self.blocks = tuple(block for block in self.blocks if block not in removed)
        for block in removed:
            block.path.unlink(missing_ok=True)
        if removed:
            fsync_folder(self.folder)

    def sizes(self) -> dict[BlockName, int]:
        """Return each block's name and size in bytes."""
        return {block.name: block.size for block in self.blocks}

    def _open_block(self, path: Path, known: dict[bytes, int]) -> Block | None:
        def intern(lines: Sequence[bytes]) -> Int64Array:
            # The same series are in block after block: each line is parsed once.
            new = [line for line in lines if line not in known]
            ids = self._index.add(Labels(orjson.loads(line)) for line in new)
            known.update(zip(new, ids.tolist(), strict=True))
            return np.array([known[line] for line in lines], np.int64)

        try:
            return Block(path, intern, self._report)
        except CorruptionError as error:
            self._report(error)
            log.warning("damaged block quarantined", file=str(quarantine(path)))
            return None
