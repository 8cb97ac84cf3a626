"""
Blocks: immutable files of chunks.

A file is ``magic, columns of chunks, signatures turned, index, footer``. The index is JSON with the offsets; its
checksum is in the footer. A column's checksum covers the block's name, its place, and its bytes; the signatures have
one for each page. The numbers of a block's lines lie between the two of its name.
"""

import itertools
import os
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple
from weakref import finalize
from zlib import crc32

import cramjam
import numpy as np
import orjson
from numpy.typing import NDArray

from toban.core.errors import StoreError
from toban.core.log_line import LogStream
from toban.logs.store.chunk import ChunkInfo, Column, Flags, StoredChunk
from toban.logs.store.signature import PLACES, Terms, places_of
from toban.tsdb.corruption import CorruptionError
from toban.tsdb.lru import LruCache

MAGIC_PREFIX: Final = b"TOBANLG"
MAGIC: Final = MAGIC_PREFIX + b"1"
FOOTER: Final = struct.Struct("<QIII8s")
SUFFIX: Final = ".lines"
MAX_CHUNKS: Final = 256
"""Chunks in one block at most."""

MAX_STREAMS: Final = 2**16
"""Streams of one block at most; a block with as many is complete."""

PAGE_PLACES: Final = 128
"""Places of signatures that share a checksum."""

PAGES: Final = PLACES // PAGE_PLACES
_OPENED: Final = itertools.count()
_STREAM: Final = np.dtype(np.uint16)


class BlockName(NamedTuple):
    """The name of a block's file: the numbers of its first and its last line."""

    first: int
    last: int

    @property
    def file(self) -> str:
        """The file's name."""
        return f"{self.first}-{self.last}{SUFFIX}"

    @classmethod
    def of(cls, path: Path) -> "BlockName":
        """Parse a file's name; what follows the suffix, as of a quarantined file, is ignored. Raises ``ValueError``."""
        first, last = path.name.partition(SUFFIX)[0].split("-")
        return cls(int(first), int(last))


class Extent(NamedTuple):
    """Offset and length of some bytes in the file, and their checksum."""

    offset: int
    length: int
    checksum: int


def column_seed(name: BlockName, chunk: int, column: int) -> int:
    """Return the checksum of all that identifies a column: its own checksum continues it over its bytes."""
    return crc32(struct.pack("<qqII", *name, chunk, column))


@dataclass(frozen=True, slots=True, eq=False)
class BlockIndex:
    """
    Where a block's columns are, and what is known of its chunks: a row for each.

    ``numbers`` are first number, count, oldest, newest, rows of errors and warnings, and the bytes of both texts;
    ``extents`` are of shape (chunks, columns, 3).
    """

    streams: Sequence[LogStream]
    numbers: NDArray[np.int64]
    chunk_streams: Sequence[NDArray[np.uint16]]
    extents: NDArray[np.int64]
    signatures: int
    page_checksums: NDArray[np.uint32]

    def info(self, chunk: int) -> ChunkInfo:
        """Return what is known of a chunk."""
        first, count, oldest, newest, loud, *sizes = self.numbers[chunk].tolist()
        streams = tuple(self.streams[stream] for stream in self.chunk_streams[chunk].tolist())
        return ChunkInfo(first, count, oldest, newest, streams, loud, (sizes[0], sizes[1]))

    @property
    def bytes(self) -> int:
        """About how much memory it takes."""
        streams = sum(len(one) for one in self.chunk_streams)
        return self.numbers.nbytes + self.extents.nbytes + _STREAM.itemsize * streams + 500 * len(self.streams) + 30_000


class IndexCache(LruCache[int, BlockIndex]):
    """The indexes of blocks that were used last, up to a size in bytes."""

    def __init__(self, limit: int) -> None:
        super().__init__(limit, lambda index: index.bytes)


