"""The functions that templates may use: Prometheus' and Go's, as far as alerts need them."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import quote_plus, urlsplit

from toban.alerting.templating.printf import formatted
from toban.alerting.templating.values import (
    Found,
    TemplateError,
    is_true,
    number,
    short,
    text,
    written,
)
from toban.core.config_types import parse_duration
from toban.core.errors import BadQueryError
from toban.core.matchers import compile_regex, expand_references

_LARGE: Final = ("k", "M", "G", "T", "P", "E", "Z", "Y")
_BINARY: Final = ("ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi")
_SMALL: Final = ("m", "u", "n", "p", "f", "a", "z", "y")

# As Go's: after a blank or another sign of ASCII, but no sign beyond ASCII, begins a word.
_BEGINS: Final = re.compile(r"(?<![^\x00-/:-@\[-^`{-\x7f\s]).", re.DOTALL)
_ADDRESS: Final = re.compile(r"(?:\[(?P<inside>[^\[\]]*)\]|(?P<host>[^:\[\]]*)):(?P<port>[^:\[\]]*)")


@dataclass(frozen=True, slots=True)
class Function:
    """A function, how many arguments it takes, and a sentence for the manual."""

    call: Callable[..., Any]
    least: int
    most: int
    says: str


def _scaled(value: float, signs: Sequence[str], by: float, until: Callable[[float], bool]) -> str:
    sign = ""
    for one in signs:
        if until(value):
            break
        sign, value = one, value * by
    return short(value) + sign


def humanize(given: Any) -> str:
    """Write a number with SI prefixes: ``1.234k``."""
    value = number(given)
    if value == 0 or not math.isfinite(value):
        return short(value)
    if abs(value) >= 1:
        return _scaled(value, _LARGE, 1 / 1000, lambda it: abs(it) < 1000)
    return _scaled(value, _SMALL, 1000, lambda it: abs(it) >= 1)


def humanize_1024(given: Any) -> str:
    """Write a number with prefixes of 1024: ``1.5Mi``."""
    value = number(given)
    if abs(value) <= 1 or not math.isfinite(value):
        return short(value)
    return _scaled(value, _BINARY, 1 / 1024, lambda it: abs(it) < 1024)


def humanize_duration(given: Any) -> str:
    """Write seconds as a length of time: ``2h 3m 4s``."""
    value = number(given)
    if not math.isfinite(value):
        return short(value)
    if value == 0:
        return "0s"
    if abs(value) < 1:
        return _scaled(value, _SMALL, 1000, lambda it: abs(it) >= 1) + "s"
    sign, value = ("-" if value < 0 else ""), abs(value)
    minutes, seconds = divmod(int(value), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{sign}{days}d {hours}h {minutes}m {seconds}s"
    if hours:
        return f"{sign}{hours}h {minutes}m {seconds}s"
    if minutes:
        return f"{sign}{minutes}m {seconds}s"
    return f"{sign}{short(value)}s"


def humanize_percentage(given: Any) -> str:
    """Write a share as per cent: 0.05 is ``5%``."""
    return short(number(given) * 100) + "%"


def humanize_timestamp(given: Any) -> str:
    """Write seconds since the epoch as Go writes a time in UTC."""
    value = number(given)
    if not math.isfinite(value):
        return short(value)
    try:
        at = datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=int(value * 1e9) // 1_000_000)
    except OverflowError as error:
        raise TemplateError(f"{written(value)} is no time") from error
    fraction = f".{at.microsecond:06d}".rstrip("0").rstrip(".")
    return f"{at:%Y-%m-%d %H:%M:%S}{fraction} +0000 UTC"


def _first(found: Any) -> Any:
    if not _is_list(found):
        raise TemplateError(f"first: {written(found)} is not what a query comes to")
    if not found:
        raise TemplateError("first() called on vector with no elements")
    return found[0]


def _found(value: Any, function: str) -> Found:
    if not isinstance(value, Found):
        raise TemplateError(f"{function}: {written(value)} is not one series of what a query comes to")
    return value


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _sorted(label: Any, found: Any) -> list[Found]:
    if not _is_list(found):
        raise TemplateError(f"sortByLabel: {written(found)} is not what a query comes to")
    return sorted(found, key=lambda one: one.labels.get(text(label), ""))


def _pattern(pattern: Any) -> Any:
    try:
        return compile_regex(text(pattern))
    except BadQueryError as error:
        raise TemplateError(str(error)) from error


def _replaced(pattern: Any, by: Any, within: Any) -> str:
    template = text(by)
    return str(_pattern(pattern).sub(lambda found: expand_references(template, found), text(within)))


def _comparable(left: Any, right: Any) -> None:
    if isinstance(left, bool) is not isinstance(right, bool) or type(left) is not type(right):
        raise TemplateError(f"incompatible types for comparison: {written(left)} and {written(right)}")


def _equal(left: Any, *others: Any) -> bool:
    for other in others:
        _comparable(left, other)
    return any(left == other for other in others)


def _compared(test: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def compare(left: Any, right: Any) -> bool:
        _comparable(left, right)
        if isinstance(left, bool) or not isinstance(left, int | float | str):
            raise TemplateError(f"{written(left)} can't be put in order")
        return test(left, right)

    return compare


def _html(given: str) -> str:
    return given.translate({34: "&#34;", 39: "&#39;", 38: "&amp;", 60: "&lt;", 62: "&gt;", 0: "\ufffd"})


def _length(value: Any) -> int:
    if not isinstance(value, str | Mapping) and not _is_list(value):
        raise TemplateError(f"{written(value)} has no length")
    return len(value.encode()) if isinstance(value, str) else len(value)


def _index(of: Any, *keys: Any) -> Any:
    for key in keys:
        if isinstance(of, Mapping):
            of = of.get(text(key), "")
        elif _is_list(of) and isinstance(key, int) and 0 <= key < len(of):
            of = of[key]
        else:
            raise TemplateError(f"index: {written(of)} has no {written(key)}")
    return of


def _printed(*values: Any) -> str:
    """Put values together as Go's ``Sprint``: a space between two of which neither is a text."""
    parts = ""
    for place, value in enumerate(values):
        apart = place and not isinstance(value, str) and not isinstance(values[place - 1], str)
        parts += (" " if apart else "") + written(value)
    return parts


