"""Adding up without losing digits."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from toban.promql.compensated_sums import compensated_add, continue_sums

TERMS = st.floats() | st.sampled_from([1e308, -1e308, 1e-300, 1.0, np.inf, -np.inf])


@given(arrays(np.float64, array_shapes(min_dims=2, max_dims=2, max_side=8), elements=TERMS), st.integers(0, 8))
def test_vectorized_sums_equal_sequential_ones(rows, at):
    """
    To the last bit, wherever the terms are cut in two, also where the sum overflows or is no number.
    """
    with np.errstate(all="ignore"):
        expected = np.zeros(len(rows)), np.zeros(len(rows))
        for term in rows.T:
            expected = compensated_add(term, *expected)
        half = continue_sums(rows[:, :at], np.zeros(len(rows)), np.zeros(len(rows)))
        total, lost = continue_sums(rows[:, at:], *half)

    assert np.array_equal(total, expected[0], equal_nan=True)
    assert np.array_equal(lost, expected[1], equal_nan=True)
