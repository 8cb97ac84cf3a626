"""What a store answers, cut into handy blocks."""

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
"""How many samples, or points of the result, a block has at most: its working arrays stay at a few megabytes each."""

_ROWS: Final = 512
_SMALL: Final = 16
"""A group with fewer series than this shares its block with others."""


@dataclass(frozen=True, slots=True, eq=False)
class SeriesChunk:
    """
    Series and their samples, with the answer to "how many samples up to this time?".

    ``times`` has one row that all series share, or one for each; ``upto[p]`` likewise, for each probe and step.
    Beyond a series' own samples stands ``ABSENT``.
    """

    series: tuple[Labels, ...]
    times: Times
    values: Floats
    upto: tuple[Index, ...]


def split_chunks(groups: Iterable[SeriesBlock], *probes: Times) -> Iterator[SeriesChunk]:
    """Cut groups into blocks; ``probes`` are the times to count samples up to, included, one array of steps each."""
    small: list[SeriesBlock] = []
    rows = 0
    for group in groups:
        if not len(group.times):
            continue
        if len(group.series) >= _SMALL:
            yield from _cut(group, probes)
            continue
        small.append(group)
        rows += len(group.series)
        if rows >= _height(max(len(each.times) for each in small), probes):
            yield _packed(small, probes)
            small, rows = [], 0
    if len(small) == 1:
        yield from _cut(small[0], probes)
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


def _cut(group: SeriesBlock, probes: tuple[Times, ...]) -> Iterator[SeriesChunk]:
    upto = tuple(_upto(group.times, probe)[np.newaxis] for probe in probes)
    times = group.times[np.newaxis]
    height = _height(len(group.times), probes)
    for row in range(0, len(group.series), height):
        yield SeriesChunk(group.series[row : row + height], times, group.values[row : row + height], upto)


def _packed(groups: list[SeriesBlock], probes: tuple[Times, ...]) -> SeriesChunk:
    """Put small groups below each other, each row with times of its own."""
    rows = [len(group.series) for group in groups]
    columns = max(len(group.times) for group in groups)
    times = np.full((sum(rows), columns), np.iinfo(np.int64).max)
    values = np.full((sum(rows), columns), ABSENT)
    upto = tuple(np.empty((sum(rows), len(probe)), np.intp) for probe in probes)
    top = 0
    for group, height in zip(groups, rows, strict=True):
        here = slice(top, top + height)
        times[here, : len(group.times)] = group.times
        values[here, : len(group.times)] = group.values
        for counts, probe in zip(upto, probes, strict=True):
            counts[here] = _upto(group.times, probe)
        top += height
    return SeriesChunk(tuple(labels for group in groups for labels in group.series), times, values, upto)


def _upto(times: Times, probe: Times) -> Index:
    return np.searchsorted(times, probe, side="right")