def _unreached(*_: Any) -> Any:
    raise TemplateError("and, or: evaluated argument by argument")


def _graph(query: Any, tab: int) -> str:
    return f"/graph?g0.expr={quote_plus(text(query), safe='')}&g0.tab={tab}"


def _path(address: str) -> str:
    return urlsplit(address).path.rstrip("/")


def _seconds(given: Any) -> float:
    try:
        return parse_duration(text(given), zero=True).total_seconds()
    except ValueError as error:
        raise TemplateError(str(error)) from error


def _one_by_one(given: Any, of: Callable[[str], str]) -> str:
    """Change the case of characters as Go does, each into one: ß has no capital, for SS are two."""
    return "".join(changed if len(changed := of(one)) == 1 else one for one in text(given))


def _upper(one: str) -> str:
    return capitals if len(capitals := one.upper()) == 1 else one.title()


def _title(given: Any) -> str:
    return _BEGINS.sub(lambda it: _one_by_one(it[0], str.title), text(given))


def _host_and_port(address: str) -> tuple[str, str] | None:
    """Take an address apart as Go's ``SplitHostPort``; nothing, where it is none with a port."""
    found = _ADDRESS.fullmatch(address)
    return (found["inside"] or found["host"] or "", found["port"]) if found else None


def _port_off(given: Any) -> str:
    address = text(given)
    apart = _host_and_port(address)
    return apart[0] if apart else address


def _domain_off(given: Any) -> str:
    address = text(given)
    host, port = _host_and_port(address) or (address, "")
    with suppress(ValueError):
        ip_address(host)
        return address
    host = host.partition(".")[0]
    return f"{f'[{host}]' if ':' in host else host}:{port}" if port else host


