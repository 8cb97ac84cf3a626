"""Choosing series by their labels."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

import re2

from toban.core.errors import BadQueryError
from toban.core.labels import quote, quoted_name


class MatchOperator(StrEnum):
    """How a label is compared, written as in PromQL."""

    EQUAL = "="
    NOT_EQUAL = "!="
    REGEX = "=~"
    NOT_REGEX = "!~"


@dataclass(frozen=True, slots=True)
class Matcher:
    """
    One condition on a label; a label that is not there counts as empty.

    Expressions are RE2, anchored at both ends, and ``.`` takes a newline too (Prometheus 3).
    Raises ``BadQueryError`` when one is wrong.
    """

    name: str
    operator: MatchOperator
    value: str
    accepts: Callable[[str], bool] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "accepts", _test(self.operator, self.value))

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Tell whether a series meets this condition."""
        return self.accepts(labels.get(self.name, ""))

    def __str__(self) -> str:
        """Write the condition as PromQL would, and Alertmanager."""
        return f"{quoted_name(self.name)}{self.operator}{quote(self.value)}"


def matches_all(matchers: Iterable[Matcher], labels: Mapping[str, str]) -> bool:
    """Tell whether a series meets all conditions."""
    return all(matcher.matches(labels) for matcher in matchers)


MAX_COST: Final = 100_000
"""What the expressions of one query may cost in all (``regex_cost``): some hundredths of a second to compile them."""

_EXPRESSION: Final = 50
_CLASS: Final = 10
_PART: Final = re.compile(r"\\.|\[\^?\]?|\{(?P<least>\d{1,9})(?:,(?P<most>\d{0,9}))?\}|.", re.DOTALL)


def regex_cost(pattern: str) -> int:
    """
    Estimate what it takes to compile an expression: its parts, as often as they are repeated.

    A class of characters counts for several, and so does the expression itself. Linear in the pattern's length.
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
            last = _CLASS if inside or len(part[0]) > 1 else 1
            totals[-1] += last
    return _EXPRESSION + sum(totals)


def compile_regex(pattern: str) -> Any:
    """Return an RE2 expression in which ``.`` takes a newline too. Raises ``BadQueryError`` when it is wrong."""
    if regex_cost(pattern) > MAX_COST:
        raise BadQueryError(f"{pattern[:50]!r}… is too large for a regular expression")
    # Otherwise RE2 writes a line of its own to standard error.
    options = re2.Options()
    options.log_errors = False
    options.dot_nl = True
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        reason = error.args[0].decode(errors="replace")
        raise BadQueryError(f"{pattern!r} is no regular expression: {reason}") from error


_REFERENCE: Final = re.compile(r"\$(?:\$|(\w+)|\{(\w+)\})", re.ASCII)


def expand_references(template: str, found: Any) -> str:
    """Fill in ``$1``, ``${1}`` and ``${name}`` as Go's ``Expand`` does: what the expression doesn't have is empty."""
    names = found.re.groupindex

    def group(reference: re.Match[str]) -> str:
        name = reference[1] or reference[2]
        if name is None:
            return "$"
        key = int(name[:9]) if name.isdigit() else names.get(name)
        return (found.group(key) or "") if key is not None and key <= found.re.groups else ""

    return _REFERENCE.sub(group, template)


def _test(match: MatchOperator, value: str) -> Callable[[str], bool]:
    if match is MatchOperator.EQUAL:
        return lambda text: text == value
    if match is MatchOperator.NOT_EQUAL:
        return lambda text: text != value
    regex = compile_regex(value)
    if match is MatchOperator.REGEX:
        return lambda text: regex.fullmatch(text) is not None
    return lambda text: regex.fullmatch(text) is None
