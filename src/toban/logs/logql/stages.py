"""Runs the stages of a pipeline over records."""

import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import orjson

from toban.core.matchers import Matcher
from toban.logs.logql.quantities import parse_quantity
from toban.logs.logql.records import ERROR, Record, fact_labels, flattened, label_name, label_value
from toban.logs.logql.syntax_tree import (
    BothConditions,
    Condition,
    Decolorize,
    EitherCondition,
    JsonParser,
    LabelFilter,
    LabelFormat,
    LabelSelection,
    LineFilter,
    LineFormat,
    LogfmtParser,
    NumberCondition,
    PatternParser,
    PatternPart,
    RegexpParser,
    Stage,
    TextCondition,
)
from toban.logs.logql.templates import LINE, render
from toban.logs.text_filter import compile_filter

RunStage: TypeAlias = Callable[[Record], bool]
"""Runs a stage: changes the record, and tells whether the line stays."""

_COMPARE: Final[dict[str, Callable[[float, float], bool]]] = {
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}
_PAIR: Final = re.compile(r'([^\s="]+)(?:=("(?:\\.|[^"\\])*"|[^\s"]*))?')
_QUOTED: Final = re.compile(r"\\(.)", re.DOTALL)
_COLORS: Final = re.compile(r"\x1b\[[0-9;]*m")


def compile_stages(stages: Iterable[Stage]) -> Sequence[RunStage]:
    """Return functions that run stages."""
    return [_COMPILERS[type(stage)](stage) for stage in stages]


def run_stages(stages: Sequence[RunStage], record: Record) -> bool:
    """Run stages over a record, and tell whether its line stays."""
    return all(run(record) for run in stages)


def _line_filter(stage: LineFilter) -> RunStage:
    matches = compile_filter(stage.filter)
    return lambda record: matches(record.text)


def _json(stage: JsonParser) -> RunStage:
    def run(record: Record) -> bool:
        fields = _fields_of(record)
        if fields is None:
            record.fail("JSONParserErr", "the line is not JSON, and has no facts")
        elif stage.fields:
            values = {name: _value_at(fields, path) for name, path in stage.fields}
            record.parse({name: label_value(value) for name, value in values.items() if value is not None})
        else:
            _parse_facts(record)
            if fields is not record.line.facts:
                record.parse(flattened(fields))
        return True

    return run


def _fields_of(record: Record) -> Mapping[str, Any] | None:
    """
    Return the fields of a line in JSON, or the facts of one that was parsed when it arrived; None for other text.

    A program's JSON becomes the message, the fields and the facts of its line: such a line is no text in JSON any more.
    """
    if record.text.startswith("{"):
        try:
            fields = orjson.loads(record.text)
        except ValueError:
            return None
        return {**record.line.facts, **fields} if isinstance(fields, dict) else None
    return record.line.facts if record.line.facts or record.line.context else None


def _value_at(fields: Any, path: Sequence[str | int]) -> Any:
    for key in path:
        if isinstance(key, str) and isinstance(fields, Mapping):
            fields = fields.get(key)
        elif isinstance(key, int) and isinstance(fields, list | tuple) and key < len(fields):
            fields = fields[key]
        else:
            return None
    return fields


def _parse_facts(record: Record) -> None:
    """Make the facts parsed labels; they are no metadata then."""
    if record.line.facts:
        facts = {name: value for name, value in fact_labels(record.line).items() if record.metadata.get(name) == value}
        record.metadata = {name: value for name, value in record.metadata.items() if name not in facts}
        record.parsed = {**record.parsed, **facts}


def _logfmt(stage: LogfmtParser) -> RunStage:
    def run(record: Record) -> bool:
        pairs = {key: value for key, quoted in _PAIR.findall(record.text) if (value := _unquoted(quoted))}
        if stage.fields:
            facts = flattened(record.line.facts)
            values = {name: pairs.get(key) or facts.get(label_name(key)) for name, key in stage.fields}
            record.parse({name: value for name, value in values.items() if value})
        else:
            _parse_facts(record)
            record.parse({label_name(key): value for key, value in pairs.items()})
        return True

    return run


