"""
Chunks: some thousand lines with successive numbers, in columns.

Times, streams and trace ids are in the order of the numbers. Rows of text are sorted by stream, those of errors and
warnings first and in a column of their own: similar rows side by side compress better, and most searches read few.
"""

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from itertools import compress
from typing import Any, Final

import cramjam
import numpy as np
import orjson
from numpy.typing import NDArray

from toban.core.errors import StoreError
from toban.core.log_line import LogStream
from toban.logs.line_store import LinePosition, StoredLine
from toban.logs.store.row_codec import LOUD, decode_row

CHUNK_LINES: Final = 4096
CHUNK_BYTES: Final = 2**20
"""A chunk is complete with so many lines, or so many bytes of text."""

Int64Array = NDArray[np.int64]
Flags = NDArray[np.bool_]

_LEVEL: Final = 3
_IDS: Final = struct.Struct("<II")
_HEX: Final = frozenset("0123456789abcdef")
_NO_ID, _HEX_ID, _OTHER_ID = range(3)
_HEX_BYTES: Final = 16


class ChunkDeletedError(StoreError):
    """A chunk was deleted while it was searched, because it was too old."""


class Column(IntEnum):
    """The columns of a chunk, in the order in which they are stored."""

    TIMES = 0
    STREAMS = 1
    LENGTHS = 2
    LOUD = 3
    QUIET = 4
    TRACE_IDS = 5


@dataclass(frozen=True, slots=True)
class ChunkInfo:
    """
    What is known of a chunk without reading it.

    ``oldest`` and ``newest`` are times (milliseconds). ``streams`` are those of its lines, in the order of the rows;
    the first ``loud`` rows are those of errors and warnings. ``sizes`` are the bytes of both texts, uncompressed.
    """

    first: int
    count: int
    oldest: int
    newest: int
    streams: tuple[LogStream, ...]
    loud: int
    sizes: tuple[int, int]

    @property
    def last(self) -> int:
        """The number of its last line."""
        return self.first + self.count - 1


@dataclass(frozen=True, slots=True, eq=False)
class TraceIds:
    """Trace ids in the order of the lines: what kind each is, those of 32 hexadecimal digits, and the others."""

    kinds: NDArray[np.uint8]
    binary: bytes
    others: Sequence[str]

    @classmethod
    def of(cls, ids: Sequence[str]) -> "TraceIds":
        """Pack some ids."""
        kinds = [_NO_ID if not one else _HEX_ID if _is_hex(one) else _OTHER_ID for one in ids]
        binary = bytes.fromhex("".join(compress(ids, [kind == _HEX_ID for kind in kinds])))
        return cls(np.array(kinds, np.uint8), binary, list(compress(ids, [kind == _OTHER_ID for kind in kinds])))

    def equal(self, trace_id: str) -> Flags:
        """Return which lines have an id."""
        flags = np.zeros(len(self.kinds), np.bool_)
        if _is_hex(trace_id):
            ids = np.frombuffer(self.binary, f"V{_HEX_BYTES}")
            flags[self.kinds == _HEX_ID] = ids == np.void(bytes.fromhex(trace_id))
        elif trace_id in self.others:
            flags[self.kinds == _OTHER_ID] = [one == trace_id for one in self.others]
        return flags

    def at(self, indexes: Int64Array) -> list[str]:
        """Return the ids of some lines."""
        before = np.cumsum(self.kinds == _HEX_ID), np.cumsum(self.kinds == _OTHER_ID)
        found = []
        for index in indexes.tolist():
            kind = self.kinds[index]
            if kind == _NO_ID:
                found.append("")
                continue
            place = int(before[kind - 1][index]) - 1
            start = place * _HEX_BYTES
            found.append(self.binary[start : start + _HEX_BYTES].hex() if kind == _HEX_ID else str(self.others[place]))
        return found

    def pack(self) -> bytes:
        """Return the stored form."""
        others = orjson.dumps(self.others)
        head = _IDS.pack(len(self.kinds), len(self.binary))
        return _compress(head + self.kinds.tobytes() + self.binary + others)

    @classmethod
    def unpack(cls, data: bytes) -> "TraceIds":
        """Return what `pack` was given."""
        raw = _decompress(data)
        count, size = _IDS.unpack_from(raw)
        kinds_end = _IDS.size + count
        kinds = np.frombuffer(raw, np.uint8, count, _IDS.size)
        return cls(kinds, raw[kinds_end : kinds_end + size], orjson.loads(raw[kinds_end + size :]))


