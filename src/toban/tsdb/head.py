"""The head: samples in memory that were appended and are not in a block yet."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from threading import Lock
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from toban.core.samples import Batch, Layout
from toban.tsdb.series_index import SeriesIndex
from toban.tsdb.series_merge import Int64Array, SeriesPiece, Values


@dataclass(frozen=True, slots=True)
class HeadRow:
    """One batch as it is stored: its sequence number, its layout's number, its time, its values as bytes."""

    sequence: int
    layout: int
    at: int
    values: bytes


class HeadSegment:
    """The rows of one layout in one window: a growing matrix, one row for each batch in order of arrival."""

    def __init__(self, series: int) -> None:
        self.count = 0
        self.newest = 0
        self.ordered = True
        self.times = np.empty(8, np.int64)
        self.sequences = np.empty(8, np.int64)
        self.values = np.empty((8, series))

    def append(self, sequence: int, at: int, values: Values) -> None:
        """Append a row."""
        if self.count == len(self.times):
            # Readers keep their snapshot's arrays; no value that they can see is overwritten.
            self.times, self.sequences, self.values = (_grown(self.times), _grown(self.sequences), _grown(self.values))
        self.times[self.count] = at
        self.sequences[self.count] = sequence
        self.values[self.count] = values
        self.ordered = self.ordered and (self.count == 0 or at > self.times[self.count - 1])
        self.count += 1
        self.newest = max(self.newest, sequence)

    def retain(self, rows: Int64Array) -> None:
        """Drop all rows but these."""
        self.times, self.sequences, self.values = self.times[rows], self.sequences[rows], self.values[rows]
        self.count = len(rows)
        self.ordered = bool((np.diff(self.times) > 0).all())

    def snapshot(self) -> "SegmentSnapshot":
        """Return a view of the present rows; later ones are not in it."""
        count = self.count
        return SegmentSnapshot(self.times[:count], self.sequences[:count], self.values[:count], self.ordered)


@dataclass(frozen=True, slots=True, eq=False)
class SegmentSnapshot:
    """The rows of one segment at one moment."""

    times: Int64Array
    sequences: Int64Array
    values: Values
    ordered: bool

    def pieces(self, ids: Int64Array) -> list[SeriesPiece]:
        """
        Return the rows in order of time. Of several at one time the first is in one piece, the second in the next.

        They are not merged here: a value that the later row lacks may be in another layout, written between the two.
        """
        if self.ordered:
            return [_piece(ids, self.times, self.sequences, self.values)]
        order = np.lexsort((self.sequences, self.times))
        times, position = self.times[order], np.arange(len(order))
        nth = position - np.maximum.accumulate(np.where(np.diff(times, prepend=times[0] - 1) > 0, position, 0))
        by_nth = [order[nth == number] for number in range(int(nth.max()) + 1)]
        return [_piece(ids, self.times[rows], self.sequences[rows], self.values[rows]) for rows in by_nth]


def _piece(ids: Int64Array, times: Int64Array, sequences: Int64Array, values: Values) -> SeriesPiece:
    def read(rows: NDArray[np.intp], low: int, high: int, into: Values) -> None:
        into[:] = values[low:high].T[rows]

    return SeriesPiece(ids, times, sequences, read)


@dataclass(slots=True, eq=False)
class HeadLayout:
    """A layout in the head: its number, its series' ids, its rows by window; ``layout`` itself once it is needed."""

    number: int
    ids: Int64Array
    segments: dict[int, HeadSegment]
    layout: Layout | None = None


