"""
Values as few bytes, and back, bit for bit.

A tile of values is written row by row as what changed. Whole numbers, and numbers of a few decimal places as so many of
the last place, are differences in as many bytes as the row needs; other numbers are the bits that differ from the one
before. Markers (every NaN, whatever its bits) are lifted out first as runs, so that a gap costs its row nothing. The
bytes of equal weight are laid side by side, then zstd packs them.
"""

from itertools import pairwise
from typing import Any, Final

import cramjam
import numpy as np
from numpy.typing import NDArray

LEVEL: Final = 3
"""zstd's effort; more of it takes longer and saves nothing worth having."""

WHOLE: Final = (1, 2, 4, 8)
"""Bytes that a difference of whole numbers may take; a row that never changes takes none."""

PLACES: Final = 6
"""How many decimal places a row may have and not be written as bits; its kind is ten times these, and the bytes."""

BITS: Final = 9
"""The kind of row that is written as changed bits."""

Values = NDArray[np.float64]


def pack(values: Values) -> bytes:
    """Return a tile (series by times, at least one of each) as bytes."""
    starts, lengths, markers = _runs(values)
    bare = _filled(values) if len(starts) else np.ascontiguousarray(values)
    kinds, firsts, changes = _changes(bare)
    parts = [
        np.array([len(starts)], "<u4").tobytes(),
        starts.astype("<u4").tobytes(),
        lengths.astype("<u4").tobytes(),
        markers.astype("<u8").tobytes(),
        kinds.tobytes(),
        _shuffled(firsts),
    ]
    parts += [_shuffled(changes[kinds % 10 == width].astype(f"<u{width}")) for width in WHOLE]
    parts.append(_shuffled(changes[kinds == BITS]))
    return bytes(cramjam.zstd.compress(b"".join(parts), level=LEVEL))


def unpack(data: bytes, rows: int, columns: int) -> Values:
    """Return the tile that `pack` was given."""
    source = _Source(bytes(cramjam.zstd.decompress(data)))
    (count,) = source.take("<u4", 1)
    starts, lengths = source.take("<u4", count), source.take("<u4", count)
    markers = source.take("<u8", count)
    kinds = source.take("u1", rows)
    widths, places = kinds % 10, kinds // 10
    firsts = source.planes(8, rows)
    values = np.empty((rows, columns), np.float64)
    still = np.flatnonzero(widths == 0)
    values[still] = firsts[still].view(np.int64).astype(np.float64)[:, None]
    for width in WHOLE:
        here = np.flatnonzero(widths == width)
        if len(here):
            steps = _unzigzag(source.planes(width, len(here) * (columns - 1)))
            whole = np.empty((len(here), columns), np.int64)
            whole[:, 0] = firsts[here].view(np.int64)
            whole[:, 1:] = steps.reshape(len(here), columns - 1)
            values[here] = np.cumsum(whole, axis=1, out=whole)
    for place in set(places[places > 0].tolist()):
        values[places == place] /= 10.0**place
    here = np.flatnonzero(kinds == BITS)
    if len(here):
        bits = np.empty((len(here), columns), np.uint64)
        bits[:, 0] = firsts[here]
        bits[:, 1:] = source.planes(8, len(here) * (columns - 1)).reshape(len(here), columns - 1)
        values[here] = np.bitwise_xor.accumulate(bits, axis=1, out=bits).view(np.float64)
    if count:
        ends = np.cumsum(lengths.astype(np.int64))
        cells = np.arange(ends[-1]) + np.repeat(starts - (ends - lengths), lengths)
        values.reshape(-1).view(np.uint64)[cells] = np.repeat(markers, lengths)
    return values


def pack_times(times: NDArray[np.int64]) -> bytes:
    """Return increasing times as bytes."""
    first = times[:1].astype("<i8").tobytes()
    return first + (pack(np.diff(times).astype(np.float64)[None, :]) if len(times) > 1 else b"")


def unpack_times(data: bytes, count: int) -> NDArray[np.int64]:
    """Return the times that `pack_times` was given."""
    times = np.empty(count, np.int64)
    times[0] = np.frombuffer(data, "<i8", 1)[0]
    if count > 1:
        times[1:] = unpack(data[8:], 1, count - 1)[0]
    return np.cumsum(times, out=times)


