"""Queries of rules over log lines: what a rule needs to know of them."""

from datetime import timedelta

import pytest

from toban.core.errors import BadQueryError
from toban.core.ports import Comparison
from toban.logs.logql.parser import parse_log_query, parse_metric_query
from toban.logs.logql.rule_query import parse_rule_query

BARE_RATE = 'rate({a="b"}[5m])'


def test_the_shortest_range_and_the_selectors_are_those_of_all_its_parts():
    query = parse_rule_query(
        'sum(rate({service="a"} |= "x" [1h])) > 3 and sum(rate({service=~"b.+", level!="info"}[5m])) > 0'
    )
    assert query.window == timedelta(minutes=5)
    assert query.reads() == ['{service="a"}', '{service=~"b.+", level!="info"}']
    assert parse_rule_query("vector(1)").window == timedelta()


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ('sum(rate({a="b"}[5m])) > 3', [('sum(rate({a="b"}[5m]))', ">", "3")]),
        ('3 < bool rate({a="b"}[5m])', [("3", "<", 'rate({a="b"}[5m])')]),
        ('(rate({a="b"}[5m]) >= 1 + 2) or vector(1) < 2', [(BARE_RATE, ">=", "1 + 2"), ("vector(1)", "<", "2")]),
        ('rate({a="b"}[5m]) / rate({a=~".+"}[5m]) > 0.5', [('rate({a="b"}[5m]) / rate({a=~".+"}[5m])', ">", "0.5")]),
        ('sum(rate({a="b"}[5m]) > 3)', []),
        ('rate({a="b"} | size > 3 or duration < 1s [5m])', []),
        ("1 > 0", []),
    ],
)  # fmt: skip
def test_comparisons_have_their_sides_as_they_are_written(query, expected):
    """
    Each side is a query by itself; conditions within a pipeline or an aggregation are none of them.
    """
    found = parse_rule_query(query).comparisons()
    assert found == [Comparison(*it) for it in expected]
    for one in found:
        parse_metric_query(one.left)
        parse_metric_query(one.right)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ('sum(count_over_time({a="b"} | json | level="error" [5m])) > 3', ['{a="b"} | json | level="error"']),
        ('count_over_time(({a="b"} |= `x`)[5m])', ['{a="b"} |= `x`']),
        ('count_over_time({a="b"}[5m] |= "x" | json)', ['{a="b"} |= "x" | json']),
        ('count_over_time({a="b"} | json [5m] offset 1h |= "x")', ['{a="b"} | json |= "x"']),
        ('sum_over_time({a="b"} | json | unwrap bytes(size) | __error__="" [5m])', ['{a="b"} | json']),
        ('sum_over_time({a="b"}[5m] | json | unwrap size | size > 3)', ['{a="b"} | json']),
        ('rate({a="b"}[5m]) / rate({a="b"}[1h]) * rate({a="c"}[5m])', ['{a="b"}', '{a="c"}']),
        ("vector(1)", []),
    ],
)
def test_the_lines_that_it_counts_are_found_by_queries_of_their_own(query, expected):
    """
    As they are written, without `unwrap` and what follows it.
    """
    found = parse_rule_query(query).log_queries()
    assert found == expected
    for one in found:
        parse_log_query(one)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ('rate({a="b"} | json | c="d" [90s] offset 1h)', ['count_over_time({a="b"}[1m30s] offset 1h)']),
        ('rate({a="b"}[1500ms] offset -5m)', ['count_over_time({a="b"}[1s500ms] offset -5m)']),
        ('rate({a=~"x\\\\.\\"y\\n"}[5m])', ['count_over_time({a=~"x\\\\.\\"y\\n"}[5m])']),
    ],
)
def test_its_streams_are_counted_by_queries_that_are_valid(query, expected):
    found = parse_rule_query(query).selections()
    assert found == expected
    assert [it for one in found for it in parse_rule_query(one).selections()] == found


def test_queries_of_equal_text_are_equal():
    """
    A reload continues the group of an unchanged rule.
    """
    text = 'rate({a="b"} | regexp "(?P<x>.+)" [5m])'
    assert parse_rule_query(text) == parse_rule_query(text)
    assert parse_rule_query(text) != parse_rule_query(f"{text} > 1")


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ('{service="a"} |= "x"', "only metric queries are supported"),
        ("sum(up) > 0", "parse error at line 1, col 5: syntax error: unexpected IDENTIFIER"),
        ('rate({service=~".*"}[5m])', "queries require at least one"),
        ("", "syntax error: unexpected \\$end"),
    ],
)
def test_what_is_no_query_for_series_is_refused(query, error):
    with pytest.raises(BadQueryError, match=error):
        parse_rule_query(query)


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ('count_over_time({a="b"} | json | c="d" [5m]) > 10', 1),
        ('count_over_time({a="b"} | logfmt [5m]) / rate({a="b"} | regexp "(?P<c>.+)" [5m])', 2),
        ('sum by (c) (count_over_time({a="b"} | json | c="d" [5m])) > 10', 0),
        ('max_over_time({a="b"} | json | unwrap c [5m]) by (a) > 10', 0),
        ('count_over_time({a="b"} |= "c" [5m]) > 10', 0),
    ],
)
def test_a_count_that_falls_apart_by_what_is_parsed_is_doubtful(query, count):
    assert len(parse_rule_query(query).warnings()) == count
