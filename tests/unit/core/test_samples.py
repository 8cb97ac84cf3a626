"""Labels, layouts and batches."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toban.core.errors import BadQueryError
from toban.core.labels import NAME, Labels
from toban.core.matchers import Matcher, MatchOperator, regex_cost
from toban.core.samples import (
    ABSENT,
    STALE,
    Batch,
    Layout,
    UndeclaredLabelsWarning,
    gauge,
    is_absent,
    is_stale,
    layout_of,
)

texts = st.dictionaries(st.text(min_size=1), st.text())


@given(texts)
def test_labels_are_equal_in_any_order(labels):
    """
    So are their hashes, and an empty label is no label.
    """
    one, other = Labels(labels), Labels(reversed(labels.items()))

    assert one == other
    assert hash(one) == hash(other)
    assert list(one) == sorted(name for name, value in labels.items() if value)


def test_labels_are_immutable():
    with pytest.raises(TypeError):
        Labels(a="b")["a"] = "c"


def test_a_series_is_written_as_in_promql():
    """
    Quotes, backslashes and newlines are escaped.
    """
    assert str(Labels({NAME: "up", "job": 'a"b\\c\n'})) == 'up{job="a\\"b\\\\c\\n"}'
    assert str(Labels({NAME: "up"})) == "up"
    assert str(Labels()) == "{}"


def test_staleness_marker_absent_and_nan_are_distinguished():
    """
    Both are NaNs that survive an array, and no ordinary NaN is one of them.
    """
    values = np.array([STALE, ABSENT, np.nan, 1.0])

    assert is_stale(values).tolist() == [True, False, False, False]
    assert is_absent(values).tolist() == [False, True, False, False]


def test_a_layout_with_a_duplicate_series_is_an_error():
    with pytest.raises(ValueError, match=r'^duplicate series up\{job="x"\}$'):
        Layout([Labels({NAME: "up", "job": "x"})] * 2)


def test_a_batch_has_a_float64_value_for_each_series():
    with pytest.raises(ValueError, match="1 series need as many float64 values"):
        Batch(Layout([Labels(a="b")]), 0, np.zeros(2))


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        (gauge("a b", "").sample(1), "invalid metric name 'a b'"),
        (gauge("a", "").sample(1, **{"b-c": "x"}), "a: invalid label name 'b-c'"),
        (gauge("a", "").sample(1, __name__="x"), "a: invalid label name '__name__'"),
        (gauge("a", "").sample(1, job="x"), "a: the label job is set by the target"),
    ],
)
def test_samples_with_invalid_names_are_an_error(sample, message):
    with pytest.raises(ValueError, match=message):
        layout_of([sample], {"job": "shop"})


def test_samples_with_undeclared_or_missing_labels_are_warned_of_and_kept():
    heat = gauge("heat", "", labels=("room",), optional_labels=("floor",))
    with pytest.warns(UndeclaredLabelsWarning, match="^heat: undeclared label house, missing label room$"):
        layout = layout_of([heat.sample(20, house="1")], {"job": "shop"})
    assert layout.series == (Labels({NAME: "heat", "house": "1", "job": "shop"}),)
    assert len(layout_of([heat.sample(20, room="a"), heat.sample(20, room="a", floor="1", instance="b")], {})) == 2


@pytest.mark.parametrize(
    ("match", "value", "text", "met"),
    [
        (MatchOperator.EQUAL, "a", "a", True),
        (MatchOperator.NOT_EQUAL, "a", "", True),
        (MatchOperator.REGEX, "a|b", "b", True),
        (MatchOperator.REGEX, "a", "ab", False),
        (MatchOperator.REGEX, "a.b", "a\nb", True),
        (MatchOperator.REGEX, "(?i)A", "a", True),
        (MatchOperator.NOT_REGEX, ".+", "", True),
    ],
)
def test_matchers_compare_as_prometheus_does(match, value, text, met):
    """
    Anchored at both ends, the dot matches a newline, and a missing label is empty.
    """
    assert Matcher("x", match, value).matches({"x": text} if text else {}) is met


def test_an_invalid_regular_expression_is_a_bad_query():
    with pytest.raises(BadQueryError, match=r"^invalid regular expression 'a\(': missing \): a\($"):
        Matcher("x", MatchOperator.REGEX, "a(")


def test_an_unopened_bracket_in_a_regular_expression_is_an_error():
    """
    As in Prometheus: it would close the bracket that anchors the expression.
    """
    with pytest.raises(BadQueryError, match=r"^invalid regular expression 'a\)\(b': unexpected \): a\)\(b$"):
        Matcher("x", MatchOperator.REGEX, "a)(b")
    assert Matcher("x", MatchOperator.REGEX, "a.b").matches({"x": "a\nb"})


@pytest.mark.parametrize(
    ("pattern", "parts"),
    [
        ("abc", 3),
        ("(ab{3}){10}", 40),
        ("[^x]{999}", 9_990),
        (r"\d{3}|[]a]", 41),
        (r"\{5}", 12),
        ("((a{30}){30}){30}", 27_000),
        ("[" * 50_000, 10),
        ("(" * 50_000, 0),
        ("{1" * 30_000, 60_000),
    ],
)
def test_the_cost_of_an_expression_is_that_of_its_repeated_parts(pattern: str, parts: int):
    """
    A short expression may take long to compile; its cost is known before.
    """
    assert regex_cost(pattern) == 50 + parts


def test_a_regular_expression_that_costs_too_much_is_an_error():
    with pytest.raises(BadQueryError, match=r"^regular expression .* is too large$"):
        Matcher("x", MatchOperator.REGEX, "[^x]{999}" * 20)
