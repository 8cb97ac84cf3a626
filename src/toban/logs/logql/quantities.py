"""Durations, sizes and numbers, in queries and in the values of labels."""

import re
from typing import Final

from toban.logs.logql.syntax_tree import Unit

_SECONDS: Final = {
    "ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3,
    "s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0, "w": 604_800.0, "y": 31_536_000.0,
}  # fmt: skip  # a row for the units below a second, and one for the others
_BYTES: Final = {
    "": 1, "b": 1,
    **{f"{letter}{end}": 1_000 ** (power + 1) for power, letter in enumerate("kmgtp") for end in ("", "b")},
    **{f"{letter}{end}": 1_024 ** (power + 1) for power, letter in enumerate("kmgtp") for end in ("i", "ib")},
}  # fmt: skip  # a row for each system

_DURATION: Final = re.compile(r"([-+]?)((?:[0-9]++(?:\.[0-9]*+)?+(?:ns|us|µs|μs|ms|[smhdwy]))+)")
_PART: Final = re.compile(r"(?<![0-9.])([0-9]++(?:\.[0-9]*+)?+)([a-zµμ]++)")
_SIZE: Final = re.compile(r"([0-9]+(?:\.[0-9]*)?) ?([a-zA-Z]{0,3})")
_NUMBER: Final = re.compile(r"[-+]?(?:[0-9]++(?:\.[0-9]*+)?+|\.[0-9]++)(?:[eE][-+]?[0-9]++)?")


def parse_quantity(text: str, unit: Unit) -> float | None:
    """Return a label's value as a number, in seconds or bytes where it is a duration or a size; None if it is none."""
    if len(text) > 100:
        return None
    if unit is Unit.DURATION:
        return _duration(text)
    if unit is Unit.BYTES:
        return _size(text)
    return float(text) if _NUMBER.fullmatch(text) else None


def _duration(text: str) -> float | None:
    """Return the seconds of a duration of Go, or of Prometheus."""
    found = _DURATION.fullmatch(text)
    if not found:
        return 0.0 if text == "0" else None
    seconds = sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(found[2]))
    return -seconds if found[1] == "-" else seconds


def _size(text: str) -> float | None:
    found = _SIZE.fullmatch(text)
    factor = _BYTES.get(found[2].lower()) if found else None
    return None if found is None or factor is None else float(found[1]) * factor
