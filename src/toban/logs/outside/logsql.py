"""LogsQL, the language of VictoriaLogs: https://docs.victoriametrics.com/victorialogs/logsql/."""

from datetime import UTC, datetime, timedelta
from typing import Final

import re2

from toban.core.labels import quote
from toban.core.matchers import Matcher, MatchOperator
from toban.logs.line_store import TextFilter
from toban.logs.logql.syntax_tree import BothConditions, Condition, EitherCondition, TextCondition
from toban.logs.outside.selection import OutsideSelection

SECOND: Final = 1_000_000_000
"""Nanoseconds."""

_EPOCH: Final = datetime.fromtimestamp(0, UTC)


def print_filters(selection: OutsideSelection, start: int, end: int) -> str:
    """Return the filters of a selection within a range of time (nanoseconds)."""
    matchers = ",".join(f"{it.name}{it.operator}{quote(_value(it))}" for it in selection.matchers)
    parts = [f"{{{matchers}}}", f"_time:[{print_time(start)}, {print_time(end)})"]
    parts += [_line_filter(it) for it in selection.filters]
    parts += [_condition(it) for it in selection.conditions]
    return " ".join(parts)


def print_time(nanoseconds: int) -> str:
    """Return a time with nanoseconds."""
    seconds, rest = divmod(nanoseconds, SECOND)
    return f"{(_EPOCH + timedelta(seconds=seconds)):%Y-%m-%dT%H:%M:%S}.{rest:09}Z"


def parse_time(text: str) -> int:
    """Return the nanoseconds of a time like ``2026-01-01T00:00:00.123456789Z``. Raises ``ValueError``."""
    whole, _, fraction = text.removesuffix("Z").partition(".")
    at = datetime.fromisoformat(whole).replace(tzinfo=UTC)
    return (at - _EPOCH) // timedelta(seconds=1) * SECOND + int(f"{fraction:0<9}"[:9] or 0)


def _value(matcher: Matcher) -> str:
    """Return the value of a matcher; an expression matches the whole label."""
    is_regex = matcher.operator in {MatchOperator.REGEX, MatchOperator.NOT_REGEX}
    return f"^(?:{matcher.value})$" if is_regex else matcher.value


def _line_filter(text_filter: TextFilter) -> str:
    """Return a filter over the message: a text that occurs anywhere is an expression, for words are whole there."""
    patterns = (text if text_filter.is_regex else re2.escape(text) for text in text_filter.texts)
    texts = [f"_msg:~{quote(f'(?i){it}' if text_filter.ignore_case else it)}" for it in patterns]
    return f"{'!' if text_filter.is_negated else ''}({' or '.join(texts)})"


def _condition(condition: Condition) -> str:
    match condition:
        case TextCondition(matcher=matcher):
            return _text_condition(matcher)
        case BothConditions(left=left, right=right):
            return f"({_condition(left)} and {_condition(right)})"
        case EitherCondition(left=left, right=right):
            return f"({_condition(left)} or {_condition(right)})"
        case _:
            raise AssertionError(f"no condition that can be selected: {condition}")


def _text_condition(matcher: Matcher) -> str:
    name, value = quote(matcher.name), quote(_value(matcher))
    match matcher.operator:
        case MatchOperator.EQUAL:
            return f"{name}:={value}"
        case MatchOperator.NOT_EQUAL:
            return f"!{name}:={value}"
        case MatchOperator.REGEX:
            return f"{name}:~{value}"
        case MatchOperator.NOT_REGEX:
            return f"!{name}:~{value}"
