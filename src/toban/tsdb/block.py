"""
Blocks: immutable files that hold the samples of some series over one span of time.

A file is ``magic, tiles and times…, index, footer``. Tiles are at most 128 series wide and some 500 times long, so that
a query decodes little more than it selects. The index is one line of JSON with the offsets, then one line for each
series. Its checksum is in the footer; a tile's checksum covers the block's name, its position, its times' checksum, the
names of its series, and its values.
"""

import itertools
import os
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple
from weakref import finalize
from zlib import crc32

import cramjam
import numpy as np
import orjson
from numpy.typing import NDArray

from toban.core.errors import StoreError
from toban.core.samples import ABSENT, MetricFamily
from toban.tsdb.corruption import CorruptionError
from toban.tsdb.family_codec import decode_family
from toban.tsdb.lru import LruCache
from toban.tsdb.series_merge import Int64Array, Read, SeriesPiece, Values
from toban.tsdb.value_codec import unpack, unpack_times

MAGIC_PREFIX: Final = b"TOBANTS"
MAGIC: Final = MAGIC_PREFIX + b"2"
EARLIER_MAGIC: Final = (MAGIC_PREFIX + b"1",)
"""Earlier formats that are still read: the first had no rows of decimal places."""

FOOTER: Final = struct.Struct("<QIII8s")
TILE_SERIES: Final = 128
"""Series in one tile at most."""
TILE_VALUES: Final = 2**16
"""Values in one tile at most."""
SUFFIX: Final = ".block"

_OPENED = itertools.count()

Intern = Callable[[Sequence[bytes]], Int64Array]


class BlockName(NamedTuple):
    """
    The name of a block's file: its time range, ``start`` included and ``end`` excluded, and its sequence number.

    Of two samples of one series at one time in two blocks, the one with the higher sequence number was written later.
    """

    start: int
    end: int
    sequence: int

    @property
    def file(self) -> str:
        """The file's name."""
        return f"{self.start}-{self.end}-{self.sequence}{SUFFIX}"

    @classmethod
    def of(cls, path: Path) -> "BlockName":
        """Parse a file's name. Raises ``CorruptionError``."""
        try:
            return cls(*(int(part) for part in path.name.removesuffix(SUFFIX).split("-")))
        except (ValueError, TypeError) as error:
            raise CorruptionError(f"tsdb: {path.name}: not the name of a block") from error


class Extent(NamedTuple):
    """Offset and length of some bytes in the file, and their checksum."""

    offset: int
    length: int
    checksum: int


def tile_shape(series: int) -> tuple[int, int]:
    """Return how many series and times a tile of a group holds at most."""
    wide = min(series, TILE_SERIES)
    return wide, TILE_VALUES // wide


def tile_seed(name: BlockName, group: int, tile: int, times: int, lines: Sequence[bytes]) -> int:
    """Return the checksum of all that identifies a tile: a tile's own checksum continues it over the values."""
    return crc32(b"\n".join(lines), crc32(struct.pack("<qqqIII", *name, group, tile, times)))


