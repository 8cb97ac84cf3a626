"""The notation of series and their values in unit tests of rules: https://prometheus.io/docs/prometheus/latest/configuration/unit_testing_rules/#series."""

import re
from typing import Final

from toban.core.labels import METRIC_NAME, NAME, Labels
from toban.core.samples import ABSENT, STALE

_NUMBER: Final = r"(?:[-+]?(?:inf|nan|(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?))"
_RUN: Final = re.compile(rf"({_NUMBER})(?:([-+])({_NUMBER[:-1]}))?)?(?:x(\d+))?", re.IGNORECASE)
_QUOTED: Final = r"""(?:"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|`[^`]*`)"""
_PAIR: Final = re.compile(rf"\s*(?:({_QUOTED})|([a-zA-Z_:][\w:.]*))\s*(?:=\s*({_QUOTED})\s*)?,?")
_ESCAPES: Final = {"n": "\n", "t": "\t", "r": "\r"}


class SeriesNotationError(ValueError):
    """A text that is not in the notation."""


def parse_values(text: str) -> tuple[float, ...]:
    """
    Parse the values of a series: ``0+10x5 _ stale NaN``.

    ``_`` is ``ABSENT``. Raises ``SeriesNotationError``, also for a native histogram.
    """
    values: list[float] = []
    for word in text.split():
        if word.startswith("_"):
            values.extend([ABSENT] * int(word[2:] or 1))
        elif word.startswith("stale"):
            values.extend([STALE] * (int(word[6:]) + 1 if word[5:] else 1))
        else:
            values.extend(parse_run(word))
    return tuple(values)


def parse_series(text: str) -> Labels:
    """Parse a series: ``name{label="value"}``. Raises ``SeriesNotationError``."""
    name, brace, inside = text.strip().partition("{")
    pairs = {NAME: name.strip()}
    if not METRIC_NAME.fullmatch(pairs[NAME]) and (pairs[NAME] or not brace):
        raise SeriesNotationError(f"invalid series {text!r}")
    if not brace:
        return Labels(pairs)
    if not inside.endswith("}"):
        raise SeriesNotationError(f"invalid series {text!r}: its braces are not closed")
    inside = inside.removesuffix("}")
    at = 0
    while inside[at:].strip():
        pair = _PAIR.match(inside, at)
        if not pair:
            raise SeriesNotationError(f"invalid series {text!r}")
        label = unquote(pair[1]) if pair[1] is not None else pair[2]
        if pair[3] is None:
            pairs[NAME] = label
        else:
            pairs[label] = unquote(pair[3])
        at = pair.end()
    return Labels(pairs)


def parse_run(word: str) -> list[float]:
    """Parse ``3``, ``3x4`` or ``3+2x4``: a first value, an increment, and how often. Raises ``SeriesNotationError``."""
    found = _RUN.fullmatch(word)
    if not found:
        raise SeriesNotationError(f"invalid value {word!r}")
    start, sign, increment, times = found.groups()
    value, by = float(start), 0.0 if increment is None else float(f"{sign}1") * float(increment)
    result = [value]
    for _ in range(int(times or 0)):
        result.append(result[-1] + by if increment is not None else value)
    return result


def unquote(text: str) -> str:
    """Return the content of a quoted string."""
    if text[0] == "`":
        return text[1:-1]
    return re.sub(r"\\(.)", lambda found: _ESCAPES.get(found[1], found[1]), text[1:-1])
