"""Parsing of LogQL."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toban.core.errors import BadQueryError
from toban.logs.logql.lexer import ParseError
from toban.logs.logql.parser import parse, parse_log_query, parse_matchers, parse_metric_query
from toban.logs.logql.syntax_tree import LogQuery, NumberLiteral
from toban.logs.logql.token_reader import MAX_DEPTH

EMPTY = (
    "parse error : queries require at least one regexp or equality matcher that does not have an empty-compatible "
    'value. For instance, app=~".*" does not meet this requirement, but app=~".+" will'
)


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ("", "parse error at line 1, col 1: syntax error: unexpected $end"),
        ("foo", "parse error at line 1, col 1: syntax error: unexpected IDENTIFIER"),
        ('{foo="bar"', "parse error at line 1, col 11: syntax error: unexpected $end, expecting } or ,"),
        ('{foo="bar}', "parse error at line 1, col 6: literal not terminated"),
        ('{foo="bar"} |~', "parse error at line 1, col 15: syntax error: unexpected $end, expecting STRING or ip"),
        ('{foo="bar"} "foo"', "parse error at line 1, col 13: syntax error: unexpected STRING"),
        ('{foo="bar"} foo', "parse error at line 1, col 13: syntax error: unexpected IDENTIFIER"),
        ('unk({ foo = "bar" }[5m])', "parse error at line 1, col 1: syntax error: unexpected IDENTIFIER"),
        (
            'rate({ foo = "bar" }[5minutes])',
            'parse error at line 1, col 21: not a valid duration string: "5minutes"',
        ),
        ('rate({ foo = "bar" }[5)', "parse error at line 1, col 21: missing closing ']' in duration"),
        ('min({ foo = "bar" }[5m])', "parse error at line 1, col 20: syntax error: unexpected RANGE"),
        (
            'absent_over_time({ foo = "bar" }[5h]) by (foo)',
            "parse error : grouping not allowed for absent_over_time aggregation",
        ),
        ('sum_over_time({a="b"}[5m])', "parse error : invalid aggregation sum_over_time without unwrap"),
        (
            'count_over_time({a="b"} | unwrap x [5m])',
            "parse error : invalid aggregation count_over_time with unwrap",
        ),
        ("{}", EMPTY),
        ('{a=~".*"}', EMPTY),
        ('{a!="b"}', EMPTY),
        ('{a="b"}\n  | level ~', "parse error at line 2, col 11: syntax error: unexpected IDENTIFIER"),
    ],
)
def test_errors_are_those_of_loki(query: str, error: str):
    with pytest.raises(ParseError) as raised:
        parse(query)
    assert str(raised.value) == error


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ('{a="b"} | unpack', "unpack"),
        ('{a="b"} |> "<_>x"', "|>"),
        ('{a="b"} |= ip("10.0.0.1")', "ip filters"),
        ('{a="b"} | x = ip("10.0.0.1")', "ip filters"),
        ('{a="b"} | logfmt --strict', "--strict"),
        ('label_replace(rate({a="b"}[5m]), "x", "$1", "a", ".*")', "label_replace"),
        ('sum(rate({a="b"}[5m])) / on (a) sum(rate({a="b"}[5m]))', "on"),
        ('{a="b"} | line_format "{{ if .x }}y{{ end }}"', "if"),
        ('{a="b"} | line_format "{{ .x | sha1sum }}"', "sha1sum"),
    ],
)
def test_what_is_not_supported_is_named(query: str, name: str):
    with pytest.raises(ParseError, match="not supported") as raised:
        parse(query)
    assert name in str(raised.value)


@pytest.mark.parametrize(
    ("query", "value"),
    [("1 + 2 * 3", 7), ("2 ^ 3 ^ 0.5", 2 ** (3**0.5)), ("(1 + 2) * -3", -9), ("1 > bool 2", 0), ("5 % 3", 2)],
)
def test_numbers_are_calculated_by_precedence(query: str, value: float):
    assert parse(query) == NumberLiteral(pytest.approx(value))


@pytest.mark.parametrize(
    "query",
    [
        r'{a="b"} |= "\"\x41\u3042\n"',
        '{a="b"} |= `\\d` != "x" or "y"',
        '{a="b"} | x="1", y>2 and (z<10s or w>=5KB) # a comment',
        '{a="b"} | json x="a.b[0][\\"c d\\"]", y | logfmt | pattern "<a> <_>" | regexp "(?P<x>.)"',
        '{a="b"} | drop a, b="c" | keep d | label_format x=y, z="{{.a | lower}}" | line_format `{{.x}} {{__line__}}`',
        'sum by (x) (count_over_time({a="b"}[12h] |= "error"))',
        'quantile_over_time(0.99, ({a="b"} | json | unwrap duration(x) | __error__="")[5m] offset 1h) without (y)',
        'topk(3, sum without () (rate({a="b"}[1m]))) > 5 or vector(0)',
        '{a="b"} | rate="a"',
    ],
)
def test_the_language_is_accepted(query: str):
    parse(query)


def test_a_deep_query_is_rejected():
    """
    The parser and the evaluator recurse.
    """
    for query in ("(" * 100_000, f'{{a="b"}} | {"(" * 50_000}', "1^" * 40_000 + "1", "-" * 99_000 + "1"):
        with pytest.raises(ParseError):
            parse(query)
    assert isinstance(parse("(" * (MAX_DEPTH - 2) + "1" + ")" * (MAX_DEPTH - 2)), NumberLiteral)


def test_a_query_has_one_kind():
    assert isinstance(parse_log_query('{a="b"}'), LogQuery)
    for parse_kind, query in ((parse_log_query, "vector(1)"), (parse_metric_query, '{a="b"}')):
        with pytest.raises(ParseError, match="only"):
            parse_kind(query)


def test_matchers_alone_may_select_everything():
    assert parse_matchers("") == parse_matchers("{}") == ()
    assert [str(it) for it in parse_matchers('{a="b", c!~"d"}')] == ['a="b"', 'c!~"d"']
    with pytest.raises(ParseError, match="only label matchers are supported"):
        parse_matchers('{a="b"} |= "x"')


_PARTS = st.sampled_from(
    [
        "{", "}", "(", ")", ",", "=", "!=", "=~", "!~", "|=", "|~", "|", ">", "<=", "==", "+", "-", "^", "by",
        "or", "and", "a", "level", "sum", "topk", "rate", "count_over_time", "quantile_over_time", "vector",
        "json", "logfmt", "pattern", "regexp", "drop", "keep", "label_format", "line_format", "unwrap", "offset",
        "bool", "duration",
        '"b"', "`c`", '"{{.x}}"', '"<a> <b>"', '"("', "[5m]", "[]", "[5", "10s", "5KB", "1.5", "3", '"', "`", "\\", " ",
    ]
)  # fmt: skip  # a table reads better than a column


@given(st.lists(_PARTS, max_size=30).map(" ".join) | st.lists(_PARTS, max_size=30).map("".join) | st.text(max_size=80))
def test_any_text_is_a_query_or_an_error_of_logql(text: str):
    for parse_any in (parse, parse_matchers):
        try:
            parse_any(text)
        except BadQueryError as error:
            assert str(error)
