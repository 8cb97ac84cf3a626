"""The index selects the series that testing each one would select."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from toban.core.labels import Labels
from toban.core.matchers import Matcher, MatchOperator, matches_all
from toban.tsdb.series_index import SeriesIndex

NAMES = st.sampled_from(["__name__", "a", "b"])
TEXTS = st.sampled_from(["", "x", "y", "xy"])
SERIES = st.lists(st.dictionaries(NAMES, TEXTS).map(Labels), unique=True, max_size=12)
MATCHERS = st.lists(
    st.builds(Matcher, NAMES, st.sampled_from(MatchOperator), st.sampled_from(["", "x", "y", "x|", "x.*", ".+", ".*"])),
    max_size=3,
)


@given(SERIES, MATCHERS, st.data())
def test_matchers_select_the_same_series_as_testing_each(series, matchers, data):
    """
    Also where a label is missing, and after series were removed and added; a cached selection too.
    """
    index = SeriesIndex()
    ids = index.add(series)
    assert len(index.find(matchers)) == sum(matches_all(matchers, labels) for labels in series)
    removed = data.draw(st.lists(st.sampled_from(series), unique=True)) if series else []
    index.forget(ids[[labels in removed for labels in series]])
    assert not [labels for labels in index.find(matchers).values() if labels in removed]
    added = removed[: len(removed) // 2]
    index.add(added)
    left = [labels for labels in series if labels not in removed or labels in added]

    assert sorted(map(str, index.find(matchers).values())) == sorted(
        str(labels) for labels in left if matches_all(matchers, labels)
    )
    assert len(index) == len(left)


def test_a_series_keeps_its_id():
    """
    Equal labels are one series; an id is not used again.
    """
    index = SeriesIndex()
    (one,) = index.add([Labels(a="x")])
    assert index.add([Labels(a="x"), Labels(a="y")]).tolist() == [one, one + 1]
    index.forget(np.array([one]))

    assert index.add([Labels(a="x")]).tolist() == [one + 2]
