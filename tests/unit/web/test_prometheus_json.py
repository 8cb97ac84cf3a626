"""Answers written much at a time."""

import json

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from toban.core.labels import Labels
from toban.core.query_result import Points
from toban.web.prometheus_json import array, large, seconds, text_of, texts_of

VALUES = st.one_of(
    st.floats(),
    st.integers(-(2**60), 2**60).map(float),
    st.sampled_from([0.0, -0.0, 10.0, 10.05, 1e-7, 1e-6, 1e20, 1e21, 1e22, 5e-324]),
)
SERIES = st.lists(st.tuples(st.integers(-(2**53), 2**53), VALUES), min_size=1, max_size=9)


@given(st.lists(VALUES, min_size=1))
def test_many_are_written_as_each_would_be(values):
    """
    To the letter.
    """
    assert [text.decode() for text in texts_of(np.array(values))] == [text_of(value) for value in values]


@given(st.lists(SERIES, max_size=4))
def test_series_are_an_array_of_json(series):
    """
    Each with its labels, its times in seconds, and its values as text.
    """
    given_points = [
        Points(
            Labels(__name__='"当番"', n=str(number)),
            np.array([at for at, _ in samples]),
            np.array([value for _, value in samples]),
        )
        for number, samples in enumerate(series)
    ]
    assert json.loads(b"".join(array(given_points, single=False))) == [
        {
            "metric": {"__name__": '"当番"', "n": str(number)},
            "values": [[seconds(at), text_of(value)] for at, value in samples],
        }
        for number, samples in enumerate(series)
    ]


def test_a_vector_has_one_value_each():
    """
    Not a list of them.
    """
    points = Points(Labels(a="b"), np.array([1500]), np.array([2.0]))
    assert json.loads(b"".join(array([points], single=True))) == [{"metric": {"a": "b"}, "value": [1.5, "2"]}]


def test_a_large_answer_comes_in_pieces():
    """
    None is large.
    """
    points = [Points(Labels(n=str(n)), np.arange(1000), np.arange(1000.0)) for n in range(300)]
    found = list(large(array(points, single=False)))
    assert len(found) > 3
    assert max(map(len, found)) < 400_000
    assert len(json.loads(b"".join(found))) == 300
