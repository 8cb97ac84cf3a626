"""The newest numbers, in memory: what has been appended and not yet sealed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from threading import Lock
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from toban.core.samples import Batch, Layout
from toban.tsdb.series_index import SeriesIndex
from toban.tsdb.series_merge import Numbers, SeriesPiece, Values


@dataclass(frozen=True, slots=True)
class HeadRow:
    """One batch as it is stored: its turn among all rows, its layout's number, its time, its values as bytes."""

    turn: int
    layout: int
    at: int
    values: bytes


class HeadSegment:
    """The rows of one layout in one window: a matrix that grows, a row for each batch in the order of arrival."""

    def __init__(self, series: int) -> None:
        self.count = 0
        self.newest = 0
        self.ordered = True
        self.times = np.empty(8, np.int64)
        self.turns = np.empty(8, np.int64)
        self.values = np.empty((8, series))

    def put(self, turn: int, at: int, values: Values) -> None:
        """Add a row."""
        if self.count == len(self.times):
            # Readers go on with the arrays they took; nothing that they can see is written again.
            self.times, self.turns, self.values = (_grown(self.times), _grown(self.turns), _grown(self.values))
        self.times[self.count] = at
        self.turns[self.count] = turn
        self.values[self.count] = values
        self.ordered = self.ordered and (self.count == 0 or at > self.times[self.count - 1])
        self.count += 1
        self.newest = max(self.newest, turn)

    def keep(self, rows: Numbers) -> None:
        """Let go of all rows but these."""
        self.times, self.turns, self.values = self.times[rows], self.turns[rows], self.values[rows]
        self.count = len(rows)
        self.ordered = bool((np.diff(self.times) > 0).all())

    def taken(self) -> "SegmentSnapshot":
        """Return the rows that are there now; later ones don't show in it."""
        count = self.count
        return SegmentSnapshot(self.times[:count], self.turns[:count], self.values[:count], self.ordered)


@dataclass(frozen=True, slots=True, eq=False)
class SegmentSnapshot:
    """The rows of one segment as they stood when somebody looked."""

    times: Numbers
    turns: Numbers
    values: Values
    ordered: bool

    def pieces(self, ids: Numbers) -> list[SeriesPiece]:
        """
        Return the rows in order of time. Of several at one time the first stands in one piece, the second in the next.

        Rows are not made one here: what the later of two leaves absent may stand in yet another layout, between them.
        """
        if self.ordered:
            return [_piece(ids, self.times, self.turns, self.values)]
        order = np.lexsort((self.turns, self.times))
        times, place = self.times[order], np.arange(len(order))
        depth = place - np.maximum.accumulate(np.where(np.diff(times, prepend=times[0] - 1) > 0, place, 0))
        layers = [order[depth == layer] for layer in range(int(depth.max()) + 1)]
        return [_piece(ids, self.times[rows], self.turns[rows], self.values[rows]) for rows in layers]


def _piece(ids: Numbers, times: Numbers, turns: Numbers, values: Values) -> SeriesPiece:
    def read(some: NDArray[np.intp], low: int, high: int, into: Values) -> None:
        into[:] = values[low:high].T[some]

    return SeriesPiece(ids, times, turns, read)


@dataclass(slots=True, eq=False)
class HeadLayout:
    """A layout that the head knows: its number, its series' numbers, its rows by window; itself once asked for."""

    number: int
    ids: Numbers
    segments: dict[int, HeadSegment]
    layout: Layout | None = None


