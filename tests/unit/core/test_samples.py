"""Labels, layouts and batches."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toban.core.errors import BadQueryError
from toban.core.labels import NAME, Labels
from toban.core.matchers import Matcher, MatchOperator, regex_cost
from toban.core.samples import ABSENT, STALE, Batch, Layout, gauge, is_absent, is_stale, layout_of

texts = st.dictionaries(st.text(min_size=1), st.text())


@given(texts)
def test_labels_are_equal_whatever_order_they_come_in(labels):
    """
    So are their hashes, and an empty label is no label.
    """
    one, other = Labels(labels), Labels(reversed(labels.items()))

    assert one == other
    assert hash(one) == hash(other)
    assert list(one) == sorted(name for name, value in labels.items() if value)


def test_labels_never_change():
    """
    They are keys of half the house.
    """
    with pytest.raises(TypeError):
        Labels(a="b")["a"] = "c"


def test_a_series_reads_like_promql():
    """
    Quotes, backslashes and newlines are escaped.
    """
    assert str(Labels({NAME: "up", "job": 'a"b\\c\n'})) == 'up{job="a\\"b\\\\c\\n"}'
    assert str(Labels({NAME: "up"})) == "up"
    assert str(Labels()) == "{}"


def test_the_marks_in_numbers_are_told_apart():
    """
    Staleness and absence are NaNs that survive an array, and no ordinary NaN is one of them.
    """
    values = np.array([STALE, ABSENT, np.nan, 1.0])

    assert is_stale(values).tolist() == [True, False, False, False]
    assert is_absent(values).tolist() == [False, True, False, False]


def test_a_layout_holds_each_series_once():
    """
    A second one of the same labels is a mistake that names it.
    """
    with pytest.raises(ValueError, match=r'up\{job="x"\} is there twice'):
        Layout([Labels({NAME: "up", "job": "x"})] * 2)


def test_a_batch_fits_its_layout():
    """
    As many numbers as series, in float64.
    """
    with pytest.raises(ValueError, match="1 series want as many float64"):
        Batch(Layout([Labels(a="b")]), 0, np.zeros(2))


@pytest.mark.parametrize(
    ("sample", "words"),
    [
        (gauge("a b", "").sample(1), "'a b' is no metric name"),
        (gauge("a", "").sample(1, **{"b-c": "x"}), "a: 'b-c' is no label name"),
        (gauge("a", "").sample(1, __name__="x"), "a: '__name__' is no label name"),
    ],
)
def test_names_that_cannot_be_are_refused(sample, words):
    """
    The message names them.
    """
    with pytest.raises(ValueError, match=words):
        layout_of([sample], {})


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
    Anchored at both ends, the dot takes a newline, and what is missing is empty.
    """
    assert Matcher("x", match, value).matches({"x": text} if text else {}) is met


def test_a_broken_expression_is_named():
    """
    It is the query that is wrong.
    """
    with pytest.raises(BadQueryError, match=r"'a\(' is no regular expression: missing \): a\($"):
        Matcher("x", MatchOperator.REGEX, "a(")


def test_a_bracket_that_closes_what_nobody_opened_is_refused():
    """
    As Prometheus does: it would close what toban puts round the expression.
    """
    with pytest.raises(BadQueryError, match=r"'a\)\(b' is no regular expression: unexpected \): a\)\(b$"):
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
    What is short to write and long to compile is known before it is compiled.
    """
    assert regex_cost(pattern) == 50 + parts


def test_an_expression_that_takes_too_long_is_refused():
    with pytest.raises(BadQueryError, match="too large for a regular expression"):
        Matcher("x", MatchOperator.REGEX, "[^x]{999}" * 20)
