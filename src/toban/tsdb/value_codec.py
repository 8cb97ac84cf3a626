"""
Compression of values, lossless to the last bit.

A tile of values is encoded row by row as differences. Integers, and decimals of few places as multiples of the last
place, are differences in as many bytes as the row needs; other floats are XORed with the one before. Markers (every
NaN, whatever its bits) are encoded separately as runs, so that a gap costs its row nothing. The bytes of equal weight
are stored together (byte shuffle), then compressed by zstd.
"""

from itertools import pairwise
from typing import Any, Final

import cramjam
import numpy as np
from numpy.typing import NDArray

LEVEL: Final = 3
"""zstd's compression level; higher ones take longer and save hardly anything."""

WIDTHS: Final = (1, 2, 4, 8)
"""Bytes that a difference of integers may take; a row that never changes takes none."""

PLACES: Final = 6
"""Decimal places up to which a row is encoded as integers; its kind is ten times these, plus the bytes."""

BITS: Final = 9
"""The kind of a row that is encoded by XOR."""

Values = NDArray[np.float64]


def pack(values: Values) -> bytes:
    """Return a tile (series by times, at least one of each) as bytes."""
    starts, lengths, markers = _runs(values)
    without_gaps = _filled(values) if len(starts) else np.ascontiguousarray(values)
    kinds, firsts, changes = _changes(without_gaps)
    parts = [
        np.array([len(starts)], "<u4").tobytes(),
        starts.astype("<u4").tobytes(),
        lengths.astype("<u4").tobytes(),
        markers.astype("<u8").tobytes(),
        kinds.tobytes(),
        _shuffled(firsts),
    ]
    parts += [_shuffled(changes[kinds % 10 == width].astype(f"<u{width}")) for width in WIDTHS]
    parts.append(_shuffled(changes[kinds == BITS]))
    return bytes(cramjam.zstd.compress(b"".join(parts), level=LEVEL))


def unpack(data: bytes, rows: int, columns: int) -> Values:
    """Return the tile that `pack` was given."""
    reader = _Reader(bytes(cramjam.zstd.decompress(data)))
    (count,) = reader.take("<u4", 1)
    starts, lengths = reader.take("<u4", count), reader.take("<u4", count)
    markers = reader.take("<u8", count)
    kinds = reader.take("u1", rows)
    widths, places = kinds % 10, kinds // 10
    firsts = reader.planes(8, rows)
    values = np.empty((rows, columns), np.float64)
    constant = np.flatnonzero(widths == 0)
    values[constant] = firsts[constant].view(np.int64).astype(np.float64)[:, None]
    for width in WIDTHS:
        which = np.flatnonzero(widths == width)
        if len(which):
            steps = _unzigzag(reader.planes(width, len(which) * (columns - 1)))
            integers = np.empty((len(which), columns), np.int64)
            integers[:, 0] = firsts[which].view(np.int64)
            integers[:, 1:] = steps.reshape(len(which), columns - 1)
            values[which] = np.cumsum(integers, axis=1, out=integers)
    for place in set(places[places > 0].tolist()):
        values[places == place] /= 10.0**place
    which = np.flatnonzero(kinds == BITS)
    if len(which):
        bits = np.empty((len(which), columns), np.uint64)
        bits[:, 0] = firsts[which]
        bits[:, 1:] = reader.planes(8, len(which) * (columns - 1)).reshape(len(which), columns - 1)
        values[which] = np.bitwise_xor.accumulate(bits, axis=1, out=bits).view(np.float64)
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
    """Return the start of each run of markers in the flat tile, its length, and the markers' bits."""
    flat = np.ascontiguousarray(values).reshape(-1)
    positions = np.flatnonzero(np.isnan(flat))
    if not len(positions):
        empty = np.empty(0, np.uint64)
        return empty, empty, empty
    bits = flat.view(np.uint64)[positions]
    begins = np.flatnonzero((np.diff(positions) != 1) | (bits[1:] != bits[:-1])) + 1
    begins = np.concatenate([[0], begins])
    return positions[begins], np.diff(np.append(begins, len(positions))), bits[begins]


