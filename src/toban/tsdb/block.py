"""
Sealed numbers: immutable files that hold some series over one window.

A file is ``magic, tiles and times…, index, footer``. Tiles are at most 128 series wide and some 500 times long, so that
a question decodes little more than it asks for. The index says in one line of JSON what is where, then names each
series in a line of its own. Its checksum stands in the footer; a tile's checksum covers the block's name, its
place, its times' checksum, the names of its series, and its values.
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
from toban.tsdb.series_merge import Numbers, Read, SeriesPiece, Values
from toban.tsdb.value_codec import unpack, unpack_times

SORT: Final = b"TOBANTS"
MAGIC: Final = SORT + b"2"
EARLIER: Final = (SORT + b"1",)
"""Formats that are read too: the first had no rows of decimal places."""

FOOTER: Final = struct.Struct("<QIII8s")
WIDE: Final = 128
LARGE: Final = 2**16
SUFFIX: Final = ".block"

_OPENED = itertools.count()

Intern = Callable[[Sequence[bytes]], Numbers]


class BlockName(NamedTuple):
    """
    What a block's file is called: the times it may hold, from ``start`` up to before ``end``, and its turn.

    Of two numbers at one time in two blocks, the one in the block with the higher turn was written later.
    """

    start: int
    end: int
    turn: int

    @property
    def file(self) -> str:
        """The name of its file."""
        return f"{self.start}-{self.end}-{self.turn}{SUFFIX}"

    @classmethod
    def of(cls, path: Path) -> "BlockName":
        """Read a file's name. Raises ``CorruptionError``."""
        try:
            return cls(*(int(part) for part in path.name.removesuffix(SUFFIX).split("-")))
        except (ValueError, TypeError) as error:
            raise CorruptionError(f"tsdb: {path.name}: no name of a block") from error


class Extent(NamedTuple):
    """Where some bytes lie in the file, and their checksum."""

    offset: int
    length: int
    checksum: int


def tile_shape(series: int) -> tuple[int, int]:
    """Return how many series and times a tile of a group holds at most."""
    wide = min(series, WIDE)
    return wide, LARGE // wide


def tile_seed(name: BlockName, group: int, tile: int, times: int, lines: Sequence[bytes]) -> int:
    """Return the checksum of everything about a tile but its values."""
    return crc32(b"\n".join(lines), crc32(struct.pack("<qqqIII", *name, group, tile, times)))


@dataclass(frozen=True, slots=True, eq=False)
class BlockGroup:
    """One group of a block: series over one array of times, and where their tiles are."""

    ids: Numbers
    first: int
    last: int
    count: int
    times: Extent
    tiles: NDArray[np.int64]
    seeds: NDArray[np.int64]

    @property
    def columns(self) -> int:
        """How many tiles lie side by side in time."""
        return -(-self.count // tile_shape(len(self.ids))[1])


class TileCache(LruCache[tuple[int, int, int], NDArray[Any]]):
    """The tiles decoded last, up to some bytes."""

    def __init__(self, limit: int) -> None:
        super().__init__(limit, lambda tile: tile.nbytes)


class Block:
    """
    One sealed file, open for reading.

    It stays readable for those who hold it after its file is removed. A file whose index is not what was written
    raises ``CorruptionError`` at once, one of a newer toban ``StoreError``. A damaged tile is reported when it is read
    and counts as absent; the block is then ``damaged``.
    """

    def __init__(self, path: Path, intern: Intern, report: Callable[[CorruptionError], None]) -> None:
        self.path = path
        self.damaged = False
        self._report = report
        # Turns come again once the block with the highest is gone; what was decoded of another must not.
        self._nth = next(_OPENED)
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
            raise CorruptionError(f"tsdb: {path.name}: its index can't be read: {error}") from error

    @property
    def ids(self) -> Numbers:
        """All series in it."""
        return np.concatenate([group.ids for group in self.groups])

    def pieces(self, start: int, end: int, wanted: NDArray[np.bool_] | None, cache: TileCache) -> list[SeriesPiece]:
        """Return the wanted series (a flag for each number; else all) between two times, both included."""
        found = []
        for number, group in enumerate(self.groups):
            if group.last < start or group.first > end:
                continue
            if wanted is not None and not wanted[group.ids].any():
                continue
            times = self._times(number, cache)
            ranks = np.full(len(times), self.name.turn - 2**62)
            piece = SeriesPiece(group.ids, times, ranks, self._reader(number, cache)).between(start, end)
            piece = piece.only(wanted) if piece and wanted is not None else piece
            if piece:
                found.append(piece)
        return found

    def verify(self) -> None:
        """Read everything once; what is not what was written is reported."""
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
                    # Nearly always all series of a tile are wanted, in order: then nothing needs picking.
                    whole = len(inside) == len(tile) and bool((np.diff(inside) == 1).all())
                    rows_out = slice(here[0], here[-1] + 1) if here[-1] - here[0] + 1 == len(here) else here
                    into[rows_out, begin - first : end - first] = part if whole else part[inside]

        return read

    def _tile(self, number: int, tile: int, cache: TileCache) -> Values:
        key = self._nth, number, tile
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

    def _times(self, number: int, cache: TileCache | None = None) -> Numbers:
        key, group = (self._nth, number, -1), self.groups[number]
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
        """Return sound bytes; what is damaged is reported once and comes as nothing."""
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
        if start == magic and magic.startswith(SORT) and magic > MAGIC:
            raise StoreError(f"tsdb: {self.path.name}: written by a newer toban: run that one or newer")
        if start != magic or magic not in (MAGIC, *EARLIER) or crc32(footer[: 8 + 4 + 4]) != footer_sum:
            raise CorruptionError(f"tsdb: {self.path.name}: cut short, or no block")
        packed = os.pread(self._handle, length, offset)
        if crc32(packed) != checksum:
            raise CorruptionError(f"tsdb: {self.path.name}: its index is damaged")
        head, *lines = bytes(cramjam.zstd.decompress(packed)).split(b"\n")
        index = orjson.loads(head)
        if BlockName(*index["name"]) != self.name:
            raise CorruptionError(f"tsdb: {self.path.name}: was written as {BlockName(*index['name']).file}")
        self.sources: tuple[int, ...] = tuple(index["sources"])
        self.families: Mapping[str, MetricFamily] = {row[0]: decode_family(row) for row in index["families"]}
        ids = intern(lines)
        self.groups: tuple[BlockGroup, ...] = tuple(self._groups(index["groups"], lines, ids))

    def _groups(self, groups: Sequence[Any], lines: Sequence[bytes], ids: Numbers) -> list[BlockGroup]:
        found, at = [], 0
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
            found.append(group)
            at += series
        return found