FUNCTIONS: Final[Mapping[str, Function]] = {
    "query": Function(lambda _: (), 1, 1, "ask PromQL; it comes to a list of series"),
    "first": Function(_first, 1, 1, "the first series of a query"),
    "value": Function(lambda it: _found(it, "value").value, 1, 1, "the number of a series"),
    "label": Function(lambda name, it: _found(it, "label").labels.get(text(name), ""), 2, 2, "a label of a series"),
    "strvalue": Function(
        lambda it: _found(it, "strvalue").labels.get("__value__", ""), 1, 1, "the label that count_values writes"
    ),
    "sortByLabel": Function(_sorted, 2, 2, "the series of a query, in order of a label"),
    "humanize": Function(humanize, 1, 1, "a number with k, M, G or m, u, n"),
    "humanize1024": Function(humanize_1024, 1, 1, "a number with ki, Mi, Gi"),
    "humanizeDuration": Function(humanize_duration, 1, 1, "seconds as 2h 3m 4s"),
    "humanizePercentage": Function(humanize_percentage, 1, 1, "a share as per cent"),
    "humanizeTimestamp": Function(humanize_timestamp, 1, 1, "seconds since the epoch as a time in UTC"),
    "parseDuration": Function(_seconds, 1, 1, "5m as 300"),
    "toUpper": Function(lambda it: _one_by_one(it, _upper), 1, 1, "a text in capitals"),
    "toLower": Function(lambda it: _one_by_one(it, lambda one: one.lower()[0]), 1, 1, "a text without capitals"),
    "title": Function(_title, 1, 1, "a text whose words begin with capitals"),
    "match": Function(
        lambda pattern, within: _pattern(pattern).search(text(within)) is not None, 2, 2, "whether a pattern is in it"
    ),
    "reReplaceAll": Function(_replaced, 3, 3, "a text with a pattern replaced"),
    "stripPort": Function(_port_off, 1, 1, "an address without its port"),
    "stripDomain": Function(_domain_off, 1, 1, "a host without its domain"),
    "printf": Function(lambda pattern, *values: formatted(text(pattern), values), 1, 50, "Go's Sprintf"),
    "print": Function(_printed, 0, 50, "Go's Sprint"),
    "len": Function(_length, 1, 1, "how many there are"),
    "index": Function(_index, 1, 5, "an element by its place or name"),
    "eq": Function(_equal, 2, 50, "whether the first equals one of the others"),
    "ne": Function(lambda left, right: not _equal(left, right), 2, 2, "whether two differ"),
    "lt": Function(_compared(lambda left, right: left < right), 2, 2, "less than"),
    "le": Function(_compared(lambda left, right: left <= right), 2, 2, "less or equal"),
    "gt": Function(_compared(lambda left, right: left > right), 2, 2, "greater than"),
    "ge": Function(_compared(lambda left, right: left >= right), 2, 2, "greater or equal"),
    "and": Function(_unreached, 1, 50, "the first that is empty, else the last"),
    "or": Function(_unreached, 1, 50, "the first that is not empty, else the last"),
    "externalURL": Function(lambda address: address, 0, 0, "the address of toban's pages (notify.address)"),
    "pathPrefix": Function(_path, 0, 0, "the path of that address"),
    "graphLink": Function(lambda query: _graph(query, 0), 1, 1, "the path of a query's chart"),
    "tableLink": Function(lambda query: _graph(query, 1), 1, 1, "the path of a query's table"),
    "urlquery": Function(lambda *values: quote_plus(_printed(*values), safe=""), 1, 50, "escaped for an address"),
    "html": Function(lambda *values: _html(_printed(*values)), 1, 50, "escaped for HTML"),
    "println": Function(lambda *values: " ".join(map(written, values)) + "\n", 0, 50, "Go's Sprintln"),
    "not": Function(lambda it: not is_true(it), 1, 1, "whether it is empty"),
}

SHORT: Final = frozenset({"and", "or"})
"""The functions that evaluate no more of their arguments than they need."""

ABOUT: Final = frozenset({"externalURL", "pathPrefix"})
"""The functions that are given the address of toban's pages before their arguments."""
