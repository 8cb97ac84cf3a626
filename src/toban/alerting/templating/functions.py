"""The functions of templates: those of Prometheus and Go that alerts need."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import quote_plus, urlsplit

from toban.alerting.templating.printf import sprintf
from toban.alerting.templating.values import (
    TemplateError,
    TemplateSample,
    format_short,
    format_value,
    is_true,
    number,
    text,
)
from toban.core.config_types import parse_duration
from toban.core.errors import BadQueryError
from toban.core.matchers import compile_regex, expand_references

_LARGE: Final = ("k", "M", "G", "T", "P", "E", "Z", "Y")
_BINARY: Final = ("ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi")
_SMALL: Final = ("m", "u", "n", "p", "f", "a", "z", "y")

# As in Go, a word begins after white space or ASCII punctuation, but not after other punctuation.
_WORD_START: Final = re.compile(r"(?<![^\x00-/:-@\[-^`{-\x7f\s]).", re.DOTALL)
_ADDRESS: Final = re.compile(r"(?:\[(?P<inside>[^\[\]]*)\]|(?P<host>[^:\[\]]*)):(?P<port>[^:\[\]]*)")


@dataclass(frozen=True, slots=True)
class Function:
    """A function, its numbers of arguments, and a sentence for the reference."""

    call: Callable[..., Any]
    min_arguments: int
    max_arguments: int
    description: str


def _scaled(value: float, prefixes: Sequence[str], by: float, until: Callable[[float], bool]) -> str:
    prefix = ""
    for next_prefix in prefixes:
        if until(value):
            break
        prefix, value = next_prefix, value * by
    return format_short(value) + prefix


def humanize(given: Any) -> str:
    """Format a number with SI prefixes: ``1.234k``."""
    value = number(given)
    if value == 0 or not math.isfinite(value):
        return format_short(value)
    if abs(value) >= 1:
        return _scaled(value, _LARGE, 1 / 1000, lambda it: abs(it) < 1000)
    return _scaled(value, _SMALL, 1000, lambda it: abs(it) >= 1)


def humanize_1024(given: Any) -> str:
    """Format a number with binary prefixes: ``1.5Mi``."""
    value = number(given)
    if abs(value) <= 1 or not math.isfinite(value):
        return format_short(value)
    return _scaled(value, _BINARY, 1 / 1024, lambda it: abs(it) < 1024)


def humanize_duration(given: Any) -> str:
    """Format seconds as a duration: ``2h 3m 4s``."""
    value = number(given)
    if not math.isfinite(value):
        return format_short(value)
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
    return f"{sign}{format_short(value)}s"


def humanize_percentage(given: Any) -> str:
    """Format a ratio as a percentage: 0.05 is ``5%``."""
    return format_short(number(given) * 100) + "%"


def humanize_timestamp(given: Any) -> str:
    """Format seconds since the epoch as Go formats a time in UTC."""
    value = number(given)
    if not math.isfinite(value):
        return format_short(value)
    try:
        at = datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=int(value * 1e9) // 1_000_000)
    except OverflowError as error:
        raise TemplateError(f"{format_value(value)} is not a timestamp") from error
    fraction = f".{at.microsecond:06d}".rstrip("0").rstrip(".")
    return f"{at:%Y-%m-%d %H:%M:%S}{fraction} +0000 UTC"


def _first(found: Any) -> Any:
    if not _is_list(found):
        raise TemplateError(f"first: {format_value(found)} is not the result of a query")
    if not found:
        raise TemplateError("first() called on vector with no elements")
    return found[0]


def _found(value: Any, function: str) -> TemplateSample:
    if not isinstance(value, TemplateSample):
        raise TemplateError(f"{function}: {format_value(value)} is not a series of a query's result")
    return value


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _sorted(label: Any, found: Any) -> list[TemplateSample]:
    if not _is_list(found):
        raise TemplateError(f"sortByLabel: {format_value(found)} is not the result of a query")
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
        raise TemplateError(f"incompatible types for comparison: {format_value(left)} and {format_value(right)}")


def _equal(left: Any, *others: Any) -> bool:
    for other in others:
        _comparable(left, other)
    return any(left == other for other in others)


def _compared(test: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def compare(left: Any, right: Any) -> bool:
        _comparable(left, right)
        if isinstance(left, bool) or not isinstance(left, int | float | str):
            raise TemplateError(f"{format_value(left)} can't be ordered")
        return test(left, right)

    return compare


def _html(given: str) -> str:
    return given.translate({34: "&#34;", 39: "&#39;", 38: "&amp;", 60: "&lt;", 62: "&gt;", 0: "\ufffd"})


def _length(value: Any) -> int:
    if not isinstance(value, str | Mapping) and not _is_list(value):
        raise TemplateError(f"{format_value(value)} has no length")
    return len(value.encode()) if isinstance(value, str) else len(value)


def _index(of: Any, *keys: Any) -> Any:
    for key in keys:
        if isinstance(of, Mapping):
            of = of.get(text(key), "")
        elif _is_list(of) and isinstance(key, int) and 0 <= key < len(of):
            of = of[key]
        else:
            raise TemplateError(f"index: {format_value(of)} has no {format_value(key)}")
    return of


def _printed(*values: Any) -> str:
    """Concatenate values as Go's ``Sprint``: with a space between two of which neither is a string."""
    text = ""
    for index, value in enumerate(values):
        spaced = index and not isinstance(value, str) and not isinstance(values[index - 1], str)
        text += (" " if spaced else "") + format_value(value)
    return text


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


