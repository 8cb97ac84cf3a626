"""JSON of Prometheus' API, formatted in arrays."""

import json

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from toban.core.labels import Labels
from toban.core.query_result import ResultSeries
from toban.web.prometheus_json import join_pieces, sample_text, sample_texts, series_array, timestamp_seconds

VALUES = st.one_of(
    st.floats(),
    st.integers(-(2**60), 2**60).map(float),
    st.sampled_from([0.0, -0.0, 10.0, 10.05, 1e-7, 1e-6, 1e20, 1e21, 1e22, 5e-324]),
)
SERIES = st.lists(st.tuples(st.integers(-(2**53), 2**53), VALUES), min_size=1, max_size=9)


@given(st.lists(VALUES, min_size=1))
def test_arrays_are_formatted_as_single_values_are(values):
    """
    To the letter.
    """
    assert [text.decode() for text in sample_texts(np.array(values))] == [sample_text(value) for value in values]


@given(st.lists(SERIES, max_size=4))
def test_series_are_an_array_of_json(series):
    """
    Each with its labels, its times in seconds, and its values as text.
    """
    given_points = [
        ResultSeries(
            Labels(__name__='"当番"', n=str(number)),
            np.array([at for at, _ in samples]),
            np.array([value for _, value in samples]),
        )
        for number, samples in enumerate(series)
    ]
    assert json.loads(b"".join(series_array(given_points, single=False))) == [
        {
            "metric": {"__name__": '"当番"', "n": str(number)},
            "values": [[timestamp_seconds(at), sample_text(value)] for at, value in samples],
        }
        for number, samples in enumerate(series)
    ]


def test_a_vector_has_one_value_each():
    """
    Not a list of them.
    """
    points = ResultSeries(Labels(a="b"), np.array([1500]), np.array([2.0]))
    assert json.loads(b"".join(series_array([points], single=True))) == [{"metric": {"a": "b"}, "value": [1.5, "2"]}]


def test_a_large_response_is_written_in_chunks():
    """
    None is large.
    """
    points = [ResultSeries(Labels(n=str(n)), np.arange(1000), np.arange(1000.0)) for n in range(300)]
    found = list(join_pieces(series_array(points, single=False)))
    assert len(found) > 3
    assert max(map(len, found)) < 400_000
    assert len(json.loads(b"".join(found))) == 300
