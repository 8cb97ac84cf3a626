"""The syntax tree of a query."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeAlias

from toban.core.matchers import Matcher
from toban.logs.line_store import TextFilter


class Unit(StrEnum):
    """How a label's value is read as a number."""

    NUMBER = "number"
    DURATION = "duration"
    BYTES = "bytes"


@dataclass(frozen=True, slots=True)
class LineFilter:
    """``|= "text"`` and its like."""

    filter: TextFilter


@dataclass(frozen=True, slots=True)
class JsonParser:
    """``| json``: all fields become labels, or those of ``fields`` (label, path of keys and places)."""

    fields: tuple[tuple[str, tuple[str | int, ...]], ...] = ()


@dataclass(frozen=True, slots=True)
class LogfmtParser:
    """``| logfmt``: all pairs become labels, or those of ``fields`` (label, key)."""

    fields: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class PatternParser:
    """``| pattern "<ip> - <_>"``: literals, and between them names of labels (empty for ``<_>``)."""

    parts: tuple["PatternPart", ...]


@dataclass(frozen=True, slots=True)
class PatternPart:
    """A part of a pattern: a literal or a capture."""

    literal: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class RegexpParser:
    """``| regexp "(?P<name>…)"``."""

    regex: Any


@dataclass(frozen=True, slots=True)
class TextCondition:
    """``name = "text"``, on a label's text."""

    matcher: Matcher


@dataclass(frozen=True, slots=True)
class NumberCondition:
    """``name > 10s``, on a label's value; seconds for a duration, bytes for a size."""

    name: str
    operator: str
    value: float
    unit: Unit


@dataclass(frozen=True, slots=True)
class BothConditions:
    """``a and b``."""

    left: "Condition"
    right: "Condition"


@dataclass(frozen=True, slots=True)
class EitherCondition:
    """``a or b``."""

    left: "Condition"
    right: "Condition"


Condition: TypeAlias = TextCondition | NumberCondition | BothConditions | EitherCondition


@dataclass(frozen=True, slots=True)
class LabelFilter:
    """A filter on labels."""

    condition: Condition


@dataclass(frozen=True, slots=True)
class LabelSelection:
    """``| drop a, b="c"`` and ``| keep …``: labels by name, or by name and value."""

    names: tuple[str, ...]
    matchers: tuple[Matcher, ...]
    is_kept: bool


@dataclass(frozen=True, slots=True)
class TemplatePart:
    """A part of a template: a text, or the value of a label with functions applied to it."""

    text: str = ""
    name: str = ""
    functions: tuple[str, ...] = ()


Template: TypeAlias = tuple[TemplatePart, ...]


@dataclass(frozen=True, slots=True)
class LabelFormat:
    """``| label_format a=b, c="{{.d}}"``: each label gets the value of another, which is dropped, or of a template."""

    labels: tuple[tuple[str, str | Template], ...]


@dataclass(frozen=True, slots=True)
class LineFormat:
    """``| line_format "{{.a}}"``: the line becomes the value of a template."""

    template: Template


@dataclass(frozen=True, slots=True)
class Decolorize:
    """``| decolorize``: removes the escape sequences of colours."""


@dataclass(frozen=True, slots=True)
class Unwrap:
    """``| unwrap x``: the value of a label is the sample."""

    name: str
    unit: Unit = Unit.NUMBER


Stage: TypeAlias = (
    LineFilter
    | JsonParser
    | LogfmtParser
    | PatternParser
    | RegexpParser
    | LabelFilter
    | LabelSelection
    | LabelFormat
    | LineFormat
    | Decolorize
)


@dataclass(frozen=True, slots=True)
class LogQuery:
    """A query for lines: matchers of streams, and the stages of a pipeline."""

    matchers: tuple[Matcher, ...] = ()
    stages: tuple[Stage, ...] = ()


@dataclass(frozen=True, slots=True)
class Grouping:
    """``by (…)`` or ``without (…)``."""

    labels: tuple[str, ...] = ()
    without: bool = False


@dataclass(frozen=True, slots=True)
class NumberLiteral:
    """A number."""

    value: float


@dataclass(frozen=True, slots=True)
class VectorLiteral:
    """``vector(1)``: one series without labels."""

    value: float


@dataclass(frozen=True, slots=True)
class RangeAggregation:
    """
    A function over the lines of the last ``span`` before each step; times in milliseconds.

    ``unwrap`` says what the samples are, ``filters`` are the label filters after it. ``parameter`` is the quantile.
    ``source`` is the query for its lines as it is written.
    """

    function: str
    query: LogQuery
    span: int
    offset: int = 0
    unwrap: Unwrap | None = None
    filters: tuple[LabelFilter, ...] = ()
    parameter: float = 0.0
    grouping: Grouping | None = None
    source: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class VectorAggregation:
    """``sum by (…) (…)`` and its like; ``parameter`` is how many series ``topk`` keeps."""

    operator: str
    inner: "MetricQuery"
    grouping: Grouping = Grouping()
    parameter: int = 0


@dataclass(frozen=True, slots=True)
class BinaryExpression:
    """
    A binary operator and its sides; with ``bool`` a comparison returns 0 or 1.

    ``sides`` are its sides as they are written.
    """

    operator: str
    left: "MetricQuery"
    right: "MetricQuery"
    bool: bool = False
    sides: tuple[str, str] = field(default=("", ""), compare=False)


MetricQuery: TypeAlias = NumberLiteral | VectorLiteral | RangeAggregation | VectorAggregation | BinaryExpression

Query: TypeAlias = LogQuery | MetricQuery


def range_aggregations(query: MetricQuery) -> Iterator[RangeAggregation]:
    """Return what a query reads."""
    match query:
        case RangeAggregation():
            yield query
        case VectorAggregation(inner=inner):
            yield from range_aggregations(inner)
        case BinaryExpression(left=left, right=right):
            yield from range_aggregations(left)
            yield from range_aggregations(right)
        case _:
            return