class Head:
    """
    The samples that are not in a block yet.

    The event loop appends, the query thread reads, the maintenance thread drops. Windows are numbered: the time divided
    by ``window`` (milliseconds).
    """

    def __init__(self, index: SeriesIndex, window: int) -> None:
        self.newest = 0
        self.sequence = 0
        self.dropped_sequence = 0
        """The highest sequence number of a row that was dropped."""
        self._index = index
        self._window = window
        self._lock = Lock()
        self._layouts: dict[int, HeadLayout] = {}
        self._by_ids: dict[bytes, HeadLayout] = {}
        self._by_layout: WeakKeyDictionary[Layout, HeadLayout] = WeakKeyDictionary()
        self._last_number = 0

    def intern(self, layout: Layout) -> HeadLayout:
        """Return the head's entry of a layout; equal layouts share one."""
        entry = self._by_layout.get(layout)
        if entry is None:
            with self._lock:
                ids = self._index.add(layout.series)
                entry = self._by_ids.get(ids.tobytes()) or self._new_entry(self._last_number + 1, ids)
                self._by_layout[layout] = entry
        return entry

    def is_interned(self, layout: Layout) -> bool:
        """Return whether this very layout object was interned."""
        return layout in self._by_layout

    def restore(self, number: int, ids: Int64Array) -> None:
        """Restore a layout that was stored under a number."""
        with self._lock:
            self._new_entry(number, ids)

    def append(self, batches: Sequence[Batch]) -> list[HeadRow]:
        """Append batches of interned layouts, all in one step for readers; return the rows to store."""
        rows = []
        with self._lock:
            for batch in batches:
                entry = self._by_layout[batch.layout]
                self.sequence += 1
                self._append(entry, self.sequence, batch.at, batch.values)
                rows.append(HeadRow(self.sequence, entry.number, batch.at, batch.values.tobytes()))
        return rows

    def replay(self, row: HeadRow) -> bool:
        """Replay a stored row; return False when its layout is missing or of another width."""
        entry = self._layouts.get(row.layout)
        if entry is None or len(row.values) != 8 * len(entry.ids):
            return False
        self.sequence = max(self.sequence, row.sequence)
        self._append(entry, row.sequence, row.at, np.frombuffer(row.values))
        return True

    def snapshot(self, start: int, end: int) -> list[tuple[Int64Array, SegmentSnapshot]]:
        """Return the series and rows of all windows between two times; what is appended later is not in it."""
        with self._lock:
            return [
                (entry.ids, segment.snapshot())
                for entry in self._layouts.values()
                for window, segment in entry.segments.items()
                if start // self._window <= window <= end // self._window
            ]

    def batches_after(self, sequence: int, samples: int) -> list[tuple[int, Batch]]:
        """Return the first batches after a sequence number, with theirs: some ``samples``, and at least one batch."""
        with self._lock:
            snapshots = [
                (entry, segment.snapshot())
                for entry in self._layouts.values()
                for segment in entry.segments.values()
                if segment.count and segment.newest > sequence
            ]
        in_order = sorted(
            (int(rows.sequences[row]), number, int(row))
            for number, (_, rows) in enumerate(snapshots)
            for row in np.flatnonzero(rows.sequences > sequence)
        )
        found: list[tuple[int, Batch]] = []
        for row_sequence, number, row in in_order:
            if samples <= 0:
                break
            entry, rows = snapshots[number]
            found.append((row_sequence, Batch(self._layout(entry), int(rows.times[row]), rows.values[row])))
            samples -= len(entry.ids)
        return found

    def layout(self, number: int) -> Layout:
        """Return the layout of a number. Raises ``KeyError``."""
        return self._layout(self._layouts[number])

    def series(self) -> int:
        """Return how many series the head holds."""
        with self._lock:
            ids = [entry.ids for entry in self._layouts.values()]
        return len(np.unique(np.concatenate(ids))) if ids else 0

    def windows(self) -> dict[int, int]:
        """Return the windows that hold rows, each with its bytes of values."""
        sizes: dict[int, int] = {}
        with self._lock:
            for entry in self._layouts.values():
                for window, segment in entry.segments.items():
                    sizes[window] = sizes.get(window, 0) + segment.count * 8 * len(entry.ids)
        return sizes

    def drop(self, start: int, end: int, sequence: int) -> None:
        """Drop the rows of ``start`` ≤ time < ``end`` up to a sequence number, and layouts that nothing uses."""
        with self._lock:
            for entry in self._layouts.values():
                for window in [window for window in entry.segments if start <= window * self._window < end]:
                    segment = entry.segments[window]
                    sequences = segment.sequences[: segment.count]
                    kept = sequences > sequence
                    highest = int(sequences.max(where=~kept, initial=0))
                    self.dropped_sequence = max(self.dropped_sequence, highest)
                    self._retain(entry, window, np.flatnonzero(kept))
            used = {id(entry) for entry in self._by_layout.values()}
            for entry in [one for one in self._layouts.values() if not one.segments and id(one) not in used]:
                del self._layouts[entry.number]
                self._by_ids.pop(entry.ids.tobytes(), None)

    def drop_rows(self, rows: Sequence[HeadRow]) -> None:
        """Drop some rows."""
        sequences = np.array([row.sequence for row in rows], np.int64)
        with self._lock:
            for number, window in {(row.layout, row.at // self._window) for row in rows}:
                entry = self._layouts.get(number)
                segment = entry.segments.get(window) if entry else None
                if entry and segment:
                    self._retain(entry, window, np.flatnonzero(~np.isin(segment.sequences[: segment.count], sequences)))

    def rows(self, start: int = -(2**62), end: int = 2**62) -> Iterator[HeadRow]:
        """Return the rows of windows that begin at ``start`` ≤ time < ``end``, in order of their sequence numbers."""
        with self._lock:
            snapshots = [
                (entry.number, segment.snapshot())
                for entry in self._layouts.values()
                for window, segment in entry.segments.items()
                if start <= window * self._window < end
            ]
        in_order = sorted(
            (int(sequence), number, row)
            for number, (_, rows) in enumerate(snapshots)
            for row, sequence in enumerate(rows.sequences)
        )
        for sequence, number, row in in_order:
            layout, rows = snapshots[number]
            yield HeadRow(sequence, layout, int(rows.times[row]), rows.values[row].tobytes())

    def forget_series(self, ids: Int64Array) -> None:
        """Remove those of some series from the index that the head does not hold."""
        with self._lock:
            for entry in self._layouts.values():
                ids = np.setdiff1d(ids, entry.ids)
            self._index.forget(ids)

    def ids(self, layout: int) -> Int64Array | None:
        """Return the series ids of a layout by its number, or None when the head has dropped it."""
        entry = self._layouts.get(layout)
        return entry.ids if entry else None

    def _new_entry(self, number: int, ids: Int64Array) -> HeadLayout:
        entry = HeadLayout(number, ids, {})
        self._layouts[number] = self._by_ids[ids.tobytes()] = entry
        self._last_number = max(self._last_number, number)
        return entry

    def _layout(self, entry: HeadLayout) -> Layout:
        if entry.layout is None:
            entry.layout = Layout(self._index.labels(number) for number in entry.ids.tolist())
        return entry.layout

    def _append(self, entry: HeadLayout, sequence: int, at: int, values: Values) -> None:
        window = at // self._window
        segment = entry.segments.get(window)
        if segment is None:
            segment = entry.segments[window] = HeadSegment(len(entry.ids))
        segment.append(sequence, at, values)
        self.newest = max(self.newest, at)

    def _retain(self, entry: HeadLayout, window: int, rows: Int64Array) -> None:
        if len(rows):
            entry.segments[window].retain(rows)
        else:
            del entry.segments[window]


def _grown(array: np.ndarray) -> np.ndarray:
    """Return a copy with twice the capacity; capacity that was never written to takes no memory."""
    larger = np.empty((2 * len(array), *array.shape[1:]), array.dtype)
    larger[: len(array)] = array
    return larger