def _runs(values: Values) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Return where markers start in the flat tile, how many stand in a row there, and their bits."""
    flat = np.ascontiguousarray(values).reshape(-1)
    places = np.flatnonzero(np.isnan(flat))
    if not len(places):
        nothing = np.empty(0, np.uint64)
        return nothing, nothing, nothing
    bits = flat.view(np.uint64)[places]
    begins = np.flatnonzero((np.diff(places) != 1) | (bits[1:] != bits[:-1])) + 1
    begins = np.concatenate([[0], begins])
    return places[begins], np.diff(np.append(begins, len(places))), bits[begins]


def _filled(values: Values) -> Values:
    """Return the tile with each marker replaced by the number before it, or the first one after it, or nought."""
    marked = np.isnan(values)
    column = np.arange(values.shape[1])
    source = np.maximum.accumulate(np.where(marked, -1, column), axis=1)
    source = np.where(source < 0, np.argmin(marked, axis=1)[:, None], source)
    filled = np.take_along_axis(values, source, axis=1)
    filled[marked.all(axis=1)] = 0.0
    return filled


def _changes(values: Values) -> tuple[NDArray[np.uint8], NDArray[np.uint64], NDArray[np.uint64]]:
    """Return for each row its kind, its first number, and what changed from one number to the next."""
    bits = values.view(np.uint64)
    whole, places = np.zeros(values.shape, np.int64), np.zeros(len(values), np.uint8)
    is_whole = np.zeros(len(values), np.bool_)
    for place in range(PLACES + 1):
        others = np.flatnonzero(~is_whole)
        # Most rows that are none show it at once.
        others = others[_scaled(values[others, :4], place)[1]]
        if len(others):
            scaled, exact = _scaled(values[others], place)
            fitting = others[exact]
            whole[fitting], places[fitting], is_whole[fitting] = scaled[exact], place, True
    steps = np.diff(whole, axis=1)
    zigzag = ((steps << 1) ^ (steps >> 63)).view(np.uint64)
    largest = zigzag.max(axis=1, initial=0)
    kinds = np.zeros(len(values), np.uint8)
    for narrow, width in pairwise((0, *WHOLE)):
        kinds[largest >= np.uint64(1 << (8 * narrow))] = width
    kinds += 10 * places
    kinds[~is_whole] = BITS
    changes = np.where(is_whole[:, None], zigzag, bits[:, 1:] ^ bits[:, :-1])
    return kinds, np.where(is_whole, whole[:, 0].view(np.uint64), bits[:, 0]), changes


def _scaled(values: Values, places: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return values in units of so many decimal places, and which rows are whole numbers of these to the last bit."""
    unit = 10.0**places
    with np.errstate(invalid="ignore", over="ignore"):
        near = np.rint(values * unit)
        whole = near.astype(np.int64)
    # Compared by bits, so that a negative nought is no whole number.
    same = (whole / unit).view(np.uint64) == values.view(np.uint64)
    return whole, (same & (np.abs(near) < 2**53)).all(axis=1)


def _unzigzag(numbers: NDArray[Any]) -> NDArray[Any]:
    """Return the differences; in as many bytes, since they fit."""
    signed = np.dtype(f"i{numbers.itemsize}")
    differences: NDArray[Any] = (numbers >> 1).view(signed) ^ -(numbers & 1).view(signed)
    return differences


def _shuffled(numbers: NDArray[Any]) -> bytes:
    """Lay the bytes of equal weight side by side: the high ones are nearly all nought and pack to nothing."""
    flat = np.ascontiguousarray(numbers).reshape(-1)
    return flat.view(np.uint8).reshape(len(flat), flat.itemsize).T.tobytes()


class _Source:
    """Bytes, read from the front."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, kind: str, count: int) -> NDArray[Any]:
        """Return the next numbers."""
        found = np.frombuffer(self._data, kind, count, self._at)
        self._at += found.nbytes
        return found

    def planes(self, width: int, count: int) -> NDArray[Any]:
        """Return the next numbers, their bytes laid side by side."""
        planes = self.take("u1", width * count).reshape(width, count)
        laid = np.empty((count, width), np.uint8)
        for place, plane in enumerate(planes):
            laid[:, place] = plane  # one after the other: numpy takes longer to turn them over at once
        return laid.reshape(-1).view(f"<u{width}")
