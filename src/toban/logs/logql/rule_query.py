"""Queries of rules over log lines."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from toban.core.config_types import format_duration
from toban.core.ports import Comparison
from toban.logs.logql.operators import COMPARISONS, SET_OPERATORS
from toban.logs.logql.parser import parse_metric_query
from toban.logs.logql.syntax_tree import (
    BinaryExpression,
    JsonParser,
    LogfmtParser,
    MetricQuery,
    PatternParser,
    RangeAggregation,
    RegexpParser,
    range_aggregations,
)

PARSERS: Final = (JsonParser, LogfmtParser, PatternParser, RegexpParser)
"""The stages that make labels of a line."""


@dataclass(frozen=True, slots=True)
class LogRuleQuery:
    """A ``RuleQuery`` in LogQL: a query for series, over log lines."""

    text: str
    root: MetricQuery = field(compare=False, repr=False)

    @property
    def window(self) -> timedelta:
        """The shortest range that it reads; zero where it reads none."""
        return timedelta(milliseconds=min((it.span for it in range_aggregations(self.root)), default=0))

    def reads(self) -> Sequence[str]:
        """Return its selectors."""
        return sorted({_selector(it) for it in range_aggregations(self.root)})

    def comparisons(self) -> Sequence[Comparison]:
        """Return its comparisons that ``and``, ``or`` and ``unless`` combine."""
        return list(_comparisons(self.root))

    def selections(self) -> Sequence[str]:
        """Return queries that count the lines of each stream that it selects, whatever its pipelines keep of them."""
        return list(dict.fromkeys(map(_stream_counts, range_aggregations(self.root))))

    def log_queries(self) -> Sequence[str]:
        """Return queries for the log lines that it counts."""
        return list(dict.fromkeys(it.source for it in range_aggregations(self.root)))

    def warnings(self) -> Sequence[str]:
        """Return a warning for each aggregation whose lines fall apart into series by the values that are parsed."""
        return [
            f"`{it.source}` has a series for each combination of the values that it parses, and counts each by itself:"
            " aggregate it, like `sum by (service) (…)`"
            for it in _ungrouped(self.root)
            if any(isinstance(stage, PARSERS) for stage in it.query.stages)
        ]


def parse_rule_query(text: str) -> LogRuleQuery:
    """Parse the query of a rule. Raises ``ParseError``, also for a query for lines."""
    return LogRuleQuery(text, parse_metric_query(text))


def _selector(aggregation: RangeAggregation) -> str:
    return f"{{{', '.join(map(str, aggregation.query.matchers))}}}"


def _stream_counts(aggregation: RangeAggregation) -> str:
    offset = f" offset {_duration(aggregation.offset)}" if aggregation.offset else ""
    return f"count_over_time({_selector(aggregation)}[{_duration(aggregation.span)}]{offset})"


def _duration(milliseconds: int) -> str:
    sign = "-" if milliseconds < 0 else ""
    return sign + format_duration(timedelta(milliseconds=abs(milliseconds)))


def _ungrouped(query: MetricQuery) -> Iterator[RangeAggregation]:
    """Return the range aggregations whose series no aggregation of series puts together."""
    if isinstance(query, RangeAggregation) and query.grouping is None:
        yield query
    elif isinstance(query, BinaryExpression):
        yield from _ungrouped(query.left)
        yield from _ungrouped(query.right)


def _comparisons(query: MetricQuery) -> Iterator[Comparison]:
    if isinstance(query, BinaryExpression) and query.operator in COMPARISONS:
        yield Comparison(query.sides[0], query.operator, query.sides[1])
    elif isinstance(query, BinaryExpression) and query.operator in SET_OPERATORS:
        yield from _comparisons(query.left)
        yield from _comparisons(query.right)
