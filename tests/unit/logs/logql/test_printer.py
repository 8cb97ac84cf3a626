"""Printing of LogQL: what is printed is parsed to the same tree."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toban.core.matchers import Matcher, MatchOperator
from toban.logs.line_store import TextFilter
from toban.logs.logql.lexer import KEYWORDS, MAX_LENGTH
from toban.logs.logql.parser import AGGREGATIONS, OVER_SAMPLES, parse
from toban.logs.logql.printer import print_query
from toban.logs.logql.simple_search import parse_search
from toban.logs.logql.syntax_tree import (
    BinaryExpression,
    BothConditions,
    Decolorize,
    EitherCondition,
    Grouping,
    JsonParser,
    LabelFilter,
    LabelFormat,
    LabelSelection,
    LineFilter,
    LineFormat,
    LogfmtParser,
    LogQuery,
    NumberCondition,
    NumberLiteral,
    PatternParser,
    PatternPart,
    RangeAggregation,
    TemplatePart,
    TextCondition,
    Unit,
    Unwrap,
    VectorAggregation,
    VectorLiteral,
)
from toban.logs.logql.templates import FUNCTIONS, LINE

NAMES = st.from_regex(r"[a-z_][a-z0-9_]{0,5}", fullmatch=True).filter(lambda it: it not in {*KEYWORDS, "ip", "bool"})
TEXTS = st.text(st.characters(exclude_categories=("Cs",)), max_size=8)
REGEXES = st.sampled_from(["", ".*", "a|b", r"\d+\"x", "^é$", r"(?i)\Qa.b\E", "[\\n\\t ]"])
EQUAL = (MatchOperator.EQUAL, MatchOperator.NOT_EQUAL)
MATCHERS = st.builds(Matcher, NAMES, st.sampled_from(EQUAL), TEXTS) | st.builds(
    Matcher, NAMES, st.sampled_from([it for it in MatchOperator if it not in EQUAL]), REGEXES
)
SELECTORS = st.lists(MATCHERS, max_size=2).map(lambda it: (Matcher("level", MatchOperator.EQUAL, "error"), *it))
NUMBERS = st.floats(allow_nan=False, allow_infinity=False).filter(
    lambda it: abs(it) < 1e60 and (not it or abs(it) > 1e-60)
)


def tuples(values: st.SearchStrategy[Any], least: int = 0) -> st.SearchStrategy[Any]:
    return st.lists(values, min_size=least, max_size=3).map(tuple)


LINE_FILTERS = st.builds(TextFilter, tuples(TEXTS, 1), st.just(False), st.booleans()) | st.builds(
    TextFilter, tuples(REGEXES, 1), st.just(True), st.booleans()
)
CONDITIONS = st.recursive(
    st.builds(TextCondition, MATCHERS)
    | st.builds(
        NumberCondition, NAMES, st.sampled_from(["==", "!=", ">", ">=", "<", "<="]), NUMBERS, st.sampled_from(Unit)
    ),
    lambda inner: st.builds(BothConditions, inner, inner) | st.builds(EitherCondition, inner, inner),
    max_leaves=5,
)
KEYS = NAMES | st.sampled_from(["x-id", "a b", r"\"q\"", "é", "0", ""]) | st.integers(0, 99)
LITERALS = st.text(st.characters(exclude_characters="{}<>", exclude_categories=("Cs",)), min_size=1, max_size=5)
VALUES = st.builds(
    TemplatePart, name=NAMES | st.just(LINE), functions=tuples(st.sampled_from(sorted(FUNCTIONS)))
)  # fmt: skip
TEMPLATES = st.tuples(VALUES, st.builds(TemplatePart, text=LITERALS), VALUES) | st.tuples(VALUES) | st.just(())
PATTERNS = st.tuples(
    st.builds(PatternPart, literal=LITERALS),
    st.builds(PatternPart, name=NAMES.filter(lambda it: it != "_")),
    st.builds(PatternPart, literal=LITERALS),
    st.builds(PatternPart, name=NAMES.map(lambda it: "" if it == "_" else it)),
)
FORMATS = st.dictionaries(NAMES, NAMES | TEMPLATES, min_size=1, max_size=3).map(lambda it: tuple(it.items()))
LABEL_FILTERS = st.builds(LabelFilter, CONDITIONS)
STAGES = st.one_of(
    st.builds(LineFilter, LINE_FILTERS),
    LABEL_FILTERS,
    st.builds(JsonParser, tuples(st.tuples(NAMES, tuples(KEYS, 1)))),
    st.builds(LogfmtParser, tuples(st.tuples(NAMES, TEXTS))),
    st.builds(PatternParser, PATTERNS),
    st.builds(LabelSelection, tuples(NAMES, 1), tuples(MATCHERS), st.booleans()),
    st.builds(LabelFormat, FORMATS),
    st.builds(LineFormat, TEMPLATES),
    st.just(Decolorize()),
)


def is_a_query(stages: tuple[Any, ...]) -> bool:
    """Tell whether a text can say it: `| drop a != "b"` drops one value of a label, and has no filter."""
    return not any(
        isinstance(one, LabelSelection) and not one.matchers and isinstance(next_one, LineFilter)
        and next_one.filter.is_negated
        for one, next_one in pairwise(stages)
    )  # fmt: skip


LOG_QUERIES = st.builds(LogQuery, SELECTORS, tuples(STAGES).filter(is_a_query))
GROUPINGS = st.builds(Grouping, tuples(NAMES), st.booleans())
SPANS = st.integers(1, 10**9) | st.sampled_from([1_000, 60_000, 90_000, 3_600_000, 86_400_000])
OFFSETS = st.just(0) | st.integers(-(10**9), 10**9)
OVER_LINES = st.builds(
    RangeAggregation,
    st.sampled_from(["count_over_time", "rate", "bytes_over_time", "bytes_rate", "absent_over_time"]),
    LOG_QUERIES,
    SPANS,
    OFFSETS,
)
OVER_UNWRAPPED = st.builds(
    RangeAggregation,
    st.sampled_from(sorted(OVER_SAMPLES - {"sum_over_time", "quantile_over_time"})),
    LOG_QUERIES,
    SPANS,
    OFFSETS,
    st.builds(Unwrap, NAMES, st.sampled_from(Unit)),
    tuples(LABEL_FILTERS),
    st.just(0.0),
    st.none() | GROUPINGS,
)
QUANTILES = st.builds(
    RangeAggregation,
    st.just("quantile_over_time"),
    LOG_QUERIES,
    SPANS,
    unwrap=st.builds(Unwrap, NAMES),
    parameter=st.floats(0, 1),
)
LEAVES = OVER_LINES | OVER_UNWRAPPED | QUANTILES | st.builds(VectorLiteral, NUMBERS)


def binary(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    numbers = st.builds(NumberLiteral, NUMBERS | st.sampled_from([float("inf"), float("-inf")]))
    arithmetic, comparisons = st.sampled_from("+-*/%^"), st.sampled_from(["==", "!=", ">", ">=", "<", "<="])
    return st.one_of(
        st.builds(BinaryExpression, arithmetic | st.sampled_from(["and", "or", "unless"]), inner, inner),
        st.builds(BinaryExpression, comparisons, inner, numbers | inner, st.booleans()),
        st.builds(BinaryExpression, arithmetic, numbers, inner),
    )


METRIC_QUERIES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds(
            VectorAggregation, st.sampled_from(sorted(AGGREGATIONS - {"topk", "bottomk"})), inner, GROUPINGS
        ),
        st.builds(VectorAggregation, st.just("topk"), inner, GROUPINGS, st.integers(1, 99)),
        binary(inner),
    ),
    max_leaves=4,
)  # fmt: skip


@given(LOG_QUERIES | METRIC_QUERIES)
def test_what_is_printed_is_parsed_to_the_same_query(query: Any):
    text = print_query(query)
    if len(text) <= MAX_LENGTH:
        assert parse(text) == query


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ('{ a = "b",c=~`d.*` }|=`x "y"` or "z"', '{a="b", c=~"d.*"} |= "x \\"y\\"" or "z"'),
        ('{a="b"} | json | order="A1",status>=500 or (x="y" z>1h30m)', None),
        ('{a="b"} | json id="request.headers[\\"x-id\\"][0]", order', None),
        (
            'sum by(level)(count_over_time({a="b"}[90s] offset -1d))',
            'sum by (level) (count_over_time({a="b"} [90s] offset -1d))',
        ),
        ('{a="b"} | regexp "(?P<order>[A-Z]+\\\\d)"', '{a="b"} | regexp "(?P<order>[A-Z]+\\\\d)"'),
        ('{a="b"} | pattern "<ip> - <_>"', '{a="b"} | pattern "<ip> - <_>"'),
        ('{a="b"} | label_format x=y, z="{{lower .q}}-{{ __line__ }}"', None),
        ('topk(3, rate({a="b"} | logfmt | unwrap bytes(size) | __error__="" [1m]))', None),
        ("1 / 0", "(1 / 0)"),
        ("0 / 0", "(0 / 0)"),
        ("-2 * (vector(1) - vector(-1) ^ 0.5)", None),
    ],
)
def test_texts_that_people_write_are_printed_in_one_form(query: str, text: str | None):
    printed = print_query(parse(query))
    assert text is None or printed == text
    assert print_query(parse(printed)) == printed


def test_a_filter_that_ignores_case_is_printed_as_an_expression():
    query = parse_search('level:error,warn "Payment (failed)" -done @order:A1')
    assert print_query(query) == (
        '{level=~"error|warn"} |~ "(?i)Payment\\\\ \\\\(failed\\\\)" !~ "(?i)done" | order="A1"'
    )
