"""
Numbers with their units, for people. `static/format.js` writes the same: one table of examples holds both.

Only times differ: they are in UTC here, and in the reader's zone there.
"""

import math
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final


class Unit(StrEnum):
    """The unit of a panel's values, by Grafana's names."""

    NONE = "none"
    SHORT = "short"
    PERCENT = "percent"
    SHARE = "percentunit"
    BYTES = "bytes"
    BYTES_PER_SECOND = "binBps"
    REQUESTS_PER_SECOND = "reqps"
    PER_SECOND = "ops"
    SECONDS = "s"
    TIMESTAMP = "dateTimeFromNow"


MISSING: Final = "–"
IEC: Final = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
DURATIONS: Final = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))
COMPACT: Final = {
    "en": ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e4, "K")),
    "ja": ((1e12, "兆"), (1e8, "億"), (1e4, "万")),
}
"""The words of large numbers, from which value on."""


DECIMALS: Final = {"BHD": 3, "IQD": 3, "JOD": 3, "KWD": 3, "LYD": 3, "OMR": 3, "TND": 3} | dict.fromkeys(
    ("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "VND", "VUV", "XAF", "XOF", "XPF"), 0
)
"""The decimals of currencies that have not two (ISO 4217)."""


def format_money(value: float | None, currency: str, language: str = "en", *, compact: bool = True) -> str:
    """Return an amount in major units with its currency; large ones are ``compact``, as on a tile."""
    if value is None or math.isnan(value):
        return MISSING
    number = _compact(value, language) if compact and abs(value) >= 1e6 else f"{value:,.{DECIMALS.get(currency, 2)}f}"
    return f"¥{number}" if currency == "JPY" else f"{currency} {number}"


def format_value(value: float | None, unit: Unit, language: str = "en") -> str:
    """Return a value with its unit."""
    if value is None or math.isnan(value):
        return MISSING
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    match unit:
        case Unit.BYTES:
            return _bytes(value)
        case Unit.BYTES_PER_SECOND:
            return f"{_bytes(value)}/s"
        case Unit.SECONDS:
            return _duration(value)
        case Unit.PERCENT:
            return f"{_plain(value)} %"
        case Unit.SHARE:
            return f"{_plain(value * 100)} %"
        case Unit.REQUESTS_PER_SECOND | Unit.PER_SECOND:
            return f"{_compact(value, language)}/s"
        case Unit.NONE:
            return _plain(value)
        case Unit.TIMESTAMP:
            return _time(value)
        case _:
            return _compact(value, language)


def format_bytes(value: float) -> str:
    """Return a number of bytes with its unit."""
    return format_value(value, Unit.BYTES)


def _time(milliseconds: float) -> str:
    try:
        return f"{datetime.fromtimestamp(milliseconds / 1000, UTC):%Y-%m-%d %H:%M} UTC"
    except (ValueError, OverflowError, OSError):
        return MISSING  # no time of a calendar


def _plain(value: float) -> str:
    """Return a number with four significant digits at most, and no zeros at its end."""
    if value == 0:
        return "0"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    digits = max(0, 3 - math.floor(math.log10(abs(value))))
    text = f"{value:.{min(digits, 9)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _compact(value: float, language: str) -> str:
    words = COMPACT.get(language, COMPACT["en"])
    for size, word in words:
        if abs(value) >= size:
            divisor = 1e3 if word == "K" else size
            return f"{_plain(value / divisor)}{word}"
    return _plain(value)


def _bytes(value: float) -> str:
    size, place = abs(value), 0
    while size >= 1024 and place < len(IEC) - 1:
        size, place = size / 1024, place + 1
    return f"{_plain(math.copysign(size, value) if value else 0)} {IEC[place]}"


def _duration(value: float) -> str:
    """Return a duration in two units at most."""
    size = abs(value)
    sign = "-" if value < 0 else ""
    if size == 0:
        return "0 s"
    if size < 0.001:
        return f"{sign}{_plain(size * 1e6)} µs"
    if size < 1:
        return f"{sign}{_plain(size * 1e3)} ms"
    if size < 60:
        return f"{sign}{_plain(size)} s"
    rest = math.floor(size)
    parts: list[str] = []
    for seconds, word in DURATIONS:
        many, rest = divmod(rest, seconds)
        if many or parts:
            parts.append(f"{many} {word}" if many else "")
        if len(parts) == 2:
            break
    return sign + " ".join(part for part in parts if part)


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, whose plural ends with s: `1 step`, `1,200 steps`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