class Block:
    """
    One block, open for reading.

    It stays readable after its file is removed, as long as somebody refers to it. Opening raises ``CorruptionError``
    when the index is not what was written, and ``StoreError`` when a newer toban wrote the file. Damage is reported
    when it is read first; the block is then ``damaged``.
    """

    def __init__(self, path: Path, cache: IndexCache, report: Callable[[CorruptionError], None]) -> None:
        self.path = path
        self.damaged = False
        self._cache = cache
        # A block that is rewritten has the same name and another index.
        self._cache_id = next(_OPENED)
        self._report = report
        try:
            self.name = BlockName.of(path)
            self._handle = os.open(path, os.O_RDONLY)
            self.close = finalize(self, os.close, self._handle)
            self.size = os.fstat(self._handle).st_size
        except (OSError, ValueError) as error:
            raise CorruptionError(f"logs: {path.name}: {error}") from error
        try:
            index = self._read_index()
        except StoreError:
            self.close()
            raise
        numbers = index.numbers
        self.lines = int(numbers[:, 1].sum())
        self.oldest, self.newest = int(numbers[:, 2].min()), int(numbers[:, 3].max())

    @property
    def index(self) -> BlockIndex:
        """Its index. Raises ``CorruptionError``."""
        index = self._cache.get(self._cache_id)
        if index is None:
            try:
                index = self._read_index()
            except CorruptionError as damage:
                raise self._damage(damage) from damage
            self._cache.put(self._cache_id, index)
        return index

    def chunk(self, number: int) -> StoredChunk:
        """Return a chunk; reading its columns raises ``CorruptionError`` when they are damaged."""
        return StoredChunk(self.index.info(number), partial(self.column, number))

    def column(self, chunk: int, column: Column) -> bytes:
        """Return the bytes of a column. Raises ``CorruptionError``."""
        extent = Extent(*self.index.extents[chunk, column].tolist())
        return self._bytes(extent, column_seed(self.name, chunk, column))

    def may_hold(self, alternatives: Sequence[Terms]) -> Flags:
        """Return which chunks may have all of the terms of one of the alternatives; all when this is not readable."""
        found = np.zeros(len(self.index.numbers), np.bool_)
        try:
            for terms in alternatives:
                found |= self._have_all(places_of(terms))
        except CorruptionError:
            found[:] = True
        return found

    def _have_all(self, places: Sequence[int]) -> Flags:
        have = np.ones(len(self.index.numbers), np.bool_)
        for place in places:
            if not have.any():
                break
            page, row = divmod(place, PAGE_PLACES)
            bits = np.frombuffer(self._page(page), np.uint8)
            # A row has as many bits as there are chunks, and may begin within a byte.
            start = row * len(have)
            some = np.unpackbits(bits[start // 8 : (start + len(have)) // 8 + 1])
            have &= some[start % 8 : start % 8 + len(have)].astype(np.bool_)
        return have

    def _page(self, page: int) -> bytes:
        index = self.index
        length = PAGE_PLACES * len(index.numbers) // 8
        extent = Extent(index.signatures + page * length, length, int(index.page_checksums[page]))
        return self._bytes(extent, column_seed(self.name, page, len(Column)))

    def _bytes(self, extent: Extent, seed: int) -> bytes:
        """Return the bytes of an extent; damage raises ``CorruptionError``, and is reported once for a block."""
        try:
            data = os.pread(self._handle, extent.length, extent.offset)
        except OSError as error:
            raise StoreError(f"logs: {self.path.name}: {error}") from error
        if len(data) == extent.length and crc32(data, seed) == extent.checksum:
            return data
        raise self._damage(CorruptionError(f"logs: {self.path.name}: damaged at byte {extent.offset}"))

    def _damage(self, error: CorruptionError) -> CorruptionError:
        """Report the first damage of the block."""
        if not self.damaged:
            self.damaged = True
            self._report(error)
        return error

    def _read_index(self) -> BlockIndex:
        try:
            return self._decode_index()
        except OSError as error:
            raise StoreError(f"logs: {self.path.name}: {error}") from error
        except (ValueError, KeyError, TypeError, struct.error, cramjam.DecompressionError) as error:
            raise CorruptionError(f"logs: {self.path.name}: its index is unreadable: {error}") from error

    def _decode_index(self) -> BlockIndex:
        footer = os.pread(self._handle, FOOTER.size, max(0, self.size - FOOTER.size))
        offset, length, checksum, footer_sum, magic = FOOTER.unpack(footer)
        start = os.pread(self._handle, len(MAGIC), 0)
        if start == magic and magic.startswith(MAGIC_PREFIX) and magic > MAGIC:
            raise StoreError(f"logs: {self.path.name}: written by a newer toban: run that one or newer")
        if start != magic or magic != MAGIC or crc32(footer[: 8 + 4 + 4]) != footer_sum:
            raise CorruptionError(f"logs: {self.path.name}: truncated, or not a block")
        packed = os.pread(self._handle, length, offset)
        if crc32(packed) != checksum:
            raise CorruptionError(f"logs: {self.path.name}: its index is damaged")
        index = orjson.loads(bytes(cramjam.zstd.decompress(packed)))
        if BlockName(*index["name"]) != self.name:
            raise CorruptionError(f"logs: {self.path.name}: renamed; it was {BlockName(*index['name']).file}")
        self.sealed_at: int = index["sealed_at"]
        return BlockIndex(
            [LogStream(*stream) for stream in index["streams"]],
            np.array(index["chunks"], np.int64),
            [np.array(one, _STREAM) for one in index["chunk_streams"]],
            np.array(index["extents"], np.int64),
            index["signatures"],
            np.array(index["page_checksums"], np.uint32),
        )


def encode_index(
    name: BlockName,
    sealed_at: int,
    chunks: Sequence[ChunkInfo],
    extents: Sequence[Sequence[Extent]],
    signatures: int,
    page_checksums: Sequence[int],
) -> bytes:
    """Return the stored form of an index."""
    streams = {stream: place for place, stream in enumerate(dict.fromkeys(one for it in chunks for one in it.streams))}
    index: dict[str, Any] = {
        "name": list(name),
        "sealed_at": sealed_at,
        "streams": list(map(tuple, streams)),
        "chunks": [(it.first, it.count, it.oldest, it.newest, it.loud, *it.sizes) for it in chunks],
        "chunk_streams": [[streams[stream] for stream in it.streams] for it in chunks],
        "extents": [list(map(tuple, one)) for one in extents],
        "signatures": signatures,
        "page_checksums": page_checksums,
    }
    return bytes(cramjam.zstd.compress(orjson.dumps(index), level=3))
