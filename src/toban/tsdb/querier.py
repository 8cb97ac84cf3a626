"""Finding numbers again: those of the head and of the blocks, as one."""

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

DECODED: Final = 8 * 2**20
"""Bytes of decoded tiles that are kept for the next question."""


class Querier:
    """
    Reads what the head and the blocks hold, in any thread.

    Always the head before the blocks before the index: what is sealed in between is then seen twice, never not at all.
    """

    def __init__(self, head: Head, shelf: BlockSet, index: SeriesIndex) -> None:
        self._head = head
        self._shelf = shelf
        self._index = index
        self._cache = TileCache(DECODED)

    def select(self, matchers: Sequence[Matcher], start: int, end: int, most: int | None = None) -> list[SeriesBlock]:
        """
        Return the samples of all series that meet the conditions, ``start`` and ``end`` included (milliseconds).

        One source over time is one group, also where its series came and went. What is damaged is left out.
        Raises ``StoreError``, and ``SampleLimitError`` before more than ``most`` samples are in memory.
        """
        taken, blocks = self._head.taken(start, end), self._shelf.blocks
        found = self._index.find(matchers)
        wanted = self._flags(found)
        pieces = [
            part
            for ids, rows in taken
            if wanted[ids].any()
            for one in rows.pieces(ids)
            if (piece := one.only(wanted)) and (part := piece.between(start, end))
        ]
        for block in blocks:
            pieces += block.pieces(start, end, wanted, self._cache)
        groups, many = [], 0
        for group in merge(pieces):
            many += len(group.ids) * len(group.times)
            if most is not None and many > most:
                raise SampleLimitError(most)
            values = group.values(group.ids, 0, len(group.times))
            there = ~is_absent(values[:, -1])
            if not there.all():  # those that have ended are there all the same; those that never were are not
                there[~there] = ~is_absent(values[~there]).all(axis=1)
                values = values[there]
            series = tuple(found[number] for number in group.ids[there].tolist())
            if series:
                groups.append(SeriesBlock(series, group.times, values))
        return groups

    def series(self, matchers: Sequence[Matcher], start: int, end: int) -> list[Labels]:
        """Return the labels alone of what ``select`` would find, perhaps of a little more at the edges of time."""
        taken, blocks = self._head.taken(start, end), self._shelf.blocks
        found = self._index.find(matchers)
        held = np.zeros(self._index.size, np.bool_)
        for ids, _ in taken:
            held[ids] = True
        for block in blocks:
            for sealed in block.groups:
                if sealed.first <= end and sealed.last >= start:
                    held[sealed.ids] = True
        return [labels for number, labels in found.items() if held[number]]

    def oldest(self, matchers: Sequence[Matcher]) -> int | None:
        """Return about when the oldest number was of the series that meet the conditions, nothing where none is."""
        taken, blocks = self._head.taken(-(2**62), 2**62), self._shelf.blocks
        wanted = self._flags(self._index.find(matchers))
        found = [int(rows.times.min()) for ids, rows in taken if wanted[ids].any()]
        found += [sealed.first for block in blocks for sealed in block.groups if wanted[sealed.ids].any()]
        return min(found, default=None)

    def _flags(self, found: Mapping[int, Labels]) -> NDArray[np.bool_]:
        flags = np.zeros(self._index.size, np.bool_)
        flags[list(found)] = True
        return flags