@dataclass(frozen=True, slots=True, eq=False)
class BlockGroup:
    """Series of a block that share one array of times, and the extents of their tiles."""

    ids: Int64Array
    first: int
    last: int
    count: int
    times: Extent
    tiles: NDArray[np.int64]
    seeds: NDArray[np.int64]

    @property
    def columns(self) -> int:
        """How many tiles cover the times of one row of tiles."""
        return -(-self.count // tile_shape(len(self.ids))[1])


class TileCache(LruCache[tuple[int, int, int], NDArray[Any]]):
    """The tiles that were used last, decoded, up to a size in bytes."""

    def __init__(self, limit: int) -> None:
        super().__init__(limit, lambda tile: tile.nbytes)


class Block:
    """
    One block, open for reading.

    It stays readable after its file is removed, as long as somebody refers to it. Opening raises ``CorruptionError``
    when the index is not what was written, and ``StoreError`` when a newer toban wrote the file. A damaged tile is
    reported when it is read and its values are absent; the block is then ``damaged``.
    """

    def __init__(self, path: Path, intern: Intern, report: Callable[[CorruptionError], None]) -> None:
        self.path = path
        self.damaged = False
        self._report = report
        # A sequence number is used again once the block with the highest is removed; its cached tiles must not be.
        self._cache_id = next(_OPENED)
        self.name = BlockName.of(path)
        try:
            self._handle = os.open(path, os.O_RDONLY)
            self.close = finalize(self, os.close, self._handle)
            self.size = os.fstat(self._handle).st_size
        except OSError as error:
            raise CorruptionError(f"tsdb: {path.name}: {error}") from error
        try:
            self._read_index(intern)
        except StoreError:
            self.close()
            raise
        except (ValueError, KeyError, TypeError, struct.error, cramjam.DecompressionError) as error:
            self.close()
            raise CorruptionError(f"tsdb: {path.name}: its index is unreadable: {error}") from error

    @property
    def ids(self) -> Int64Array:
        """The ids of all its series."""
        return np.concatenate([group.ids for group in self.groups])

    def pieces(self, start: int, end: int, wanted: NDArray[np.bool_] | None, cache: TileCache) -> list[SeriesPiece]:
        """Return the wanted series (a flag for each id; else all) between two times, both included."""
        pieces = []
        for number, group in enumerate(self.groups):
            if group.last < start or group.first > end:
                continue
            if wanted is not None and not wanted[group.ids].any():
                continue
            times = self._times(number, cache)
            ranks = np.full(len(times), self.name.sequence - 2**62)
            piece = SeriesPiece(group.ids, times, ranks, self._reader(number, cache)).between(start, end)
            piece = piece.only(wanted) if piece and wanted is not None else piece
            if piece:
                pieces.append(piece)
        return pieces

    def verify(self) -> None:
        """Read everything once, and report what is damaged."""
        for number, group in enumerate(self.groups):
            if len(self._times(number)):
                for tile in range(len(group.tiles)):
                    self._bytes(Extent(*group.tiles[tile].tolist()), int(group.seeds[tile]))

    def _reader(self, number: int, cache: TileCache) -> Read:
        group = self.groups[number]

        def read(rows: NDArray[np.intp], first: int, last: int, into: Values) -> None:
            wide, long = tile_shape(len(group.ids))
            for high in np.unique(rows // wide).tolist():
                here = np.flatnonzero(rows // wide == high)
                inside = rows[here] - high * wide
                for low in range(first // long, (last - 1) // long + 1):
                    tile = self._tile(number, high * group.columns + low, cache)
                    begin, end = max(first, low * long), min(last, (low + 1) * long)
                    part = tile[:, begin - low * long : end - low * long]
                    # Nearly always all series of a tile are wanted, in order: then no row needs to be copied alone.
                    whole = len(inside) == len(tile) and bool((np.diff(inside) == 1).all())
                    rows_out = slice(here[0], here[-1] + 1) if here[-1] - here[0] + 1 == len(here) else here
                    into[rows_out, begin - first : end - first] = part if whole else part[inside]

        return read

    def _tile(self, number: int, tile: int, cache: TileCache) -> Values:
        key = self._cache_id, number, tile
        values = cache.get(key)
        if values is None:
            group = self.groups[number]
            wide, long = tile_shape(len(group.ids))
            high, low = divmod(tile, group.columns)
            rows, columns = min(wide, len(group.ids) - high * wide), min(long, group.count - low * long)
            data = self._bytes(Extent(*group.tiles[tile].tolist()), int(group.seeds[tile]))
            values = unpack(data, rows, columns) if data else np.full((rows, columns), ABSENT)
            cache.put(key, values)
        return values

    def _times(self, number: int, cache: TileCache | None = None) -> Int64Array:
        key, group = (self._cache_id, number, -1), self.groups[number]
        times = None if cache is None else cache.get(key)
        if times is None:
            data = self._bytes(group.times)
            if not data:
                return np.empty(0, np.int64)
            times = unpack_times(data, group.count)
            if cache is not None:
                cache.put(key, times)
        return times

    def _bytes(self, extent: Extent, seed: int = 0) -> bytes:
        """Return the bytes of an extent; damage is reported once for a block, and returns no bytes."""
        try:
            data = os.pread(self._handle, extent.length, extent.offset)
        except OSError as error:
            raise StoreError(f"tsdb: {self.path.name}: {error}") from error
        if len(data) == extent.length and crc32(data, seed) == extent.checksum:
            return data
        if not self.damaged:
            self.damaged = True
            self._report(CorruptionError(f"tsdb: {self.path.name}: damaged at byte {extent.offset}"))
        return b""

    def _read_index(self, intern: Intern) -> None:
        footer = os.pread(self._handle, FOOTER.size, max(0, self.size - FOOTER.size))
        offset, length, checksum, footer_sum, magic = FOOTER.unpack(footer)
        start = os.pread(self._handle, len(MAGIC), 0)
        if start == magic and magic.startswith(MAGIC_PREFIX) and magic > MAGIC:
            raise StoreError(f"tsdb: {self.path.name}: written by a newer toban: run that one or newer")
        if start != magic or magic not in (MAGIC, *EARLIER_MAGIC) or crc32(footer[: 8 + 4 + 4]) != footer_sum:
            raise CorruptionError(f"tsdb: {self.path.name}: truncated, or not a block")
        packed = os.pread(self._handle, length, offset)
        if crc32(packed) != checksum:
            raise CorruptionError(f"tsdb: {self.path.name}: its index is damaged")
        head, *lines = bytes(cramjam.zstd.decompress(packed)).split(b"\n")
        index = orjson.loads(head)
        if BlockName(*index["name"]) != self.name:
            raise CorruptionError(
                f"tsdb: {self.path.name}: renamed; it was written as {BlockName(*index['name']).file}"
            )
        self.sources: tuple[int, ...] = tuple(index["sources"])
        self.families: Mapping[str, MetricFamily] = {row[0]: decode_family(row) for row in index["families"]}
        ids = intern(lines)
        self.groups: tuple[BlockGroup, ...] = tuple(self._groups(index["groups"], lines, ids))

    def _groups(self, groups: Sequence[Any], lines: Sequence[bytes], ids: Int64Array) -> list[BlockGroup]:
        opened, at = [], 0
        for number, (series, first, last, count, times, tiles) in enumerate(groups):
            wide, _ = tile_shape(series)
            table = np.array(tiles, np.int64).reshape(-1, 3)
            group = BlockGroup(
                ids[at : at + series], first, last, count, Extent(*times), table, np.empty(len(table), np.int64)
            )
            for tile in range(len(table)):
                row = at + tile // group.columns * wide
                names = lines[row : min(row + wide, at + series)]
                group.seeds[tile] = tile_seed(self.name, number, tile, times[2], names)
            opened.append(group)
            at += series
        return opened
