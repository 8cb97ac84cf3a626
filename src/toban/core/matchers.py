"""Label matchers, and regular expressions of limited cost."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

import re2

from toban.core.errors import BadQueryError
from toban.core.labels import quote, quoted_name


class MatchOperator(StrEnum):
    """The operator of a matcher, written as in PromQL."""

    EQUAL = "="
    NOT_EQUAL = "!="
    REGEX = "=~"
    NOT_REGEX = "!~"


@dataclass(frozen=True, slots=True)
class Matcher:
    """
    One condition on a label; a missing label counts as empty.

    Regular expressions are RE2, anchored at both ends, and ``.`` matches a newline too (Prometheus 3).
    Raises ``BadQueryError`` when one is invalid.
    """

    name: str
    operator: MatchOperator
    value: str
    accepts: Callable[[str], bool] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "accepts", _predicate(self.operator, self.value))

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Return whether a series matches."""
        return self.accepts(labels.get(self.name, ""))

    def __str__(self) -> str:
        """Return the matcher as PromQL and Alertmanager write it."""
        return f"{quoted_name(self.name)}{self.operator}{quote(self.value)}"


def matches_all(matchers: Iterable[Matcher], labels: Mapping[str, str]) -> bool:
    """Return whether a series matches all matchers."""
    return all(matcher.matches(labels) for matcher in matchers)


MAX_REGEX_COST: Final = 100_000
"""The highest cost of all regular expressions of a query (``regex_cost``): some hundredths of a second to compile."""

_BASE_COST: Final = 50
_CLASS_COST: Final = 10
_PART: Final = re.compile(r"\\.|\[\^?\]?|\{(?P<least>\d{1,9})(?:,(?P<most>\d{0,9}))?\}|.", re.DOTALL)


def regex_cost(pattern: str) -> int:
    """
    Estimate the cost of compiling a regular expression: the number of its parts, times their repetitions.

    A class of characters counts as several parts, and so does the expression itself. Linear in the pattern's length.
    """
    totals, last, inside = [0], 0, False
    for part in _PART.finditer(pattern):
        if inside:
            inside = part[0] != "]"
        elif part["least"]:
            times = max(int(part["least"]), int(part["most"] or 0), 1)
            totals[-1] += last * (times - 1)
            last *= times
        elif part[0] == "(":
            totals.append(0)
            last = 0
        elif part[0] == ")" and len(totals) > 1:
            last = totals.pop()
            totals[-1] += last
        else:
            inside = part[0][0] == "["
            last = _CLASS_COST if inside or len(part[0]) > 1 else 1
            totals[-1] += last
    return _BASE_COST + sum(totals)


def compile_regex(pattern: str) -> Any:
    """Return a compiled RE2 expression; ``.`` matches a newline too. Raises ``BadQueryError`` when it is invalid."""
    if regex_cost(pattern) > MAX_REGEX_COST:
        raise BadQueryError(f"regular expression {pattern[:50]!r}… is too large")
    # RE2 would write errors to standard error itself.
    options = re2.Options()
    options.log_errors = False
    options.dot_nl = True
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        reason = error.args[0].decode(errors="replace")
        raise BadQueryError(f"invalid regular expression {pattern!r}: {reason}") from error


_REFERENCE: Final = re.compile(r"\$(?:\$|(\w+)|\{(\w+)\})", re.ASCII)


def expand_references(template: str, found: Any) -> str:
    """Replace ``$1``, ``${1}`` and ``${name}`` by groups, as Go's ``Expand`` does: an unknown group is empty."""
    names = found.re.groupindex

    def group(reference: re.Match[str]) -> str:
        name = reference[1] or reference[2]
        if name is None:
            return "$"
        key = int(name[:9]) if name.isdigit() else names.get(name)
        return (found.group(key) or "") if key is not None and key <= found.re.groups else ""

    return _REFERENCE.sub(group, template)


def _predicate(operator: MatchOperator, value: str) -> Callable[[str], bool]:
    if operator is MatchOperator.EQUAL:
        return lambda text: text == value
    if operator is MatchOperator.NOT_EQUAL:
        return lambda text: text != value
    regex = compile_regex(value)
    if operator is MatchOperator.REGEX:
        return lambda text: regex.fullmatch(text) is not None
    return lambda text: regex.fullmatch(text) is None
