"""Divides a query into what the store can select by itself, and the stages that are left to run line by line."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from toban.core.log_line import LogStream
from toban.core.matchers import Matcher, MatchOperator, matches_all
from toban.logs.line_store import LinePosition, LineSelection, StoredLine, TextFilter
from toban.logs.logql.records import STREAM_LABELS, TRACE_ID, Record, record_of, stream_labels
from toban.logs.logql.stages import RunStage, compile_stages, run_stages
from toban.logs.logql.syntax_tree import (
    BothConditions,
    Condition,
    Decolorize,
    LabelFilter,
    LabelFormat,
    LabelSelection,
    LineFilter,
    LineFormat,
    LogQuery,
    Stage,
    TextCondition,
)
from toban.logs.text_filter import compile_filter, searched_text


@dataclass(slots=True)
class Plan:
    """
    How a query is executed.

    The store selects streams by ``matchers``, lines by ``filters`` and ``trace_id``; ``stages`` are left.
    """

    matchers: tuple[Matcher, ...]
    filters: list[TextFilter] = field(default_factory=list)
    trace_id: str = ""
    stages: list[Stage] = field(default_factory=list)

    def selects(self, stream: LogStream) -> bool:
        """Tell whether a stream matches."""
        return matches_all(self.matchers, stream_labels(stream))

    def selection(
        self, start: int, end: int, before: LinePosition | None = None, after: LinePosition | None = None
    ) -> LineSelection:
        """Return what the store selects within a range of time (milliseconds)."""
        return LineSelection(start, end, self.selects, tuple(self.filters), self.trace_id, before, after)


def plan(query: LogQuery) -> Plan:
    """
    Return how a query is executed.

    A line filter is left to the store until a stage changes the line, and a label filter on a stream's labels until a
    stage may change these. Parsers change neither.
    """
    result = Plan(query.matchers)
    is_line_original = are_labels_original = are_lines_unparsed = True
    for stage in query.stages:
        match stage:
            case LineFilter(filter=text_filter) if is_line_original:
                if not _matches_all(text_filter):
                    result.filters.append(text_filter)
                continue
            case LabelFilter(condition=condition) if are_labels_original:
                result.stages += _rest(condition, result, may_have_trace_id=are_lines_unparsed)
                continue
            case LineFormat() | Decolorize():
                is_line_original = False
            case LabelFormat() | LabelSelection():
                are_labels_original = False
            case LineFilter() | LabelFilter():
                pass
            case _:
                are_lines_unparsed = False
        result.stages.append(stage)
    return result


def _matches_all(text_filter: TextFilter) -> bool:
    """Tell whether a filter matches every line: Grafana's query builder writes such ones."""
    return not text_filter.is_negated and "" in text_filter.texts


def _rest(condition: Condition, result: Plan, *, may_have_trace_id: bool) -> Iterator[LabelFilter]:
    """Move the conditions on stream labels and the trace id to a plan, and return what is left."""
    match condition:
        case BothConditions(left=left, right=right):
            yield from _rest(left, result, may_have_trace_id=may_have_trace_id)
            yield from _rest(right, result, may_have_trace_id=may_have_trace_id)
        case TextCondition(matcher=matcher) if matcher.name in STREAM_LABELS:
            result.matchers = (*result.matchers, matcher)
        case TextCondition(matcher=matcher) if (
            may_have_trace_id
            and matcher.name == TRACE_ID
            and matcher.operator is MatchOperator.EQUAL
            and matcher.value
            and not result.trace_id
        ):
            result.trace_id = matcher.value
        case _:
            yield LabelFilter(condition)


class LinePipeline:
    """Runs what is left of a query over the lines that the store has selected."""

    def __init__(self, stages: Sequence[Stage]) -> None:
        self._stages: Sequence[RunStage] = compile_stages(stages)

    def run(self, stored: StoredLine) -> Record | None:
        """Return the record of a line, None for one that is filtered out."""
        return self.changed(record_of(stored.line))

    def changed(self, record: Record) -> Record | None:
        """Return a record as the stages have changed it, None for one that is filtered out."""
        return record if run_stages(self._stages, record) else None


def line_matcher(found: Plan) -> Callable[[StoredLine], bool]:
    """Return a function that selects lines as the store does, for lines that are just being stored."""
    filters = [compile_filter(it) for it in found.filters]

    def matches(stored: StoredLine) -> bool:
        line = stored.line
        if not found.selects(line.stream) or (found.trace_id and line.trace_id != found.trace_id):
            return False
        if not filters:
            return True
        text = searched_text(line)
        return all(matches_filter(text) for matches_filter in filters)

    return matches