def _filled(values: Values) -> Values:
    """Return the tile with each marker replaced by the value before it, or the first one after it, or zero."""
    marked = np.isnan(values)
    column = np.arange(values.shape[1])
    source = np.maximum.accumulate(np.where(marked, -1, column), axis=1)
    source = np.where(source < 0, np.argmin(marked, axis=1)[:, None], source)
    filled = np.take_along_axis(values, source, axis=1)
    filled[marked.all(axis=1)] = 0.0
    return filled


def _changes(values: Values) -> tuple[NDArray[np.uint8], NDArray[np.uint64], NDArray[np.uint64]]:
    """Return for each row its kind, its first value, and the differences between its values."""
    bits = values.view(np.uint64)
    whole, places = np.zeros(values.shape, np.int64), np.zeros(len(values), np.uint8)
    is_whole = np.zeros(len(values), np.bool_)
    for place in range(PLACES + 1):
        others = np.flatnonzero(~is_whole)
        # Most rows of other kinds are ruled out by their first values.
        others = others[_scaled(values[others, :4], place)[1]]
        if len(others):
            scaled, exact = _scaled(values[others], place)
            fitting = others[exact]
            whole[fitting], places[fitting], is_whole[fitting] = scaled[exact], place, True
    steps = np.diff(whole, axis=1)
    zigzag = ((steps << 1) ^ (steps >> 63)).view(np.uint64)
    largest = zigzag.max(axis=1, initial=0)
    kinds = np.zeros(len(values), np.uint8)
    for narrow, width in pairwise((0, *WIDTHS)):
        kinds[largest >= np.uint64(1 << (8 * narrow))] = width
    kinds += 10 * places
    kinds[~is_whole] = BITS
    changes = np.where(is_whole[:, None], zigzag, bits[:, 1:] ^ bits[:, :-1])
    return kinds, np.where(is_whole, whole[:, 0].view(np.uint64), bits[:, 0]), changes


def _scaled(values: Values, places: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return values in units of the last of some decimal places, and which rows are integers of these, bit for bit."""
    unit = 10.0**places
    with np.errstate(invalid="ignore", over="ignore"):
        near = np.rint(values * unit)
        whole = near.astype(np.int64)
    # Compared by bits, so that a negative zero is not taken for an integer.
    same = (whole / unit).view(np.uint64) == values.view(np.uint64)
    return whole, (same & (np.abs(near) < 2**53)).all(axis=1)


def _unzigzag(encoded: NDArray[Any]) -> NDArray[Any]:
    """Return the differences, in as many bytes each."""
    signed = np.dtype(f"i{encoded.itemsize}")
    differences: NDArray[Any] = (encoded >> 1).view(signed) ^ -(encoded & 1).view(signed)
    return differences


def _shuffled(elements: NDArray[Any]) -> bytes:
    """Store the bytes of equal weight together: the high ones are nearly all zero and compress to nothing."""
    flat = np.ascontiguousarray(elements).reshape(-1)
    return flat.view(np.uint8).reshape(len(flat), flat.itemsize).T.tobytes()


class _Reader:
    """Reads arrays from bytes, one after the other."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, kind: str, count: int) -> NDArray[Any]:
        """Return the next elements."""
        elements = np.frombuffer(self._data, kind, count, self._at)
        self._at += elements.nbytes
        return elements

    def planes(self, width: int, count: int) -> NDArray[Any]:
        """Return the next elements, which `_shuffled` has stored."""
        planes = self.take("u1", width * count).reshape(width, count)
        elements = np.empty((count, width), np.uint8)
        for place, plane in enumerate(planes):
            elements[:, place] = plane  # one by one: numpy is slower at transposing them at once
        return elements.reshape(-1).view(f"<u{width}")
