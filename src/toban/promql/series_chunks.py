"""Splits selected series into chunks of limited size."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from toban.core.labels import Labels
from toban.core.samples import ABSENT, SeriesBlock
from toban.promql.vectors import Floats, Index, Times

Number = TypeVar("Number", bound=np.generic)

_CELLS: Final = 400_000
"""How many samples, or points of the result, a chunk has at most: its arrays stay at a few megabytes each."""

_ROWS: Final = 512
_SMALL: Final = 16
"""A block with fewer series than this shares its chunk with others."""


@dataclass(frozen=True, slots=True, eq=False)
class SeriesChunk:
    """
    Series, their samples, and how many samples each has up to the probed times.

    ``times`` has one row that all series share, or one for each; ``upto[p]`` likewise, for each probe and step.
    After a series' own samples, ``values`` is ``ABSENT``.
    """

    series: tuple[Labels, ...]
    times: Times
    values: Floats
    upto: tuple[Index, ...]


def split_chunks(blocks: Iterable[SeriesBlock], *probes: Times) -> Iterator[SeriesChunk]:
    """Split blocks into chunks; ``probes`` are arrays of times (one per step) up to which samples are counted."""
    small: list[SeriesBlock] = []
    rows = 0
    for block in blocks:
        if not len(block.times):
            continue
        if len(block.series) >= _SMALL:
            yield from _split(block, probes)
            continue
        small.append(block)
        rows += len(block.series)
        if rows >= _height(max(len(each.times) for each in small), probes):
            yield _packed(small, probes)
            small, rows = [], 0
    if len(small) == 1:
        yield from _split(small[0], probes)
    elif small:
        yield _packed(small, probes)


def gather(array: NDArray[Number], index: Index) -> NDArray[Number]:
    """Return ``array[i, index[i, j]]``, where both may have one row for all series."""
    if len(index) == 1:
        shared: NDArray[Number] = np.take(array, index[0], axis=1)
        return shared
    if len(array) == 1:
        return array.reshape(-1)[index]
    return np.take_along_axis(array, index, axis=1)


def _height(columns: int, probes: tuple[Times, ...]) -> int:
    return max(1, min(_ROWS, _CELLS // max(columns, len(probes[0]), 1)))


def _split(block: SeriesBlock, probes: tuple[Times, ...]) -> Iterator[SeriesChunk]:
    upto = tuple(_upto(block.times, probe)[np.newaxis] for probe in probes)
    times = block.times[np.newaxis]
    height = _height(len(block.times), probes)
    for row in range(0, len(block.series), height):
        yield SeriesChunk(block.series[row : row + height], times, block.values[row : row + height], upto)


def _packed(blocks: list[SeriesBlock], probes: tuple[Times, ...]) -> SeriesChunk:
    """Stack small blocks; each row has its own times."""
    rows = [len(block.series) for block in blocks]
    columns = max(len(block.times) for block in blocks)
    times = np.full((sum(rows), columns), np.iinfo(np.int64).max)
    values = np.full((sum(rows), columns), ABSENT)
    upto = tuple(np.empty((sum(rows), len(probe)), np.intp) for probe in probes)
    top = 0
    for block, height in zip(blocks, rows, strict=True):
        here = slice(top, top + height)
        times[here, : len(block.times)] = block.times
        values[here, : len(block.times)] = block.values
        for counts, probe in zip(upto, probes, strict=True):
            counts[here] = _upto(block.times, probe)
        top += height
    return SeriesChunk(tuple(labels for block in blocks for labels in block.series), times, values, upto)


def _upto(times: Times, probe: Times) -> Index:
    return np.searchsorted(times, probe, side="right")
