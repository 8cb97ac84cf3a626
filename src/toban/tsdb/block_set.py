"""The sealed blocks, side by side."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import orjson

from toban.core.labels import Labels
from toban.tsdb.block import SUFFIX, Block, BlockName
from toban.tsdb.block_writer import UNFINISHED
from toban.tsdb.corruption import CorruptionError, fsync_folder, log_corruption, set_aside
from toban.tsdb.series_index import SeriesIndex
from toban.tsdb.series_merge import Numbers


class BlockSet:
    """
    All blocks that are open. One thread changes it; any thread may read ``blocks``.

    What is damaged is reported. Opening and changing raise ``OSError``.
    """

    def __init__(self, folder: Path, index: SeriesIndex, report: Callable[[CorruptionError], None]) -> None:
        self.folder = folder
        self.blocks: tuple[Block, ...] = ()
        self._index = index
        self._report = report

    def open(self) -> None:
        """
        Open all blocks.

        1. What was never finished goes: its numbers are still where they were.
        2. What can't be read is set aside.
        3. What a compaction took the place of and a crash left behind goes.
        """
        for path in self.folder.glob(f"*{UNFINISHED}"):
            path.unlink()
        known: dict[bytes, int] = {}
        found = [self._opened(path, known) for path in sorted(self.folder.glob(f"*{SUFFIX}"))]
        self.blocks = tuple(sorted((block for block in found if block), key=lambda block: block.name.turn))
        replaced = {turn for block in self.blocks for turn in block.sources}
        self.remove([block for block in self.blocks if block.name.turn in replaced])

    def close(self) -> None:
        """Let go of all blocks: each is closed when the last reader has let go of it too."""
        self.blocks = ()

    def turn(self) -> int:
        """Return the turn of the next block."""
        return 1 + max((block.name.turn for block in self.blocks), default=0)

    def add(self, path: Path, gone: Sequence[Block] = ()) -> None:
        """Put up a new block in the place of others, at once for all who look; the files of those are left alone."""
        block = self._opened(path, {})
        if block:
            self.blocks = (*(one for one in self.blocks if one not in gone), block)

    def remove(self, gone: Sequence[Block]) -> None:
        """Take blocks away with their files."""
        self.blocks = tuple(block for block in self.blocks if block not in gone)
        for block in gone:
            block.path.unlink(missing_ok=True)
        if gone:
            fsync_folder(self.folder)

    def sizes(self) -> dict[BlockName, int]:
        """Return the blocks' names and how many bytes each takes."""
        return {block.name: block.size for block in self.blocks}

    def _opened(self, path: Path, known: dict[bytes, int]) -> Block | None:
        def intern(lines: Sequence[bytes]) -> Numbers:
            # The same series stand in block after block: each line is parsed once.
            new = [line for line in lines if line not in known]
            ids = self._index.add(Labels(orjson.loads(line)) for line in new)
            known.update(zip(new, ids.tolist(), strict=True))
            return np.array([known[line] for line in lines], np.int64)

        try:
            return Block(path, intern, self._report)
        except CorruptionError as error:
            self._report(error)
            log_corruption("a damaged block was set aside", file=str(set_aside(path)))
            return None
