"""Reading queries."""

import pytest

from toban.promql.lexer import MAX_LENGTH, MAX_OPERATIONS
from toban.promql.parser import MAX_DEPTH, ParseError, UnsupportedError, parse
from toban.promql.syntax_tree import Aggregation, Anchor, BinaryExpression, Matching, NumberLiteral, Range, Subquery


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sum(",
        "x{a=}",
        "{}",
        '{a=""}',
        '{a!="b"}',
        '{a=~".*"}',
        'x{a="b" or c="d"}',
        "rate(x)",
        "1 and 1",
        "1 > 2",
        "x[5m] + 1",
        "foo(x)",
        "holt_winters(x[5m], 0.5, 0.5)",
        "a and on(x) group_left b",
        "x offset 5m offset 5m",
        'x{__name__="y"}',
        "count_values(1, x)",
    ],
)
def test_queries_that_prometheus_rejects_are_rejected(text: str):
    """
    Such a query is wrong whatever the data, and the error says that it could not be read.
    """
    with pytest.raises(ParseError, match=r"^(\d+:\d+: )?parse error: "):
        parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "mad_over_time(x[5m])",
        "limitk(2, x)",
        "limit_ratio(0.5, x)",
        "info(x)",
        'sort_by_label(x, "a")',
        "histogram_count(x)",
        "histogram_avg(x)",
        "a + fill(0) b",
        "start()",
    ],
)
def test_experimental_features_are_rejected_by_name(text: str):
    """
    Prometheus needs a feature flag or native histograms for it; the error tells it from a mistake.
    """
    with pytest.raises(UnsupportedError):
        parse(text)


def test_a_bad_regular_expression_is_a_bad_query():
    """
    RE2 decides, not the parser's own engine.
    """
    with pytest.raises(ParseError):
        parse('x{a=~"("}')


def test_durations_offsets_and_times_become_milliseconds():
    """
    Signs, fractions, ``@`` before 1970 and the ends of the query are kept.
    """
    node = parse("x[1m30s] offset -5m @ -10.5").root
    assert isinstance(node, Range)
    assert (node.span, node.selector.offset, node.selector.at) == (90_000, -300_000, -10_500)

    node = parse("(x @ -7)[1h:30s] @ end() offset 1m").root
    assert isinstance(node, Subquery)
    assert (node.span, node.step, node.offset, node.at) == (3_600_000, 30_000, 60_000, Anchor.END)


def test_operator_precedence_is_that_of_prometheus():
    """
    The tree has the shape that Prometheus' precedence gives it.
    """
    node = parse("2 ^ 3 ^ 2").root
    assert isinstance(node, BinaryExpression)
    assert node.left == NumberLiteral(2.0)
    assert isinstance(node.right, BinaryExpression)

    node = parse("(2 ^ 3) ^ 2").root
    assert isinstance(node, BinaryExpression)
    assert isinstance(node.left, BinaryExpression)


def test_matching_and_grouping_are_parsed():
    """
    on, ignoring, group_left, by and without arrive with their labels.
    """
    node = parse("a + on (x) group_left (y) b").root
    assert isinstance(node, BinaryExpression)
    assert node.matching == Matching(on=True, labels=("x",), many="left", include=("y",))
    node = parse("sum without (le) (a)").root
    assert isinstance(node, Aggregation)
    assert (node.labels, node.without) == (("le",), True)


@pytest.mark.parametrize(
    "text",
    [
        "(" * 100_000 + "1" + ")" * 100_000,
        "1" + "+1" * 100_000,
        "-" * 100_000 + "1",
        "x" + " or x" * 100_000,
        "(" * (MAX_DEPTH + 2) + "1" + ")" * (MAX_DEPTH + 2),
        "1" + "+1" * (MAX_OPERATIONS - 1),
        "#\r1" + "+1" * 6_500,
        "#\r`\n`" + "+1" * 6_500,
        "x" * (MAX_LENGTH + 1),
        "{" + ",".join(['a=~"[^x]{999}"'] * 6_000) + "}",
    ],
    ids=["brackets", "sums", "signs", "sets", "deep", "long", "comment", "comment and string", "length", "expressions"],
)
def test_an_oversized_query_is_rejected(text: str):
    """
    The parser would overflow its stack, and take the process with it.
    """
    with pytest.raises(ParseError):
        parse(text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("up{", "1:4: parse error: unexpected end of input inside braces"),
        ("foo bar", '1:5: parse error: unexpected identifier "bar"'),
        ("1 +* 2", "1:4: parse error: unexpected <op:*>"),
        ("sum(x) +\n rate(y) +", "2:11: parse error: unexpected end of input"),
        ("a + foo(1)", '1:5: parse error: unknown function with name "foo"'),
        (
            "rate(x[5m]) + rate(x)",
            '1:15: parse error: expected type range vector in call to function "rate", got instant vector',
        ),
        ("sum(rate(x[5m]) by (a)", "1:4: parse error: unclosed left parenthesis"),
        ('up{a="\\q"}', '1:6: parse error: unknown escape sequence "q"'),
        ("up{job=}", '1:8: parse error: unexpected "}"'),
        ("x[5m:1x]", "1:6: parse error: bad number or duration syntax: 1x"),
        ('{a=~"("}', "1:5: parse error: illegal regex for ("),
        ("sum by (a b) (x)", '1:11: parse error: unexpected identifier "b"'),
        ("x offset foo", '1:10: parse error: unexpected identifier "foo"'),
        ("x and on (a) bool y", '1:19: parse error: unexpected identifier "y"'),
        ("up 'a", "1:4: parse error: unterminated quoted string"),
        ("1_000 + 2 3", '1:11: parse error: unexpected number "3"'),
    ],
)
def test_a_syntax_error_has_line_and_column(text: str, says: str):
    """
    Line and column, counted from 1, as Prometheus tells them.
    """
    with pytest.raises(ParseError) as caught:
        parse(text)

    assert str(caught.value) == says


@pytest.mark.parametrize(
    "text",
    ["x[1e300]", "x[41e18]", "x @ 1e300", "x @ 1e17", "x offset 1e18", "x[599999999y]", "x[300y]", "x[1m:1e30]"],
)
def test_a_time_out_of_range_is_rejected(text: str):
    """
    However the parser itself takes it: by an error, by a panic, or not at all.
    """
    with pytest.raises(ParseError):
        parse(text)


def test_operators_in_strings_do_not_count_as_tokens():
    """
    A long list of values in a regular expression is no monster.
    """
    names = "|".join(f"shop-{number}" for number in range(1000))
    parse(f'sum(x{{name=~"{names}"}}) # {"-" * 1000}')


@pytest.mark.parametrize(
    ("text", "value"),
    [("1_000_000", 1e6), (".123_456", 0.123456), ("0x_53_AB", 0x53AB), ("1_0.2_5", 10.25), ("1_2e10", 12e10)],
)
def test_long_numbers_may_have_underscores(text, value):
    """
    As in Prometheus since 2.54.
    """
    assert parse(text).root == NumberLiteral(value)


@pytest.mark.parametrize("text", ["1__0", "1_", "_1 + 1_.5", "1_e3", "0x_", "1._5"])
def test_underscores_are_allowed_between_digits_only(text):
    """
    Nowhere else.
    """
    with pytest.raises(ParseError):
        parse(text)


def test_underscores_elsewhere_are_unchanged():
    """
    In names, texts and comments.
    """
    root = parse("x_1_0{a_1_2='1_0'} # 1_0").root
    assert [str(matcher) for matcher in root.matchers] == ['__name__="x_1_0"', 'a_1_2="1_0"']
