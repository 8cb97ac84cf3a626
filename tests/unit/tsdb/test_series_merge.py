"""Pieces are merged into groups: each series once, of two samples the later one."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toban.core.samples import ABSENT, is_absent
from toban.tsdb import series_merge
from toban.tsdb.series_merge import SeriesPiece, merge

CELL = st.one_of(st.just(ABSENT), st.integers(0, 99).map(float))


@st.composite
def pieces(draw) -> list[SeriesPiece]:
    found, rank = [], 0
    for _ in range(draw(st.integers(1, 5))):
        ids = np.array(draw(st.lists(st.integers(0, 6), min_size=1, max_size=5, unique=True)), np.int64)
        times = np.array(sorted(draw(st.sets(st.integers(0, 9), min_size=1, max_size=5))), np.int64)
        cells = draw(st.lists(CELL, min_size=len(ids) * len(times), max_size=len(ids) * len(times)))
        values = np.array(cells).reshape(len(ids), len(times))
        ranks = np.array(draw(st.permutations(range(rank, rank + len(times)))), np.int64) * 7 % 101
        rank += len(times)
        found.append(SeriesPiece(ids, times, ranks, partial(_copied, values)))
    return found


def _copied(values, rows, low, high, into) -> None:
    into[:] = values[rows, low:high]


def expected(some: list[SeriesPiece]) -> dict[tuple[int, int], float]:
    ranked: dict[tuple[int, int], tuple[int, float]] = {}
    for piece in some:
        values = np.empty((len(piece.ids), len(piece.times)))
        piece.read(np.arange(len(piece.ids)), 0, len(piece.times), values)
        for row, column in zip(*np.nonzero(~is_absent(values)), strict=True):
            key = int(piece.ids[row]), int(piece.times[column])
            new = int(piece.ranks[column]), float(values[row, column])
            if key not in ranked or ranked[key][0] < new[0]:
                ranked[key] = new
    return {key: value for key, (_, value) in ranked.items()}


@pytest.mark.parametrize("sparse", [0, 4])
@given(some=pieces(), tile=st.integers(1, 4))
def test_each_series_is_in_one_group_with_its_latest_samples(sparse, some, tile):
    """
    Whatever overlaps, joined or split, read at once or tile by tile.
    """
    response: dict[tuple[int, int], float] = {}
    seen: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(series_merge, "SPARSE", sparse)
        groups = list(merge(some))
    for group in groups:
        seen += group.ids.tolist()
        assert (np.diff(group.times) > 0).all()
        for first in range(0, len(group.times), tile):
            last = min(first + tile, len(group.times))
            for row in range(0, len(group.ids), tile):
                ids = group.ids[row : row + tile]
                values = group.values(ids, first, last)
                for place, column in zip(*np.nonzero(~is_absent(values)), strict=True):
                    response[int(ids[place]), int(group.times[first + column])] = float(values[place, column])

    assert len(seen) == len(set(seen)) == len({int(one) for piece in some for one in piece.ids})
    assert response == expected(some)


def test_pieces_without_common_series_are_separate_groups():
    """
    Two sources are two groups.
    """
    read = partial(_copied, np.zeros((2, 2)))
    one = SeriesPiece(np.array([1, 2]), np.array([1, 2]), np.array([1, 2]), read)
    other = SeriesPiece(np.array([3]), np.array([1, 3]), np.array([1, 2]), read)

    assert [group.ids.tolist() for group in merge([one, other])] == [[1, 2], [3]]