def _is_hex(text: str) -> bool:
    return len(text) == 2 * _HEX_BYTES and _HEX.issuperset(text)


class ChunkText:
    """Rows of one column of text: ``starts`` has one more entry than there are rows."""

    def __init__(self, data: bytes | bytearray, lengths: Int64Array) -> None:
        self.data = data
        self.size = int(lengths.sum()) + len(lengths)
        self.starts: list[int] = [0, *np.cumsum(lengths + 1).tolist()]

    def row(self, number: int) -> bytes:
        """Return a row."""
        return bytes(memoryview(self.data)[self.starts[number] : self.starts[number + 1] - 1])

    @cached_property
    def folded(self) -> bytes:
        """The text with one bit set in each byte, so that upper and lower case of ASCII letters are equal."""
        return np.bitwise_or(np.frombuffer(self.data, np.uint8, self.size), 0x20).tobytes()


class Chunk:
    """The content of a chunk; subclasses say where it comes from."""

    def __init__(self, info: ChunkInfo) -> None:
        self.info = info
        self._texts: dict[Column, ChunkText] = {}

    @cached_property
    def times(self) -> Int64Array:
        """Times in milliseconds, in the order of the numbers."""
        raise NotImplementedError

    @cached_property
    def streams(self) -> NDArray[np.intp]:
        """Which of the chunk's streams each line belongs to, in the order of the numbers."""
        raise NotImplementedError

    @cached_property
    def lengths(self) -> Int64Array:
        """Bytes of each row."""
        raise NotImplementedError

    @cached_property
    def trace_ids(self) -> TraceIds:
        """The trace ids, in the order of the numbers."""
        raise NotImplementedError

    def data(self, column: Column) -> bytes | bytearray:
        """Return one column of text."""
        raise NotImplementedError

    def text(self, column: Column) -> ChunkText:
        """Return the rows of one column of text; they are kept as long as the chunk."""
        if column not in self._texts:
            self._texts[column] = ChunkText(self.data(column), self.lengths[self.part(column)])
        return self._texts[column]

    @cached_property
    def order(self) -> NDArray[np.intp]:
        """The place of each row's line in the order of the numbers."""
        return np.argsort(self.streams, kind="stable")

    def sizes(self) -> Int64Array:
        """Return the bytes of each line's text, in the order of the numbers."""
        sizes = np.empty(self.info.count, np.int64)
        sizes[self.order] = self.lengths
        return sizes

    def lines(self, indexes: Int64Array) -> list[StoredLine]:
        """Return some lines by their places in the order of the numbers."""
        rows = np.empty(self.info.count, np.int64)
        rows[self.order] = np.arange(self.info.count)
        found = []
        for index, row, at, stream, trace_id in zip(
            indexes.tolist(),
            rows[indexes].tolist(),
            self.times[indexes].tolist(),
            self.streams[indexes].tolist(),
            self.trace_ids.at(indexes),
            strict=True,
        ):
            column, place = (Column.LOUD, row) if row < self.info.loud else (Column.QUIET, row - self.info.loud)
            line = decode_row(self.text(column).row(place), at, self.info.streams[stream], trace_id)
            found.append(StoredLine(LinePosition(at, self.info.first + index), line))
        return found

    def part(self, column: Column) -> slice:
        """Return which rows a column of text holds."""
        return slice(0, self.info.loud) if column is Column.LOUD else slice(self.info.loud, self.info.count)