def _unquoted(value: str) -> str:
    if not value.startswith('"'):
        return value
    return _QUOTED.sub(lambda found: {"n": "\n", "t": "\t", "r": "\r"}.get(found[1], found[1]), value[1:-1])


def _pattern(stage: PatternParser) -> RunStage:
    def run(record: Record) -> bool:
        record.parse(captured(stage.parts, record.text))
        return True

    return run


def captured(parts: Sequence[PatternPart], text: str) -> dict[str, str]:
    """Return what a pattern captures in a text; a capture whose literal does not follow reaches to the end."""
    found: dict[str, str] = {}
    place = 0
    if parts[0].literal:
        if not text.startswith(parts[0].literal):
            return {}
        place = len(parts[0].literal)
        parts = parts[1:]
    for capture, literal in zip(parts[::2], [*parts[1::2], PatternPart()], strict=False):
        end = text.find(literal.literal, place) if literal.literal else len(text)
        if capture.name:
            found[capture.name] = text[place:] if end < 0 else text[place:end]
        if end < 0:
            break
        place = end + len(literal.literal)
    return found


def _regexp(stage: RegexpParser) -> RunStage:
    def run(record: Record) -> bool:
        if found := stage.regex.search(record.text):
            record.parse({name: found.group(name) or "" for name in stage.regex.groupindex})
        return True

    return run


def _label_filter(stage: LabelFilter) -> RunStage:
    condition = stage.condition
    return lambda record: _holds(condition, record)


def _holds(condition: Condition, record: Record) -> bool:
    match condition:
        case TextCondition(matcher=matcher):
            return matcher.accepts(record.value(matcher.name))
        case NumberCondition():
            return _compares(condition, record)
        case BothConditions(left=left, right=right):
            return _holds(left, record) and _holds(right, record)
        case EitherCondition(left=left, right=right):
            return _holds(left, record) or _holds(right, record)


def _compares(condition: NumberCondition, record: Record) -> bool:
    """Compare a label's value with a number; as in Loki, a line with an error stays."""
    if record.value(ERROR):
        return True
    if not record.has(condition.name):
        return False
    text = record.value(condition.name)
    value = parse_quantity(text, condition.unit)
    if value is None:
        record.fail("LabelFilterErr", f"{condition.name}={text[:100]!r} is no {condition.unit.value}")
        return True
    return _COMPARE[condition.operator](value, condition.value)


def _selection(stage: LabelSelection) -> RunStage:
    names = frozenset(stage.names)

    def run(record: Record) -> bool:
        labels = record.labels
        chosen = {name for name in labels if name in names or _matches(stage.matchers, name, labels[name])}
        if stage.is_kept:
            chosen = {name for name in labels if name not in chosen and not name.startswith("__")}
        if chosen:
            record.drop(frozenset(chosen))
        return True

    return run


def _matches(matchers: Sequence[Matcher], name: str, value: str) -> bool:
    return any(it.name == name and it.accepts(value) for it in matchers)


def _label_format(stage: LabelFormat) -> RunStage:
    def run(record: Record) -> bool:
        for name, source in stage.labels:
            if isinstance(source, str):
                if not record.has(source):
                    continue
                value = record.value(source)
                record.drop(frozenset({source, name}))
            else:
                value = render(source, _values(record))
                record.drop(frozenset({name}))
            record.parsed = {**record.parsed, name: value}
        return True

    return run


def _line_format(stage: LineFormat) -> RunStage:
    def run(record: Record) -> bool:
        record.text = render(stage.template, _values(record))
        return True

    return run


def _values(record: Record) -> Callable[[str], str]:
    return lambda name: record.text if name == LINE else record.value(name)


def _decolorize(_: Decolorize) -> RunStage:
    def run(record: Record) -> bool:
        record.text = _COLORS.sub("", record.text)
        return True

    return run


_COMPILERS: Final[dict[type, Callable[[Any], RunStage]]] = {
    LineFilter: _line_filter,
    JsonParser: _json,
    LogfmtParser: _logfmt,
    PatternParser: _pattern,
    RegexpParser: _regexp,
    LabelFilter: _label_filter,
    LabelSelection: _selection,
    LabelFormat: _label_format,
    LineFormat: _line_format,
    Decolorize: _decolorize,
}
