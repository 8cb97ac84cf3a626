"""
What an engine outside selects for a query: the lines that the query may find. The query itself runs over them here.

So a query finds the same there as over toban's own store, whatever its stages do, with one exception: the text in which
line filters search has no facts there.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from toban.core.matchers import Matcher, MatchOperator
from toban.logs.line_store import TextFilter
from toban.logs.logql.plan import plan
from toban.logs.logql.records import TRACE_ID
from toban.logs.logql.syntax_tree import (
    BothConditions,
    Condition,
    EitherCondition,
    LabelFilter,
    LineFilter,
    LogQuery,
    Stage,
    TextCondition,
)

ALIASES: Final = {"service_name": "service", "detected_level": "level"}
"""toban's other names of labels, and those under which the labels are sent."""

ANY_LEVEL: Final = Matcher("level", MatchOperator.REGEX, ".+")
"""Selects all lines that toban has sent: an engine wants a matcher at least."""


@dataclass(frozen=True, slots=True)
class OutsideSelection:
    """Matchers of streams, filters over the text of a line, and conditions on metadata: all must hold."""

    matchers: tuple[Matcher, ...]
    filters: tuple[TextFilter, ...] = ()
    conditions: tuple[Condition, ...] = ()

    @property
    def query(self) -> LogQuery:
        """The selection as a query."""
        return LogQuery(
            self.matchers, (*(LineFilter(it) for it in self.filters), *(LabelFilter(it) for it in self.conditions))
        )


def outside_selection(query: LogQuery, labels: tuple[Matcher, ...]) -> OutsideSelection:
    """Return what selects the lines that a query may find; ``labels`` select all that it may read."""
    found = plan(query)
    conditions = list(_leading_conditions(found.stages))
    if found.trace_id:
        conditions.insert(0, TextCondition(Matcher(TRACE_ID, MatchOperator.EQUAL, found.trace_id)))
    filters = tuple(_with_newlines(it) for it in found.filters)
    return OutsideSelection(outside_matchers(found.matchers, labels), filters, tuple(conditions))


def _with_newlines(text_filter: TextFilter) -> TextFilter:
    """Return a filter whose ``.`` matches a newline too, as here."""
    texts = tuple(f"(?s){text}" for text in text_filter.texts) if text_filter.is_regex else text_filter.texts
    return replace(text_filter, texts=texts)


def outside_matchers(matchers: tuple[Matcher, ...], labels: tuple[Matcher, ...]) -> tuple[Matcher, ...]:
    """Return matchers by the names under which labels are sent, and at least one that an empty label does not match."""
    renamed = (Matcher(ALIASES.get(it.name, it.name), it.operator, it.value) for it in matchers)
    found = (*labels, *renamed)
    return found if any(not it.accepts("") for it in found) else (*found, ANY_LEVEL)


def _leading_conditions(stages: list[Stage]) -> Iterator[Condition]:
    """Yield what can be selected of the label filters before the first stage that changes labels or lines."""
    for stage in stages:
        if not isinstance(stage, LabelFilter):
            return
        if (condition := selectable(stage.condition)) is not None:
            yield condition


def selectable(condition: Condition) -> Condition | None:
    """
    Return a condition that all lines meet that meet a given one, and that an engine can decide; None without one.

    A label is sent under the name of its fact, which is another one where that has a dot or a dash, or lies within
    another fact: names with ``_`` may stand for such. A missing label, and a comparison of numbers, fail otherwise
    there.
    """
    match condition:
        case TextCondition(matcher=matcher) if "_" not in matcher.name and not matcher.accepts(""):
            return condition
        case BothConditions(left=left, right=right):
            both = [it for it in (selectable(left), selectable(right)) if it is not None]
            return BothConditions(*both) if len(both) == 2 else both[0] if both else None
        case EitherCondition(left=left, right=right):
            one, other = selectable(left), selectable(right)
            return None if one is None or other is None else EitherCondition(one, other)
        case _:
            return None