class OpenChunk(Chunk):
    """A chunk in memory, of lines in the order of their numbers: for those that are not complete, and to store one."""

    def __init__(
        self,
        first: int,
        times: Sequence[int],
        streams: Sequence[LogStream],
        rows: Sequence[bytes],
        trace_ids: Sequence[str],
    ) -> None:
        known = sorted(set(streams), key=lambda stream: (stream.level not in LOUD, stream))
        places = {stream: place for place, stream in enumerate(known)}
        self.times = np.array(times, np.int64)
        self.streams = np.array([places[stream] for stream in streams], np.intp)
        self._rows = [rows[place] for place in np.argsort(self.streams, kind="stable").tolist()]
        self.lengths = np.array([len(row) for row in self._rows], np.int64)
        self._ids = trace_ids
        loud = sum(stream.level in LOUD for stream in known)
        loud_rows = int(np.count_nonzero(self.streams < loud))
        sizes = [len(part) + int(part.sum()) for part in (self.lengths[:loud_rows], self.lengths[loud_rows:])]
        super().__init__(
            ChunkInfo(
                first,
                len(rows),
                int(self.times.min()),
                int(self.times.max()),
                tuple(known),
                loud_rows,
                (sizes[0], sizes[1]),
            )
        )

    @cached_property
    def trace_ids(self) -> TraceIds:
        """The trace ids, in the order of the numbers."""
        return TraceIds.of(self._ids)

    def data(self, column: Column) -> bytes:
        """Return one column of text."""
        return b"".join(row + b"\n" for row in self._rows[self.part(column)])

    def pack(self) -> list[bytes]:
        """Return the stored columns."""
        return [
            pack_integers(np.diff(self.times, prepend=0)),
            pack_integers(self.streams.astype(np.int64)),
            pack_integers(self.lengths),
            _compress(self.data(Column.LOUD)),
            _compress(self.data(Column.QUIET)),
            self.trace_ids.pack(),
        ]


class StoredChunk(Chunk):
    """A chunk whose columns are read and decoded when they are needed; ``read`` returns a column's bytes."""

    def __init__(self, info: ChunkInfo, read: Callable[[Column], bytes]) -> None:
        super().__init__(info)
        self.read = read

    @cached_property
    def times(self) -> Int64Array:
        """Times in milliseconds, in the order of the numbers."""
        return np.cumsum(unpack_integers(self.read(Column.TIMES), self.info.count))

    @cached_property
    def streams(self) -> NDArray[np.intp]:
        """Which of the chunk's streams each line belongs to, in the order of the numbers."""
        return unpack_integers(self.read(Column.STREAMS), self.info.count).astype(np.intp)

    @cached_property
    def lengths(self) -> Int64Array:
        """Bytes of each row."""
        return unpack_integers(self.read(Column.LENGTHS), self.info.count)

    @cached_property
    def trace_ids(self) -> TraceIds:
        """The trace ids, in the order of the numbers."""
        return TraceIds.unpack(self.read(Column.TRACE_IDS))

    def data(self, column: Column) -> bytes | bytearray:
        """Return one column of text."""
        data = bytearray(self.info.sizes[column - Column.LOUD])
        if data:
            cramjam.zstd.decompress_into(self.read(column), data)
        return data


def pack_integers(values: Int64Array) -> bytes:
    """Return integers as the bytes of the same significance side by side, compressed."""
    folded = np.where(values < 0, ~values * 2 + 1, values * 2).astype(np.uint64)
    width = max(1, (int(folded.max()).bit_length() + 7) // 8)
    return bytes([width]) + _compress(folded.astype("<u8").view(np.uint8).reshape(-1, 8)[:, :width].T.tobytes())


def unpack_integers(data: bytes, count: int) -> Int64Array:
    """Return the integers that `pack_integers` was given."""
    width, planes = data[0], np.frombuffer(_decompress(data[1:]), np.uint8)
    whole = np.zeros((count, 8), np.uint8)
    whole[:, :width] = planes.reshape(width, count).T
    folded = whole.reshape(-1).view("<u8")
    halves = (folded >> np.uint64(1)).astype(np.int64)
    return np.where(folded & np.uint64(1), ~halves, halves)


def _compress(data: Any) -> bytes:
    return bytes(cramjam.zstd.compress(data, level=_LEVEL))


def _decompress(data: bytes) -> bytes:
    return bytes(cramjam.zstd.decompress(data))
