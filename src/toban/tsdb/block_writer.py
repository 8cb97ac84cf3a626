"""Writes a block."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from zlib import crc32

import cramjam
import numpy as np
import orjson

from toban.core.samples import MetricFamily
from toban.tsdb.block import FOOTER, MAGIC, BlockName, Extent, tile_seed, tile_shape
from toban.tsdb.corruption import fsync_folder
from toban.tsdb.family_codec import encode_family
from toban.tsdb.series_index import SeriesIndex, series_key
from toban.tsdb.series_merge import Int64Array, MergedSeries, SeriesPiece, merge
from toban.tsdb.value_codec import pack, pack_times

UNFINISHED: Final = ".tmp"
"""Suffix of a block that is not finished: all its samples are elsewhere too."""


def write_block(
    folder: Path,
    name: BlockName,
    pieces: Sequence[SeriesPiece],
    index: SeriesIndex,
    families: Mapping[str, MetricFamily],
    *,
    sources: Sequence[int] = (),
    pause: Callable[[], None],
) -> Path:
    """
    Write pieces as a block that survives a power cut, and return its file.

    ``sources`` are the sequence numbers of the blocks that it replaces. ``pause`` is called between two tiles; what it
    raises aborts the write. Raises ``OSError``, and what reading the pieces raises; then no file is left.
    """
    path = folder / name.file
    unfinished = path.with_name(path.name + UNFINISHED)
    try:
        with unfinished.open("wb") as file:
            file.write(MAGIC)
            writer = _BlockWriter(file, name, index, pause)
            for group in merge(pieces):
                writer.group(group)
            writer.finish(families, sources)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    fsync_folder(folder)
    return path


class _BlockWriter:
    """Writes groups of series, then the index and the footer."""

    def __init__(self, file: Any, name: BlockName, index: SeriesIndex, pause: Callable[[], None]) -> None:
        self._file = file
        self._name = name
        self._index = index
        self._pause = pause
        self._lines: list[bytes] = []
        self._groups: list[Any] = []
        self._metrics: set[str] = set()

    def group(self, group: MergedSeries) -> None:
        """Write one group, with one tile in memory at a time."""
        labels = {number: self._index.labels(number) for number in group.ids.tolist()}
        # Similar series side by side compress better, and a query of one metric reads few tiles.
        order = sorted(labels, key=lambda number: (labels[number].name, *labels[number].values()))
        ids = np.array(order, np.int64)
        lines = [series_key(labels[number]) for number in order]
        times = self._put(pack_times(group.times), 0)
        tiles = self._tiles(group, ids, times.checksum, lines)
        first, last = int(group.times[0]), int(group.times[-1])
        self._groups.append([len(ids), first, last, len(group.times), list(times), [list(tile) for tile in tiles]])
        self._lines += lines
        self._metrics.update(one.name for one in labels.values())

    def finish(self, families: Mapping[str, MetricFamily], sources: Sequence[int]) -> None:
        """Write the index and the footer."""
        index = orjson.dumps(
            {
                "name": list(self._name),
                "sources": sources,
                "families": [encode_family(family) for name, family in families.items() if self._holds(name)],
                "groups": self._groups,
            }
        )
        packed = cramjam.zstd.compress(b"\n".join([index, *self._lines]), level=3)
        extent = self._put(bytes(packed), 0)
        footer = FOOTER.pack(*extent, 0, MAGIC)
        self._file.write(FOOTER.pack(*extent, crc32(footer[: 8 + 4 + 4]), MAGIC))

    def _holds(self, family: str) -> bool:
        return any(family + suffix in self._metrics for suffix in ("", "_bucket", "_sum", "_count"))

    def _tiles(self, group: MergedSeries, ids: Int64Array, times: int, lines: Sequence[bytes]) -> list[Extent]:
        wide, long = tile_shape(len(ids))
        tiles: list[Extent] = []
        for row in range(0, len(ids), wide):
            for column in range(0, len(group.times), long):
                self._pause()
                some = ids[row : row + wide]
                values = group.values(some, column, min(column + long, len(group.times)))
                seed = tile_seed(self._name, len(self._groups), len(tiles), times, lines[row : row + wide])
                tiles.append(self._put(pack(values), seed))
        return tiles

    def _put(self, data: bytes, seed: int) -> Extent:
        extent = Extent(self._file.tell(), len(data), crc32(data, seed))
        self._file.write(data)
        return extent
