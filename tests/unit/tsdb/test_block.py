"""Blocks, and the bounded cache of their tiles."""

from functools import partial

import numpy as np

from toban.core.labels import Labels
from toban.tsdb.block import Block, BlockName, TileCache
from toban.tsdb.block_writer import write_block
from toban.tsdb.series_index import SeriesIndex
from toban.tsdb.series_merge import SeriesPiece


def test_the_least_recently_used_tile_is_evicted():
    """
    The cache never exceeds its limit, and a tile that is larger is not cached.
    """
    cache = TileCache(limit=24)
    one, other = np.zeros(1), np.ones(2)
    cache.put((1, 0, 0), one)
    cache.put((2, 0, 0), other)
    assert cache.get((1, 0, 0)) is one
    cache.put((3, 0, 0), one)

    assert cache.get((2, 0, 0)) is None
    assert cache.get((1, 0, 0)) is cache.get((3, 0, 0)) is one
    cache.put((4, 0, 0), np.zeros(9))
    assert cache.get((4, 0, 0)) is None


def test_cached_tiles_are_not_those_of_another_block_of_the_same_name(tmp_path):
    """
    A sequence number is used again once the block with the highest is removed; its tiles in the cache are not.
    """
    cache, index, found = TileCache(limit=1_000), SeriesIndex(), []
    ids = index.add([Labels(__name__="load")])
    for number in (1.0, 2.0):
        (folder := tmp_path / str(number)).mkdir()
        piece = SeriesPiece(ids, np.array([int(number)]), np.array([1]), partial(_filled, number))
        path = write_block(folder, BlockName(0, 10, 1), [piece], index, {}, pause=lambda: None)
        block = Block(path, lambda lines: ids, found.append)
        (read,) = block.pieces(0, 10, None, cache)
        values = np.empty((1, 1))
        read.read(np.array([0]), 0, 1, values)
        assert (read.times.tolist(), values.tolist()) == ([number], [[number]])
    assert found == []


def _filled(number, rows, low, high, into) -> None:
    into[:] = number
