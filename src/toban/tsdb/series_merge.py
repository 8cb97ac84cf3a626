"""
Merges pieces of series: each series is in exactly one group, and of two samples at one time the later written counts.

Select, flush and compaction all read through this, so they agree on every sample.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from toban.core.samples import ABSENT, is_absent

SPARSE: Final = 4
"""How many times larger than its samples a joined group may be; a larger one is split."""

Int64Array = NDArray[np.int64]
Values = NDArray[np.float64]
Read = Callable[[NDArray[np.intp], int, int, Values], None]


@dataclass(frozen=True, slots=True, eq=False)
class SeriesPiece:
    """
    Some series over one array of times, from one place.

    ``ranks`` order the times by when they were written. ``read(rows, first, last, into)`` fills an array with
    the values of some of the series between two columns.
    """

    ids: Int64Array
    times: Int64Array
    ranks: Int64Array
    read: Read

    def between(self, start: int, end: int) -> "SeriesPiece | None":
        """Return the part from ``start`` to ``end``, both included, or None without any."""
        first, last = self.times.searchsorted((start, end + 1)).tolist()
        if first >= last:
            return None
        if (first, last) == (0, len(self.times)):
            return self
        read = self.read
        return SeriesPiece(
            self.ids,
            self.times[first:last],
            self.ranks[first:last],
            lambda rows, low, high, into: read(rows, first + low, first + high, into),
        )

    def only(self, wanted: NDArray[np.bool_]) -> "SeriesPiece | None":
        """Return the part with the wanted series (a flag for each id), or None without any."""
        rows = np.flatnonzero(wanted[self.ids])
        if not len(rows):
            return None
        if len(rows) == len(self.ids):
            return self
        read = self.read
        return SeriesPiece(
            self.ids[rows],
            self.times,
            self.ranks,
            lambda chosen, low, high, into: read(rows[chosen], low, high, into),
        )


@dataclass(frozen=True, slots=True, eq=False)
class MergedSeries:
    """The pieces of some series over all their times; values are read tile by tile, or at once."""

    ids: Int64Array
    times: Int64Array
    pieces: Sequence[SeriesPiece]
    _overlapping: NDArray[np.bool_]
    _orders: list[NDArray[np.intp]] = field(default_factory=list)

    def values(self, ids: Int64Array, first: int, last: int) -> Values:
        """Return the values of some of the series between two columns, ``ABSENT`` where there is no sample."""
        places = [place for number in range(len(self.pieces)) if (place := self._place(number, ids, first, last))]
        values = np.empty((len(ids), last - first))
        whole = not self._overlapping[first:last].any() and sum(place.area for place in places) == values.size
        if whole and all(place.is_slice for place in places):
            # The usual case: the pieces are adjacent, no sample is there twice, and none is missing.
            for place in places:
                place.read(values[:, place.columns[0] : place.columns[-1] + 1])
            return values
        values[:] = ABSENT
        ranks = np.full(values.shape, -(2**63))
        for place in places:
            part = np.empty((len(place.rows), len(place.columns)))
            place.read(part)
            cells = np.ix_(place.target_rows, place.columns)
            later = ~is_absent(part) & (place.ranks >= ranks[cells])
            values[cells] = np.where(later, part, values[cells])
            ranks[cells] = np.where(later, place.ranks, ranks[cells])
        return values

    def _place(self, number: int, ids: Int64Array, first: int, last: int) -> "_Place | None":
        """Return where a piece is between two columns, or None when it has none of the wanted series."""
        piece, order = self.pieces[number], self._orders[number]
        low, high = piece.times.searchsorted((self.times[first], self.times[last - 1] + 1)).tolist()
        if low == high:
            return None
        if ids is piece.ids:
            rows = target_rows = np.arange(len(ids))
        else:
            positions = np.searchsorted(piece.ids, ids, sorter=order)
            rows = order[np.minimum(positions, len(order) - 1)]
            target_rows = np.flatnonzero(piece.ids[rows] == ids)
            rows = rows[target_rows]
        if not len(rows):
            return None
        columns = self.times[first:last].searchsorted(piece.times[low:high])
        return _Place(piece, rows, low, high, target_rows, columns)


@dataclass(frozen=True, slots=True, eq=False)
class _Place:
    """A part of a piece in a merged array: its rows in the piece, its rows and columns in the array."""

    piece: SeriesPiece
    rows: NDArray[np.intp]
    low: int
    high: int
    target_rows: NDArray[np.intp]
    columns: NDArray[np.intp]

    @property
    def area(self) -> int:
        """How many values it has."""
        return len(self.rows) * len(self.columns)

    @property
    def ranks(self) -> Int64Array:
        """The ranks of its times."""
        return self.piece.ranks[self.low : self.high]

    @property
    def is_slice(self) -> bool:
        """Whether its columns are adjacent."""
        return int(self.columns[-1] - self.columns[0]) + 1 == len(self.columns)

    def read(self, into: Values) -> None:
        """Fill an array with its values."""
        self.piece.read(self.rows, self.low, self.high, into)


def merge(pieces: Sequence[SeriesPiece]) -> Iterator[MergedSeries]:
    """
    Sort pieces into groups in which each series is once.

    Pieces that share a series are joined, so that one source over time is one group even if series come and go.
    Where that would be mostly gaps, only series that are in the same pieces stay together.
    """
    for ids, some in _connected(pieces):
        if len(some) == 1:
            yield _join(ids, some)
            continue
        whole = _join(ids, some)
        if len(ids) * len(whole.times) <= SPARSE * sum(len(piece.ids) * len(piece.times) for piece in some):
            yield whole
        else:
            yield from _split(ids, some)


def _connected(pieces: Sequence[SeriesPiece]) -> Iterator[tuple[Int64Array, list[SeriesPiece]]]:
    """Return sets of pieces that are connected by shared series, each with its series."""
    # Pieces of the same layout have the same series: they are compared once.
    by_ids: dict[bytes, list[SeriesPiece]] = {}
    for piece in pieces:
        by_ids.setdefault(piece.ids.tobytes(), []).append(piece)
    clusters = list(by_ids.values())
    if len(clusters) == 1:
        yield clusters[0][0].ids, clusters[0]
        return
    root = list(range(len(clusters)))

    def find(cluster: int) -> int:
        while root[cluster] != cluster:
            root[cluster] = root[root[cluster]]
            cluster = root[cluster]
        return cluster

    owner = np.full(1 + max((int(cluster[0].ids.max()) for cluster in clusters), default=0), -1)
    for number, cluster in enumerate(clusters):
        owners = owner[cluster[0].ids]
        for other in np.unique(owners[owners >= 0]).tolist():
            root[find(other)] = find(number)
        owner[cluster[0].ids] = number
    together: dict[int, list[SeriesPiece]] = {}
    for number, cluster in enumerate(clusters):
        together.setdefault(find(number), []).extend(cluster)
    for some in together.values():
        yield _ids(some), some


def _join(ids: Int64Array, pieces: Sequence[SeriesPiece]) -> MergedSeries:
    orders = [np.argsort(piece.ids, kind="stable") for piece in pieces]
    if len(pieces) == 1:
        return MergedSeries(ids, pieces[0].times, pieces, np.zeros(0, np.bool_), orders)
    in_time = sorted(pieces, key=lambda piece: int(piece.times[0]))
    all_times = np.concatenate([piece.times for piece in in_time])
    if all(before.times[-1] < after.times[0] for before, after in pairwise(in_time)):
        return MergedSeries(ids, all_times, pieces, np.zeros(len(all_times), np.bool_), orders)
    times, counts = np.unique(all_times, return_counts=True)
    return MergedSeries(ids, times, pieces, counts > 1, orders)


def _split(ids: Int64Array, pieces: Sequence[SeriesPiece]) -> Iterator[MergedSeries]:
    """Return groups of the series that are in exactly the same pieces."""
    membership = np.zeros((len(ids), len(pieces)), np.bool_)
    order = np.argsort(ids)
    for number, piece in enumerate(pieces):
        membership[order[np.searchsorted(ids, piece.ids, sorter=order)], number] = True
    signatures, which = np.unique(np.packbits(membership, axis=1), axis=0, return_inverse=True)
    for number in range(len(signatures)):
        rows = np.flatnonzero(which.reshape(-1) == number)
        wanted = np.zeros(1 + int(ids.max()), np.bool_)
        wanted[ids[rows]] = True
        some = [
            pieces[column].only(_extended(wanted, pieces[column]))
            for column in np.flatnonzero(membership[rows[0]]).tolist()
        ]
        yield _join(ids[rows], [piece for piece in some if piece is not None])


def _extended(wanted: NDArray[np.bool_], piece: SeriesPiece) -> NDArray[np.bool_]:
    """Return the flags, extended to every series id of a piece."""
    missing = 1 + int(piece.ids.max()) - len(wanted)
    return np.append(wanted, np.zeros(missing, np.bool_)) if missing > 0 else wanted


def _ids(pieces: Iterable[SeriesPiece]) -> Int64Array:
    """Return all series of some pieces, in order of their first appearance."""
    all_ids = np.concatenate([piece.ids for piece in pieces])
    _, first = np.unique(all_ids, return_index=True)
    return all_ids[np.sort(first)]
