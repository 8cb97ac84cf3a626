"""Queries of rules in PromQL."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from toban.alerting.rule_engines import RuleEngineName
from toban.core.matchers import MatchOperator
from toban.core.ports import Comparison, RuleQuery
from toban.promql import parser
from toban.promql.syntax_tree import ParsedQuery, Range, metric_of, selectors, walk

QueryParser = Callable[[str], RuleQuery]
"""Parses the query of a rule. Raises ``QueryError``."""


@dataclass(frozen=True, slots=True)
class PromqlQuery(ParsedQuery):
    """A ``RuleQuery`` in PromQL, over metrics."""

    @property
    def window(self) -> timedelta:
        """The shortest range that it reads; zero where it reads none."""
        spans = (node.span for node in walk(self.root) if isinstance(node, Range))
        return timedelta(milliseconds=min(spans, default=0))

    def reads(self) -> Sequence[str]:
        """Return the metrics that it reads; ``up`` with its job."""
        found = []
        for selector in selectors(self.root):
            name = metric_of(selector)
            job = next(
                (it.value for it in selector.matchers if it.name == "job" and it.operator is MatchOperator.EQUAL), ""
            )
            found.append(f'{name}{{job="{job}"}}' if name == "up" and job else name)
        return sorted(set(found))

    def comparisons(self) -> Sequence[Comparison]:
        """Return its comparisons that ``and``, ``or`` and ``unless`` combine."""
        return parser.comparisons(self.text)

    def selections(self) -> Sequence[str]:
        """Return its selectors."""
        return parser.selections(self.text)

    def log_queries(self) -> Sequence[str]:
        """Return nothing: it reads metrics."""
        return ()

    def warnings(self) -> Sequence[str]:
        """Return nothing: what is doubtful depends on metrics (``rule_lint``)."""
        return ()


def parse_promql(text: str) -> PromqlQuery:
    """Parse the query of a rule. Raises ``ParseError``."""
    parsed = parser.parse(text)
    return PromqlQuery(parsed.text, parsed.root)


PROMQL_PARSERS: Final[Mapping[RuleEngineName, QueryParser]] = {
    RuleEngineName.EMBEDDED: parse_promql,
    RuleEngineName.OUTSIDE: parse_promql,
}
"""The parsers of the engines over metrics."""