class Head:
    """
    What has been appended and not yet sealed.

    The event loop appends, the query thread reads, the upkeep thread takes away. Windows are numbered: the time
    divided by ``window`` (milliseconds).
    """

    def __init__(self, index: SeriesIndex, window: int) -> None:
        self.newest = 0
        self.turn = 0
        self.gone = 0
        """The highest turn of a row that the head let go of."""
        self._index = index
        self._window = window
        self._lock = Lock()
        self._sources: dict[int, HeadLayout] = {}
        self._alike: dict[bytes, HeadLayout] = {}
        self._known: WeakKeyDictionary[Layout, HeadLayout] = WeakKeyDictionary()
        self._last = 0

    def source(self, layout: Layout) -> HeadLayout:
        """Return what a layout is to the head; equal ones are the same."""
        known = self._known.get(layout)
        if known is None:
            with self._lock:
                ids = self._index.add(layout.series)
                known = self._alike.get(ids.tobytes()) or self._new(self._last + 1, ids)
                self._known[layout] = known
        return known

    def knows(self, layout: Layout) -> bool:
        """Tell whether this very layout has been here."""
        return layout in self._known

    def restore(self, number: int, ids: Numbers) -> None:
        """Take back a layout that was stored under a number."""
        with self._lock:
            self._new(number, ids)

    def append(self, batches: Sequence[Batch]) -> list[HeadRow]:
        """Add batches whose layouts are known, all of them before anybody looks; return them as rows to be stored."""
        rows = []
        with self._lock:
            for batch in batches:
                source = self._known[batch.layout]
                self.turn += 1
                self._put(source, self.turn, batch.at, batch.values)
                rows.append(HeadRow(self.turn, source.number, batch.at, batch.values.tobytes()))
        return rows

    def replay(self, row: HeadRow) -> bool:
        """Take back a stored row; tell whether its layout is known and has its width."""
        source = self._sources.get(row.layout)
        if source is None or len(row.values) != 8 * len(source.ids):
            return False
        self.turn = max(self.turn, row.turn)
        self._put(source, row.turn, row.at, np.frombuffer(row.values))
        return True

    def taken(self, start: int, end: int) -> list[tuple[Numbers, SegmentSnapshot]]:
        """Return the series and rows of all windows between two times; what is appended later does not show in it."""
        with self._lock:
            return [
                (source.ids, segment.taken())
                for source in self._sources.values()
                for window, segment in source.segments.items()
                if start // self._window <= window <= end // self._window
            ]

    def after(self, turn: int, samples: int) -> list[tuple[int, Batch]]:
        """Return the first batches after a turn, with theirs, until they hold so many samples."""
        with self._lock:
            taken = [
                (source, segment.taken())
                for source in self._sources.values()
                for segment in source.segments.values()
                if segment.count and segment.newest > turn
            ]
        turns = sorted(
            (int(rows.turns[place]), number, int(place))
            for number, (_, rows) in enumerate(taken)
            for place in np.flatnonzero(rows.turns > turn)
        )
        found: list[tuple[int, Batch]] = []
        for one, number, place in turns:
            if samples <= 0:
                break
            source, rows = taken[number]
            found.append((one, Batch(self._layout(source), int(rows.times[place]), rows.values[place])))
            samples -= len(source.ids)
        return found

    def layout(self, number: int) -> Layout:
        """Return a layout that the head knows, by its number."""
        return self._layout(self._sources[number])

    def series(self) -> int:
        """Return how many series the layouts of the head name."""
        with self._lock:
            ids = [source.ids for source in self._sources.values()]
        return len(np.unique(np.concatenate(ids))) if ids else 0

    def windows(self) -> dict[int, int]:
        """Return the windows that hold rows, and how many bytes of values."""
        sizes: dict[int, int] = {}
        with self._lock:
            for source in self._sources.values():
                for window, segment in source.segments.items():
                    sizes[window] = sizes.get(window, 0) + segment.count * 8 * len(source.ids)
        return sizes

    def drop(self, start: int, end: int, turn: int) -> None:
        """Let go of the rows from ``start`` up to before ``end`` that came up to a turn, and of layouts out of use."""
        with self._lock:
            for source in self._sources.values():
                for window in [window for window in source.segments if start <= window * self._window < end]:
                    segment = source.segments[window]
                    stays = segment.turns[: segment.count] > turn
                    self.gone = max(self.gone, int(segment.turns[: segment.count].max(where=~stays, initial=0)))
                    self._thin(source, window, np.flatnonzero(stays))
            used = {id(source) for source in self._known.values()}
            for source in [one for one in self._sources.values() if not one.segments and id(one) not in used]:
                del self._sources[source.number]
                self._alike.pop(source.ids.tobytes(), None)

    def forget(self, rows: Sequence[HeadRow]) -> None:
        """Let go of some rows."""
        turns = np.array([row.turn for row in rows], np.int64)
        with self._lock:
            for number, window in {(row.layout, row.at // self._window) for row in rows}:
                source = self._sources.get(number)
                segment = source.segments.get(window) if source else None
                if source and segment:
                    self._thin(source, window, np.flatnonzero(~np.isin(segment.turns[: segment.count], turns)))

    def rows(self, start: int = -(2**62), end: int = 2**62) -> Iterator[HeadRow]:
        """Return all rows of the windows from ``start`` up to before ``end`` as they are to be stored, in turn."""
        with self._lock:
            taken = [
                (source.number, segment.taken())
                for source in self._sources.values()
                for window, segment in source.segments.items()
                if start <= window * self._window < end
            ]
        turns = [
            (int(turn), number, place)
            for number, (_, rows) in enumerate(taken)
            for place, turn in enumerate(rows.turns)
        ]
        for turn, number, place in sorted(turns):
            layout, rows = taken[number]
            yield HeadRow(turn, layout, int(rows.times[place]), rows.values[place].tobytes())

    def release(self, ids: Numbers) -> None:
        """Let the index forget those of some series that the head does not hold either."""
        with self._lock:
            for source in self._sources.values():
                ids = np.setdiff1d(ids, source.ids)
            self._index.forget(ids)

    def ids(self, layout: int) -> Numbers | None:
        """Return the series of a layout by its number, or nothing if it is gone."""
        source = self._sources.get(layout)
        return source.ids if source else None

    def _new(self, number: int, ids: Numbers) -> HeadLayout:
        source = HeadLayout(number, ids, {})
        self._sources[number] = self._alike[ids.tobytes()] = source
        self._last = max(self._last, number)
        return source

    def _layout(self, source: HeadLayout) -> Layout:
        if source.layout is None:
            source.layout = Layout(self._index.labels(number) for number in source.ids.tolist())
        return source.layout

    def _put(self, source: HeadLayout, turn: int, at: int, values: Values) -> None:
        window = at // self._window
        segment = source.segments.get(window)
        if segment is None:
            segment = source.segments[window] = HeadSegment(len(source.ids))
        segment.put(turn, at, values)
        self.newest = max(self.newest, at)

    def _thin(self, source: HeadLayout, window: int, keep: Numbers) -> None:
        if len(keep):
            source.segments[window].keep(keep)
        else:
            del source.segments[window]


def _grown(array: np.ndarray) -> np.ndarray:
    """Return a copy with room for twice as many rows; room that is not written to takes no memory."""
    larger = np.empty((2 * len(array), *array.shape[1:]), array.dtype)
    larger[: len(array)] = array
    return larger
