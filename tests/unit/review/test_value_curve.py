"""The curve of a rule's values."""

from datetime import timedelta

import numpy as np
import pytest

from tests.fakes import FakeClock
from toban.core.samples import milliseconds
from toban.review.value_curve import POINTS, value_curve

BEGIN = FakeClock().now()


@pytest.mark.parametrize(("lowest", "expected"), [(False, 9.0), (True, -9.0)])
def test_each_point_has_the_worst_value_of_its_part(lowest, expected):
    times = milliseconds(BEGIN) + np.arange(129_600, dtype=np.int64) * 60_000
    values = np.ones(len(times))
    values[70_000], values[70_001] = 9.0, -9.0
    found = value_curve(times, values, BEGIN, BEGIN + timedelta(days=90), lowest=lowest)
    assert len(found.values) == POINTS
    assert {it: found.values.count(it) for it in set(found.values)} == {1.0: POINTS - 1, expected: 1}
    place = found.values.index(expected)
    assert found.begins + place * found.step <= times[70_000] < found.begins + (place + 1) * found.step


def test_a_part_without_values_is_a_gap():
    times = milliseconds(BEGIN) + np.array([0, 1_000], np.int64)
    found = value_curve(times, np.array([1.0, 2.0]), BEGIN, BEGIN + timedelta(days=90), lowest=False)
    assert found.values[0] == 2.0 and set(found.values[1:]) == {None}
