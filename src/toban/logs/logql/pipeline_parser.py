"""Parses the selector and the pipeline of a query."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from toban.core.matchers import Matcher, MatchOperator
from toban.logs.line_store import TextFilter
from toban.logs.logql.lexer import ParseError, Token, TokenKind
from toban.logs.logql.quantities import parse_quantity
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
    Template,
    TextCondition,
    Unit,
    Unwrap,
)
from toban.logs.logql.templates import parse_template
from toban.logs.logql.token_reader import TokenReader

MAX_STAGES: Final = 100
"""How many stages a pipeline may have."""

EMPTY_COMPATIBLE: Final = (
    "queries require at least one regexp or equality matcher that does not have an empty-compatible value. "
    'For instance, app=~".*" does not meet this requirement, but app=~".+" will'
)

LINE_FILTERS: Final = {"|=": (False, False), "!=": (False, True), "|~": (True, False), "!~": (True, True)}
"""The operators of line filters: whether each is a regular expression, and whether it is negated."""

_MATCH_OPERATORS: Final = {it.value: it for it in MatchOperator}
_COMPARISONS: Final = {"=": "==", "==": "==", "!=": "!=", ">": ">", ">=": ">=", "<": "<", "<=": "<="}
_UNITS: Final = {
    TokenKind.NUMBER: Unit.NUMBER,
    TokenKind.DURATION: Unit.DURATION,
    TokenKind.BYTES: Unit.BYTES,
}
_CONVERSIONS: Final = {"duration": Unit.DURATION, "duration_seconds": Unit.DURATION, "bytes": Unit.BYTES}
_PATTERN: Final = re.compile(r"<([a-zA-Z_]\w*)>", re.ASCII)
_PATH: Final = re.compile(r'(?:^|\.)([a-zA-Z_]\w*)|\["((?:[^"\\]|\\.)*)"\]|\[([0-9]{1,9})\]', re.ASCII)


@dataclass(slots=True)
class Pipeline:
    """
    The stages of a pipeline; ``unwrap`` and ``filters`` are those of a range aggregation.

    ``end`` is the offset at which its stages end, in front of ``unwrap``.
    """

    stages: list[Stage] = field(default_factory=list)
    unwrap: Unwrap | None = None
    filters: list[LabelFilter] = field(default_factory=list)
    end: int = 0


def parse_selector(reader: TokenReader, *, may_be_empty: bool = False) -> tuple[Matcher, ...]:
    """Parse ``{name="value", …}``. Raises ``ParseError``, also for one that selects every stream by accident."""
    reader.expect("{")
    matchers = list[Matcher]()
    while not reader.accept("}"):
        if matchers:
            reader.expect(",", "} or ,")
        matchers.append(_matcher(reader))
        if not reader.is_next("}", ","):
            raise reader.unexpected(expecting="} or ,")
    if not may_be_empty and all(it.accepts("") for it in matchers):
        raise ParseError(EMPTY_COMPATIBLE)
    return tuple(matchers)


def _matcher(reader: TokenReader) -> Matcher:
    name = reader.name()
    operator = reader.read()
    if operator.text not in _MATCH_OPERATORS or operator.kind is not TokenKind.OPERATOR:
        raise reader.unexpected(operator, expecting="= or =~ or !~ or !=")
    return reader.matcher(name, _MATCH_OPERATORS[operator.text], reader.expect_kind(TokenKind.STRING))


def parse_pipeline(reader: TokenReader, pipeline: Pipeline, *, may_unwrap: bool = False) -> None:
    """Parse stages as long as there are some, and add them to a pipeline. Raises ``ParseError``."""
    while True:
        token = reader.next
        if reader.is_next(*LINE_FILTERS):
            stage: Stage = _line_filter(reader)
        elif reader.is_next("|>", "!>"):
            raise reader.error(f"{token.text} is not supported: use |~", token)
        elif reader.accept("|"):
            if reader.is_next("unwrap") and may_unwrap and pipeline.unwrap is None:
                reader.read()
                pipeline.unwrap = _unwrap(reader)
                pipeline.end = token.start
                continue
            stage = _stage(reader)
        else:
            if pipeline.unwrap is None:
                pipeline.end = token.start
            return
        if pipeline.unwrap is None:
            pipeline.stages.append(stage)
        elif isinstance(stage, LabelFilter):
            pipeline.filters.append(stage)
        else:
            raise reader.unexpected(token)
        if len(pipeline.stages) + len(pipeline.filters) > MAX_STAGES:
            raise reader.error(f"more than {MAX_STAGES} stages", token)


def _line_filter(reader: TokenReader) -> LineFilter:
    is_regex, is_negated = LINE_FILTERS[reader.read().text]
    texts = []
    while True:
        token = reader.next
        if token.kind is TokenKind.IDENTIFIER and token.text == "ip":
            raise reader.error("ip filters are not supported", token)
        reader.expect_kind(TokenKind.STRING, "STRING or ip")
        if is_regex:
            reader.regex(token.text, token)
        texts.append(token.text)
        if not reader.accept("or"):
            return LineFilter(TextFilter(tuple(texts), is_regex, is_negated))


def _stage(reader: TokenReader) -> Stage:
    token = reader.next
    if token.kind is TokenKind.KEYWORD and (parse := _STAGES.get(token.text.lower())):
        reader.read()
        if reader.next.text.startswith("--"):
            raise reader.error(f"{reader.next.text} is not supported", reader.next)
        return parse(reader)
    if token.kind is TokenKind.KEYWORD and token.text.lower() == "unpack":
        raise reader.error(f"{token.text} is not supported: use json", token)
    return LabelFilter(_either(reader))


def _either(reader: TokenReader) -> Condition:
    with reader.nested():
        condition = _both(reader)
        while reader.accept("or"):
            condition = EitherCondition(condition, _both(reader))
        return condition


def _both(reader: TokenReader) -> Condition:
    condition = _condition(reader)
    while reader.accept("and", ",") or reader.next.kind is TokenKind.IDENTIFIER or reader.is_next("("):
        condition = BothConditions(condition, _condition(reader))
    return condition


def _condition(reader: TokenReader) -> Condition:
    if reader.accept("("):
        condition = _either(reader)
        reader.expect(")")
        return condition
    if reader.next.kind is not TokenKind.IDENTIFIER:
        raise reader.unexpected()
    name, operator = reader.read().text, reader.read()
    value = reader.next
    if operator.kind is not TokenKind.OPERATOR or operator.text not in {*_MATCH_OPERATORS, *_COMPARISONS}:
        raise reader.unexpected(operator)
    if value.kind is TokenKind.IDENTIFIER and value.text == "ip":
        raise reader.error("ip filters are not supported", value)
    if value.kind is TokenKind.STRING and operator.text in _MATCH_OPERATORS:
        reader.read()
        return TextCondition(reader.matcher(name, _MATCH_OPERATORS[operator.text], value))
    if operator.text not in _COMPARISONS:
        raise reader.unexpected(expecting="STRING")
    number, unit = _quantity(reader)
    return NumberCondition(name, _COMPARISONS[operator.text], number, unit)


def _quantity(reader: TokenReader) -> tuple[float, Unit]:
    sign = -1 if reader.accept("-") else 1
    token = reader.next
    if token.kind not in _UNITS:
        raise reader.unexpected(expecting="BYTES or NUMBER or DURATION")
    reader.read()
    unit = _UNITS[token.kind]
    value = parse_quantity(token.text, unit)
    if value is None:
        raise reader.error(f"invalid {unit.value} {token.text!r}", token)
    return sign * value, unit


def _unwrap(reader: TokenReader) -> Unwrap:
    token = reader.expect_kind(TokenKind.IDENTIFIER)
    if not reader.accept("("):
        return Unwrap(token.text)
    if token.text not in _CONVERSIONS:
        raise reader.error(f"{token.text} is not supported: use {', '.join(_CONVERSIONS)}", token)
    name = reader.name()
    reader.expect(")")
    return Unwrap(name, _CONVERSIONS[token.text])


def _fields(reader: TokenReader) -> Iterator[tuple[str, str, Token]]:
    """Return the labels that a parser names, each with the expression that it gets, which is its name by default."""
    while reader.next.kind is TokenKind.IDENTIFIER:
        token = reader.read()
        if reader.accept("="):
            token, name = reader.expect_kind(TokenKind.STRING), token.text
        else:
            name = token.text
        yield name, token.text, token
        if not reader.accept(","):
            return


def _json(reader: TokenReader) -> Stage:
    return JsonParser(tuple((name, _path(path, reader, token)) for name, path, token in _fields(reader)))


def _path(text: str, reader: TokenReader, token: Token) -> tuple[str | int, ...]:
    """Parse a path like ``request.headers["x-id"][0]``."""
    path, end = list[str | int](), 0
    while end < len(text):
        found = _PATH.match(text, end)
        if not found or found.end() == end or (found[0][0] == "." and not path):
            break
        path.append(int(found[3]) if found[3] else found[2] if found[1] is None else found[1])
        end = found.end()
    if end < len(text) or not path:
        raise reader.error(f"invalid path {text!r}: write it like request.headers[0]", token)
    return tuple(path)


def _logfmt(reader: TokenReader) -> Stage:
    return LogfmtParser(tuple((name, key) for name, key, _ in _fields(reader)))


def _pattern(reader: TokenReader) -> Stage:
    token = reader.expect_kind(TokenKind.STRING)
    parts = [
        PatternPart(name="" if part == "_" else part) if place % 2 else PatternPart(literal=part)
        for place, part in enumerate(_PATTERN.split(token.text))
        if part
    ]
    if not any(part.name for part in parts):
        raise reader.error("at least one capture is required", token)
    if any(not one.literal and not two.literal for one, two in pairwise(parts)):
        raise reader.error("found consecutive capture: a literal must stand between two", token)
    return PatternParser(tuple(parts))


def _regexp(reader: TokenReader) -> Stage:
    token = reader.expect_kind(TokenKind.STRING)
    regex = reader.regex(token.text, token)
    if not regex.groupindex:
        raise reader.error("at least one named capture must be supplied", token)
    return RegexpParser(regex)


def _drop(reader: TokenReader) -> Stage:
    return _selection(reader, is_kept=False)


def _keep(reader: TokenReader) -> Stage:
    return _selection(reader, is_kept=True)


def _selection(reader: TokenReader, *, is_kept: bool) -> Stage:
    names, matchers = list[str](), list[Matcher]()
    while True:
        if reader.after_next.text in _MATCH_OPERATORS and reader.after_next.kind is TokenKind.OPERATOR:
            matchers.append(_matcher(reader))
        else:
            names.append(reader.name())
        if not reader.accept(","):
            return LabelSelection(tuple(names), tuple(matchers), is_kept)


def _label_format(reader: TokenReader) -> Stage:
    labels = list[tuple[str, str | Template]]()
    while True:
        name = reader.name()
        reader.expect("=")
        token = reader.next
        if token.kind is TokenKind.IDENTIFIER:
            labels.append((name, reader.read().text))
        else:
            labels.append((name, _template(reader)))
        if name in {it for it, _ in labels[:-1]}:
            raise reader.error(f"multiple label name '{name}' not allowed in a single format operation", token)
        if not reader.accept(","):
            return LabelFormat(tuple(labels))


def _line_format(reader: TokenReader) -> Stage:
    return LineFormat(_template(reader))


def _template(reader: TokenReader) -> Template:
    token = reader.expect_kind(TokenKind.STRING)
    try:
        return parse_template(token.text)
    except ValueError as error:
        raise reader.error(str(error), token) from error


def _decolorize(_: TokenReader) -> Stage:
    return Decolorize()


_STAGES: Final[dict[str, Callable[[TokenReader], Stage]]] = {
    "json": _json,
    "logfmt": _logfmt,
    "pattern": _pattern,
    "regexp": _regexp,
    "drop": _drop,
    "keep": _keep,
    "label_format": _label_format,
    "line_format": _line_format,
    "decolorize": _decolorize,
}
