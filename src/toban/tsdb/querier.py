"""Reads the samples of the head and the blocks as one."""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from toban.core.errors import SampleLimitError
from toban.core.labels import Labels
from toban.core.matchers import Matcher
from toban.core.samples import SeriesBlock, is_absent
from toban.tsdb.block import TileCache
from toban.tsdb.block_set import BlockSet
from toban.tsdb.head import Head
from toban.tsdb.series_index import SeriesIndex
from toban.tsdb.series_merge import merge

CACHE_BYTES: Final = 8 * 2**20
"""Bytes of decoded tiles that are cached for the next query."""


class Querier:
    """
    Reads the head and the blocks, from any thread.

    Always in the order head, blocks, index: samples that are flushed in between are then read twice, never missed.
    """

    def __init__(self, head: Head, block_set: BlockSet, index: SeriesIndex) -> None:
        self._head = head
        self._block_set = block_set
        self._index = index
        self._cache = TileCache(CACHE_BYTES)

    def select(self, matchers: Sequence[Matcher], start: int, end: int, most: int | None = None) -> list[SeriesBlock]:
        """
        Return the samples of all series that the matchers select, ``start`` and ``end`` included (milliseconds).

        One source over time is one group, even if series of it come and go. Damaged tiles are left out.
        Raises ``StoreError``, and ``SampleLimitError`` before more than ``most`` samples are in memory.
        """
        snapshots, blocks = self._head.snapshot(start, end), self._block_set.blocks
        selected = self._index.find(matchers)
        wanted = self._flags(selected)
        pieces = [
            part
            for ids, rows in snapshots
            if wanted[ids].any()
            for one in rows.pieces(ids)
            if (piece := one.only(wanted)) and (part := piece.between(start, end))
        ]
        for block in blocks:
            pieces += block.pieces(start, end, wanted, self._cache)
        groups, count = [], 0
        for group in merge(pieces):
            count += len(group.ids) * len(group.times)
            if most is not None and count > most:
                raise SampleLimitError(most)
            values = group.values(group.ids, 0, len(group.times))
            present = ~is_absent(values[:, -1])
            if not present.all():  # a series that ended is present too; one without any sample is not
                present[~present] = ~is_absent(values[~present]).all(axis=1)
                values = values[present]
            series = tuple(selected[number] for number in group.ids[present].tolist())
            if series:
                groups.append(SeriesBlock(series, group.times, values))
        return groups

    def series(self, matchers: Sequence[Matcher], start: int, end: int) -> list[Labels]:
        """Return the series that ``select`` would return, perhaps with some that end or begin just outside."""
        snapshots, blocks = self._head.snapshot(start, end), self._block_set.blocks
        selected = self._index.find(matchers)
        held = np.zeros(self._index.size, np.bool_)
        for ids, _ in snapshots:
            held[ids] = True
        for block in blocks:
            for group in block.groups:
                if group.first <= end and group.last >= start:
                    held[group.ids] = True
        return [labels for number, labels in selected.items() if held[number]]

    def oldest(self, matchers: Sequence[Matcher]) -> int | None:
        """Return about when the oldest sample is of the series that the matchers select, or None without samples."""
        snapshots, blocks = self._head.snapshot(-(2**62), 2**62), self._block_set.blocks
        wanted = self._flags(self._index.find(matchers))
        times = [int(rows.times.min()) for ids, rows in snapshots if wanted[ids].any()]
        times += [group.first for block in blocks for group in block.groups if wanted[group.ids].any()]
        return min(times, default=None)

    def _flags(self, selected: Mapping[int, Labels]) -> NDArray[np.bool_]:
        flags = np.zeros(self._index.size, np.bool_)
        flags[list(selected)] = True
        return flags
