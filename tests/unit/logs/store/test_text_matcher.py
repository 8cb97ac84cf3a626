"""Expressions over many rows at once, and what they ask of signatures."""

import pytest

from toban.core.errors import BadQueryError
from toban.logs.line_store import TextFilter
from toban.logs.store.text_matcher import FilterMatcher, bulk_pattern, literals


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("timeout", ["timeout"]),
        ("took .* in", ["took ", " in"]),
        (r"a\.b\d+cd", ["a.b", "cd"]),
        ("times?", ["time"]),
        ("times*x", ["time", "x"]),
        ("times+", ["times"]),
        ("time{2}s", ["tim", "s"]),
        ("a{b", ["a{b"]),
        ("one|two", []),
        ("x(one|two)y", ["x", "y"]),
        ("(?i)x", []),
        ("(?:a)b", ["b"]),
        ("^[ab]c$", ["c"]),
        ("[[]x]c", ["x]c"]),
        (r"[]\]]c", ["c"]),
        (r"\pLa\p{Greek}b", ["a", "b"]),
        (r"\x41b", []),
        (r"\Qa|b\E", []),
        ("注文.確定", ["注文", "確定"]),
    ],
)
def test_every_match_has_the_literals(pattern, expected):
    assert literals(pattern) == expected


@pytest.mark.parametrize(
    "pattern",
    [
        r"\n", r"a\Ab", r"b\z", "(?m)^a", "(?-s).", "a\nb", r"\x0a", r"[\S]", "[[:space:]]", "[[:^alpha:]]", r"\C",
        r"\Qa\E", r"\r", r"[\t-\r]", r"\012",
    ],
)  # fmt: skip
def test_an_expression_that_could_see_marks_is_searched_row_by_row(pattern):
    assert bulk_pattern(pattern) is None


@pytest.mark.parametrize(
    "pattern", ["a.*b", "^a$", r"\d+\.\d", "(?i:x)(?P<y>z)", "[^a-z]+", r"\[x\]", "a{2,3}", r"\p{Han}"]
)
def test_other_expressions_are_searched_over_all_rows_unchanged(pattern):
    assert bulk_pattern(pattern) == pattern


def test_an_expression_that_costs_too_much_is_refused():
    with pytest.raises(BadQueryError, match="too large"):
        FilterMatcher(TextFilter(("(?:a{900}){900}",), is_regex=True))


@pytest.mark.parametrize(
    ("text_filter", "is_asked"),
    [
        (TextFilter(("timeout",)), True),
        (TextFilter(("timeout",), is_negated=True), False),
        (TextFilter(("timeout", "7")), False),
        (TextFilter(("timeout", "")), False),
        (TextFilter(("TIMEOUT",), ignore_case=True), True),
        (TextFilter(("time.*out",), is_regex=True, ignore_case=True), True),
        (TextFilter(("(time|out)",), is_regex=True), False),
        (TextFilter(("注文が",)), True),
        (TextFilter(("ÉTÉ",), ignore_case=True), False),
    ],
)
def test_signatures_are_asked_where_every_matching_line_has_terms(text_filter, is_asked):
    assert (FilterMatcher(text_filter).alternatives is not None) == is_asked
