"""Decoded tiles are kept within bounds."""

import numpy as np

from toban.tsdb.blocks import Cache


def test_what_was_wanted_longest_ago_makes_room():
    """
    The cache never holds more than its limit, and what is too large for it is not held.
    """
    cache = Cache(limit=24)
    one, other = np.zeros(1), np.ones(2)
    cache.put((1, 0, 0), one)
    cache.put((2, 0, 0), other)
    assert cache.get((1, 0, 0)) is one
    cache.put((3, 0, 0), one)

    assert cache.get((2, 0, 0)) is None
    assert cache.get((1, 0, 0)) is cache.get((3, 0, 0)) is one
    cache.put((4, 0, 0), np.zeros(9))
    assert cache.get((4, 0, 0)) is None
