"""LogsQL: what of a query VictoriaLogs selects, and what it can count."""

import pytest

from toban.core.errors import BadQueryError
from toban.core.matchers import Matcher, MatchOperator
from toban.logs.logql.parser import parse_log_query, parse_metric_query
from toban.logs.logql.printer import print_query
from toban.logs.logql.simple_search import parse_search
from toban.logs.logql.syntax_tree import RangeAggregation
from toban.logs.outside.logsql import parse_time, print_filters, print_time
from toban.logs.outside.selection import outside_selection
from toban.logs.outside.victorialogs_client import check_countable

SHOP = (Matcher("shop", MatchOperator.EQUAL, "mine"),)
TIMES = "_time:[1970-01-01T00:00:00.000000000Z, 1970-01-01T00:00:01.000000001Z)"


@pytest.mark.parametrize(
    ("query", "logql", "logsql"),
    [
        ("", '{level=~".+"}', f'{{level=~"^(?:.+)$"}} {TIMES}'),
        (
            'payment -"done (x)" level:error',
            '{level="error"} |~ "(?i)payment" !~ "(?i)done\\\\ \\\\(x\\\\)"',
            f'{{level="error"}} {TIMES} (_msg:~"(?i)payment") !(_msg:~"(?i)done\\\\ \\\\(x\\\\)")',
        ),
        (
            '{service_name=~"a|b", detected_level!="info"} |= "a.b" or "c" |~ "x.*y"',
            '{service=~"a|b", level!="info"} |= "a.b" or "c" |~ "(?s)x.*y"',
            f'{{service=~"^(?:a|b)$",level!="info"}} {TIMES} (_msg:~"a\\\\.b" or _msg:~"c") (_msg:~"(?s)x.*y")',
        ),
        (
            '{service="api"} | trace_id="ab" | order="A\\"1" and (status=~"5.." or status="404")',
            '{service="api"} | trace_id="ab" | order="A\\"1" | status=~"5.." or status="404"',
            f'{{service="api"}} {TIMES} "trace_id":="ab" "order":="A\\"1" ("status":~"^(?:5..)$" or "status":="404")',
        ),
        # A missing label, a number, a name that may stand for another, and what a stage has changed are decided here.
        (
            '{service="api"} | order!="A" | status > 5 | order_id="1" | code="x" | json | path="/"',
            '{service="api"} | code="x"',
            f'{{service="api"}} {TIMES} "code":="x"',
        ),
        ('{service="api"} | json | order="A1"', '{service="api"}', f'{{service="api"}} {TIMES}'),
        ('{service="api"} | a="1" or b!="2"', '{service="api"}', f'{{service="api"}} {TIMES}'),
    ],
)  # fmt: skip
def test_a_selection_is_written_in_both_languages(query: str, logql: str, logsql: str):
    selection = outside_selection(parse_search(query), ())
    assert print_query(selection.query) == logql
    assert parse_log_query(logql)
    assert print_filters(selection, 0, 1_000_000_001) == logsql


def test_streams_can_be_limited_to_those_of_one_shop():
    assert print_query(outside_selection(parse_search(""), SHOP).query) == '{shop="mine"}'
    assert print_query(outside_selection(parse_search("level:warn"), SHOP).query) == '{shop="mine", level="warn"}'


@pytest.mark.parametrize("nanoseconds", [0, 1, 1_767_225_600_000_000_000, 1_767_225_600_123_456_789])
def test_times_have_nanoseconds(nanoseconds: int):
    assert parse_time(print_time(nanoseconds)) == nanoseconds


def test_times_are_read_as_go_prints_them():
    assert parse_time("2026-01-01T00:00:00Z") == 1_767_225_600_000_000_000
    assert parse_time("2026-01-01T00:00:00.12Z") == 1_767_225_600_120_000_000


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ('sum_over_time({a="b"} | unwrap seconds [1m])', "| unwrap seconds"),
        ('count_over_time({a="b"} | json [1m])', "| json"),
        ('count_over_time({a="b"} | regexp "(?P<x>a)" [1m])', '| regexp "(?P<x>a)"'),
        ('count_over_time({a="b"} | status > 500 [1m])', "| status > 500"),
        ('count_over_time({a="b"} | order!="A" [1m])', '| order!="A"'),
        ('count_over_time({a="b"} | drop order | order="A" [1m])', '| order="A"'),
        ('count_over_time({a="b"} | line_format "x" |= "y" [1m])', '| line_format "x"'),
    ],
)
def test_what_can_not_be_counted_there_is_named(query: str, named: str):
    root = parse_metric_query(query)
    assert isinstance(root, RangeAggregation)
    with pytest.raises(BadQueryError, match="not supported there") as raised:
        check_countable(root, "victorialogs")
    assert named in str(raised.value)


@pytest.mark.parametrize("query", ['{a="b"} |= "x" | order="A" | drop __error__', '{a="b"} | trace_id="ab"'])
def test_what_can_be_counted_there_is_accepted(query: str):
    root = parse_metric_query(f"count_over_time({query}[1m])")
    assert isinstance(root, RangeAggregation)
    check_countable(root, "victorialogs")