def _map_characters(given: Any, of: Callable[[str], str]) -> str:
    """Change the case of characters as Go does, each into one character: ß stays, because SS are two."""
    return "".join(changed if len(changed := of(one)) == 1 else one for one in text(given))


def _upper(one: str) -> str:
    return capitals if len(capitals := one.upper()) == 1 else one.title()


def _title(given: Any) -> str:
    return _WORD_START.sub(lambda it: _map_characters(it[0], str.title), text(given))


def _host_and_port(address: str) -> tuple[str, str] | None:
    """Split an address as Go's ``SplitHostPort``; return None for one without a port."""
    found = _ADDRESS.fullmatch(address)
    return (found["inside"] or found["host"] or "", found["port"]) if found else None


def _strip_port(given: Any) -> str:
    address = text(given)
    parts = _host_and_port(address)
    return parts[0] if parts else address


def _strip_domain(given: Any) -> str:
    address = text(given)
    host, port = _host_and_port(address) or (address, "")
    with suppress(ValueError):
        ip_address(host)
        return address
    host = host.partition(".")[0]
    return f"{f'[{host}]' if ':' in host else host}:{port}" if port else host


FUNCTIONS: Final[Mapping[str, Function]] = {
    "query": Function(lambda _: (), 1, 1, "the series of a PromQL query"),
    "first": Function(_first, 1, 1, "the first series of a query"),
    "value": Function(lambda it: _found(it, "value").value, 1, 1, "the value of a series"),
    "label": Function(lambda name, it: _found(it, "label").labels.get(text(name), ""), 2, 2, "a label of a series"),
    "strvalue": Function(
        lambda it: _found(it, "strvalue").labels.get("__value__", ""), 1, 1, "the label that count_values writes"
    ),
    "sortByLabel": Function(_sorted, 2, 2, "the series of a query, sorted by a label"),
    "humanize": Function(humanize, 1, 1, "a number with k, M, G or m, u, n"),
    "humanize1024": Function(humanize_1024, 1, 1, "a number with ki, Mi, Gi"),
    "humanizeDuration": Function(humanize_duration, 1, 1, "seconds as a duration, like 2h 3m 4s"),
    "humanizePercentage": Function(humanize_percentage, 1, 1, "a ratio as a percentage"),
    "humanizeTimestamp": Function(humanize_timestamp, 1, 1, "seconds since the epoch as a time in UTC"),
    "parseDuration": Function(_seconds, 1, 1, "5m as 300"),
    "toUpper": Function(lambda it: _map_characters(it, _upper), 1, 1, "a text in upper case"),
    "toLower": Function(lambda it: _map_characters(it, lambda one: one.lower()[0]), 1, 1, "a text in lower case"),
    "title": Function(_title, 1, 1, "a text in title case"),
    "match": Function(
        lambda pattern, within: _pattern(pattern).search(text(within)) is not None,
        2,
        2,
        "whether a text matches a pattern",
    ),
    "reReplaceAll": Function(_replaced, 3, 3, "a text with matches of a pattern replaced"),
    "stripPort": Function(_strip_port, 1, 1, "an address without its port"),
    "stripDomain": Function(_strip_domain, 1, 1, "a host without its domain"),
    "printf": Function(lambda pattern, *values: sprintf(text(pattern), values), 1, 50, "Go's Sprintf"),
    "print": Function(_printed, 0, 50, "Go's Sprint"),
    "len": Function(_length, 1, 1, "the number of elements or bytes"),
    "index": Function(_index, 1, 5, "an element by its index or key"),
    "eq": Function(_equal, 2, 50, "whether the first equals one of the others"),
    "ne": Function(lambda left, right: not _equal(left, right), 2, 2, "whether two are different"),
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
    "urlquery": Function(lambda *values: quote_plus(_printed(*values), safe=""), 1, 50, "escaped for a URL"),
    "html": Function(lambda *values: _html(_printed(*values)), 1, 50, "escaped for HTML"),
    "println": Function(lambda *values: " ".join(map(format_value, values)) + "\n", 0, 50, "Go's Sprintln"),
    "not": Function(lambda it: not is_true(it), 1, 1, "whether it is empty"),
}

SHORT_CIRCUIT: Final = frozenset({"and", "or"})
"""The functions that evaluate their arguments one by one, up to the one that decides."""

NEED_EXTERNAL_URL: Final = frozenset({"externalURL", "pathPrefix"})
"""The functions whose first argument is the address of toban's pages."""
