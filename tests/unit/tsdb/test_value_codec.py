"""Values are compressed without loss of a bit."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from toban.core.samples import ABSENT, STALE
from toban.tsdb.value_codec import pack, pack_times, unpack, unpack_times

VALUES = st.one_of(
    st.sampled_from([ABSENT, STALE, 0.0, -0.0, np.inf, -np.inf, 2.0**53, -(2.0**53), 1e300, 5e-324]),
    st.integers(-(2**53), 2**53).map(float),
    st.integers(0, 300).map(float),
    st.floats(width=64),
    st.decimals(-(10**9), 10**9, places=2).map(float),
)


def same(left: np.ndarray, right: np.ndarray) -> bool:
    return left.shape == right.shape and bool((left.view(np.uint64) == right.view(np.uint64)).all())


@given(arrays(np.float64, array_shapes(min_dims=2, max_dims=2, max_side=12), elements=VALUES))
def test_values_are_restored_bit_for_bit(values):
    """
    Floats, markers, gaps between integers, and NaNs of any bits.
    """
    assert same(unpack(pack(values), *values.shape), values)


@given(st.lists(st.integers(-(2**51), 2**51), min_size=1, max_size=30, unique=True))
def test_times_are_restored(times):
    """
    Any increasing milliseconds.
    """
    array = np.array(sorted(times), np.int64)

    assert (unpack_times(pack_times(array), len(array)) == array).all()


@given(
    arrays(np.int64, array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.integers(-(2**53), 2**53)),
    st.integers(0, 8),
)
def test_decimals_are_restored_bit_for_bit(whole, places):
    """
    Of few or many decimal places, also large ones.
    """
    values = whole / 10.0**places

    assert same(unpack(pack(values), *values.shape), values)


def test_decimals_take_as_little_as_integers():
    """
    Values of two places take no more than their hundredfold as integers, but for a few bytes.
    """
    hundreds = np.round(np.cumsum(np.random.default_rng(1).normal(0, 50, (8, 400)) + 1, axis=1)) + 0.0

    assert len(pack(hundreds / 100)) < len(pack(hundreds)) + 20


def test_a_gap_takes_hardly_any_bytes_in_a_row_of_integers():
    """
    A counter with a gap stays a row of small differences.
    """
    values = np.arange(0.0, 4800.0, 10.0)[None, :].repeat(8, axis=0)
    gaps = values.copy()
    gaps[:, 100:200] = ABSENT
    gaps[3, 300] = STALE

    assert len(pack(gaps)) < len(pack(values)) + 120
    assert same(unpack(pack(gaps), *gaps.shape), gaps)
