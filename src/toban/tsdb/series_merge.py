"""
Putting together what lies in many places: each series in exactly one group, of two numbers the one written later.

Select, flush and compaction all read through this, so they agree on what the numbers are.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from toban.core.samples import ABSENT, is_absent

SPARSE: Final = 4
"""How many times larger than its numbers a joined group may be before it is taken apart again."""

Numbers = NDArray[np.int64]
Values = NDArray[np.float64]
Read = Callable[[NDArray[np.intp], int, int, Values], None]


@dataclass(frozen=True, slots=True, eq=False)
class SeriesPiece:
    """
    Some series over one array of times, in one place.

    ``ranks`` tell for each time how late it was written. ``read(rows, first, last, into)`` brings the values of some
    of the series between two columns.
    """

    ids: Numbers
    times: Numbers
    ranks: Numbers
    read: Read

    def between(self, start: int, end: int) -> "SeriesPiece | None":
        """Return the part from ``start`` to ``end``, both included, or nothing if there is none."""
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
        """Return the part that holds the wanted series (a flag for each id), or nothing if there is none."""
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
            lambda some, low, high, into: read(rows[some], low, high, into),
        )


@dataclass(frozen=True, slots=True, eq=False)
class MergedSeries:
    """The pieces of some series over all their times; the values are brought tile by tile, or at once."""

    ids: Numbers
    times: Numbers
    pieces: Sequence[SeriesPiece]
    _twice: NDArray[np.bool_]
    _orders: list[NDArray[np.intp]] = field(default_factory=list)

    def values(self, ids: Numbers, first: int, last: int) -> Values:
        """Return the values of some of the series between two columns, ``ABSENT`` where nothing was written."""
        places = [place for number in range(len(self.pieces)) if (place := self._place(number, ids, first, last))]
        values = np.empty((len(ids), last - first))
        whole = not self._twice[first:last].any() and sum(place.area for place in places) == values.size
        if whole and all(place.is_slice for place in places):
            # The way nearly everything goes: the pieces stand side by side, nothing is twice, and nothing is missing.
            for place in places:
                place.read(values[:, place.columns[0] : place.columns[-1] + 1])
            return values
        values[:] = ABSENT
        ranks = np.full(values.shape, -(2**63))
        for place in places:
            found = np.empty((len(place.rows), len(place.columns)))
            place.read(found)
            cells = np.ix_(place.here, place.columns)
            later = ~is_absent(found) & (place.ranks >= ranks[cells])
            values[cells] = np.where(later, found, values[cells])
            ranks[cells] = np.where(later, place.ranks, ranks[cells])
        return values

    def _place(self, number: int, ids: Numbers, first: int, last: int) -> "_Place | None":
        """Return where a piece stands between two columns, or nothing where it has none of the wanted series."""
        piece, order = self.pieces[number], self._orders[number]
        low, high = piece.times.searchsorted((self.times[first], self.times[last - 1] + 1)).tolist()
        if low == high:
            return None
        if ids is piece.ids:
            rows = here = np.arange(len(ids))
        else:
            places = np.searchsorted(piece.ids, ids, sorter=order)
            rows = order[np.minimum(places, len(order) - 1)]
            here = np.flatnonzero(piece.ids[rows] == ids)
            rows = rows[here]
        if not len(rows):
            return None
        columns = self.times[first:last].searchsorted(piece.times[low:high])
        return _Place(piece, rows, low, high, here, columns)


@dataclass(frozen=True, slots=True, eq=False)
class _Place:
    """Where a part of a piece stands among others: its rows and columns there, and here."""

    piece: SeriesPiece
    rows: NDArray[np.intp]
    low: int
    high: int
    here: NDArray[np.intp]
    columns: NDArray[np.intp]

    @property
    def area(self) -> int:
        """How many values it has."""
        return len(self.rows) * len(self.columns)

    @property
    def ranks(self) -> Numbers:
        """How late each of the times was written."""
        return self.piece.ranks[self.low : self.high]

    @property
    def is_slice(self) -> bool:
        """Whether its columns stand side by side."""
        return int(self.columns[-1] - self.columns[0]) + 1 == len(self.columns)

    def read(self, into: Values) -> None:
        """Bring the values."""
        self.piece.read(self.rows, self.low, self.high, into)


def merge(pieces: Sequence[SeriesPiece]) -> Iterator[MergedSeries]:
    """
    Sort pieces into groups in which each series stands once.

    Pieces that share a series come together, so that one source over time is one group whatever came and went.
    Where that would be mostly gaps, only series that stand in the same pieces stay together.
    """
    for ids, some in _connected(pieces):
        if len(some) == 1:
            yield _join(ids, some)
            continue
        whole = _join(ids, some)
        if len(ids) * len(whole.times) <= SPARSE * sum(len(piece.ids) * len(piece.times) for piece in some):
            yield whole
        else:
            yield from _apart(ids, some)


def _connected(pieces: Sequence[SeriesPiece]) -> Iterator[tuple[Numbers, list[SeriesPiece]]]:
    """Return pieces that are connected by shared series, with their series."""
    # A layout used again and again is one set of series: it is compared once.
    alike: dict[bytes, list[SeriesPiece]] = {}
    for piece in pieces:
        alike.setdefault(piece.ids.tobytes(), []).append(piece)
    clusters = list(alike.values())
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


def _join(ids: Numbers, pieces: Sequence[SeriesPiece]) -> MergedSeries:
    orders = [np.argsort(piece.ids, kind="stable") for piece in pieces]
    if len(pieces) == 1:
        return MergedSeries(ids, pieces[0].times, pieces, np.zeros(0, np.bool_), orders)
    in_time = sorted(pieces, key=lambda piece: int(piece.times[0]))
    everything = np.concatenate([piece.times for piece in in_time])
    if all(before.times[-1] < after.times[0] for before, after in pairwise(in_time)):
        return MergedSeries(ids, everything, pieces, np.zeros(len(everything), np.bool_), orders)
    times, counts = np.unique(everything, return_counts=True)
    return MergedSeries(ids, times, pieces, counts > 1, orders)


def _apart(ids: Numbers, pieces: Sequence[SeriesPiece]) -> Iterator[MergedSeries]:
    """Return groups of the series that stand in exactly the same pieces."""
    stands = np.zeros((len(ids), len(pieces)), np.bool_)
    places = np.argsort(ids)
    for number, piece in enumerate(pieces):
        stands[places[np.searchsorted(ids, piece.ids, sorter=places)], number] = True
    signatures, which = np.unique(np.packbits(stands, axis=1), axis=0, return_inverse=True)
    for number in range(len(signatures)):
        rows = np.flatnonzero(which.reshape(-1) == number)
        wanted = np.zeros(1 + int(ids.max()), np.bool_)
        wanted[ids[rows]] = True
        some = [
            pieces[column].only(_reaching(wanted, pieces[column]))
            for column in np.flatnonzero(stands[rows[0]]).tolist()
        ]
        yield _join(ids[rows], [piece for piece in some if piece is not None])


def _reaching(wanted: NDArray[np.bool_], piece: SeriesPiece) -> NDArray[np.bool_]:
    """Return the flags long enough for every series of a piece."""
    missing = 1 + int(piece.ids.max()) - len(wanted)
    return np.append(wanted, np.zeros(missing, np.bool_)) if missing > 0 else wanted


def _ids(pieces: Iterable[SeriesPiece]) -> Numbers:
    """Return all series of some pieces, in the order in which they were first met."""
    everything = np.concatenate([piece.ids for piece in pieces])
    _, first = np.unique(everything, return_index=True)
    return everything[np.sort(first)]
