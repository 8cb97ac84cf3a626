"""Reads pages in the text formats."""

import math
import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from toban.core.errors import TobanError
from toban.core.labels import NAME, Labels
from toban.core.samples import Family, Type

SERIES: Final = re.compile(
    r'(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)?(?:[ \t]*\{(?P<labels>(?:[^"}]|"(?:\\.|[^"\\])*")*)\})?'
)
"""A metric's name and its labels; a name in quotes stands among the labels (text format 1.0.0)."""

LABEL: Final = re.compile(
    r'[ \t]*(?:(?P<name>[a-zA-Z_][a-zA-Z0-9_]*)|"(?P<quoted>(?:\\.|[^"\\])*)")'
    r'[ \t]*(?:=[ \t]*"(?P<value>(?:\\.|[^"\\])*)"[ \t]*)?(?:,[ \t]*|$)'
)
REST: Final = re.compile(r"[ \t]+(?P<value>[^ \t#]+)(?:[ \t]+(?P<at>[^ \t#]+))?[ \t]*(?:[ \t]#[ \t]*\{.*)?")
ESCAPE: Final = re.compile(r"\\(.)")
COMMENT: Final = re.compile(
    r'#[ \t]+(?P<word>HELP|TYPE|UNIT)[ \t]+(?P<name>"(?:\\.|[^"\\])*"|[^ \t"]+)(?:[ \t](?P<text>.*))?'
)

TYPES: Final = {
    "counter": Type.COUNTER,
    "gauge": Type.GAUGE,
    "histogram": Type.HISTOGRAM,
    "summary": Type.SUMMARY,
    "untyped": Type.UNKNOWN,
    "unknown": Type.UNKNOWN,
    # What OpenMetrics adds reads like a gauge.
    "info": Type.GAUGE,
    "stateset": Type.GAUGE,
    "gaugehistogram": Type.GAUGE,
}
REMEMBERED: Final = 200_000
"""How many series' texts are remembered before the memory begins anew."""

UNTIMED: Final = -(2**62)
"""Stands for the time of a sample that has none of its own."""


class ExpositionError(TobanError):
    """A page does not keep to its format: says in which line, and how."""


@dataclass(frozen=True, slots=True)
class Reading:
    """
    What a page says.

    ``ids[i]`` stands for the labels ``Reader.labels[ids[i]]``, which had ``values[i]``. ``times[i]`` is when, in
    milliseconds, or ``UNTIMED``; the list is empty where no sample has a time of its own.
    """

    ids: list[int]
    values: list[float]
    times: list[int]


class Reader:
    """
    Reads the pages of one target, one after the other.

    It remembers what each series' text meant: from one look to the next numbers change, and texts do not.
    A number in ``Reading.ids`` means the same for as long as ``generation`` stays.
    """

    def __init__(self) -> None:
        self.generation = 0
        self._forget()

    def _forget(self) -> None:
        self.generation += 1
        self.labels: list[Labels] = []
        self.families: dict[str, Family] = {}
        self._ids: dict[str, int] = {}
        self._by_labels: dict[Labels, int] = {}
        self._comments: list[str] = []

    def read(self, page: str, *, openmetrics: bool = False) -> Reading:
        """Read a page. Raises ``ExpositionError``."""
        if len(self._ids) > REMEMBERED:
            self._forget()
        lines = _body(page) if openmetrics else page.split("\n")
        ids, values, times, comments = list[int](), list[float](), list[int](), list[str]()
        known, timed = self._ids.get, False
        for number, line in enumerate(lines, 1):
            # The quick way, for a series that was seen before and has no time of its own.
            text, _, value = line.rpartition(" ")
            key = known(text)
            if key is not None and value and "_" not in value:
                try:
                    values.append(float(value))
                except ValueError:
                    raise ExpositionError(f"line {number}: {value!r} is no number") from None
                ids.append(key)
                times.append(UNTIMED)
            elif rest := line.strip(" \t\r"):
                if rest[0] == "#":
                    comments.append(rest)
                    continue
                key, read, at = self._line(rest, number, openmetrics=openmetrics)
                timed = timed or at != UNTIMED
                ids.append(key)
                values.append(read)
                times.append(at)
            elif openmetrics:
                raise ExpositionError(f"line {number}: empty lines are not allowed in OpenMetrics")
        if comments != self._comments:
            self.families = _families(comments, openmetrics=openmetrics)
            self._comments = comments
        return Reading(ids, values, times if timed else [])

    def _line(self, line: str, number: int, *, openmetrics: bool) -> tuple[int, float, int]:
        found = SERIES.match(line)
        end = found.end() if found else 0
        rest = REST.fullmatch(line, end)
        if not found or not end or not rest:
            raise ExpositionError(f"line {number}: {_short(line)} is no sample")
        text = line[:end]
        key = self._ids.get(text)
        if key is None:
            labels = _labels(found["name"] or "", found["labels"] or "", number)
            key = self._by_labels.setdefault(labels, len(self.labels))
            if key == len(self.labels):
                self.labels.append(labels)
            self._ids[text] = key
        at = UNTIMED if rest["at"] is None else _time(rest["at"], number, openmetrics=openmetrics)
        return key, _number(rest["value"], number), at


def _body(page: str) -> list[str]:
    """Return the lines of an OpenMetrics page: its last line says that it is whole."""
    body, end, after = page.rpartition("# EOF")
    if not end or after not in {"", "\n"} or (body and not body.endswith("\n")):
        raise ExpositionError("the page does not end with # EOF: it is cut off, or no OpenMetrics")
    return body.removesuffix("\n").split("\n") if body else []


def _labels(name: str, inside: str, number: int) -> Labels:
    pairs: dict[str, str] = {}
    place = 0
    while place < len(inside.rstrip(" \t")):
        found = LABEL.match(inside, place)
        if not found:
            raise ExpositionError(f"line {number}: {_short(inside[place:])} is no label")
        place = found.end()
        label = found["name"] or _plain(found["quoted"] or "")
        if found["value"] is None:
            # A name in quotes without a value is the metric's.
            if name or found["quoted"] is None:
                raise ExpositionError(f"line {number}: the label {label!r} has no value")
            name = label
            continue
        if label in pairs or label == NAME:
            raise ExpositionError(f"line {number}: the label {label!r} is there twice")
        pairs[label] = _plain(found["value"])
    if not name:
        raise ExpositionError(f"line {number}: a sample without a name")
    for bound in ("le", "quantile"):
        if bound in pairs:
            pairs[bound] = canonical(pairs[bound])
    return Labels({NAME: name, **pairs})


def _plain(text: str) -> str:
    """Take the escapes out; a backslash before anything else stays."""
    if "\\" not in text:
        return text
    return ESCAPE.sub(lambda found: {"n": "\n", "\\": "\\", '"': '"'}.get(found[1], found[0]), text)


def canonical(bound: str) -> str:
    """Write a bucket's bound as Prometheus 3 does, whatever the page wrote: 1 and 1.0 are one series."""
    try:
        value = float(bound)
    except ValueError:
        return bound
    if not math.isfinite(value):
        return {math.inf: "+Inf", -math.inf: "-Inf"}.get(value, "NaN")
    mantissa, _, exponent = f"{Decimal(repr(value)).normalize():e}".partition("e")
    if -4 <= int(exponent) < 6:
        plain = f"{Decimal(repr(value)).normalize():f}"
        return plain if "." in plain else f"{plain}.0"
    return f"{mantissa}e{exponent[0]}{exponent[1:].rjust(2, '0')}"


def _number(text: str, number: int) -> float:
    try:
        if "_" in text:
            raise ValueError(text)
        return float(text)
    except ValueError:
        raise ExpositionError(f"line {number}: {_short(text)} is no number") from None


def _time(text: str, number: int, *, openmetrics: bool) -> int:
    try:
        if "_" in text:
            raise ValueError(text)
        return round(float(text) * 1000) if openmetrics else int(text)
    except (ValueError, OverflowError):
        raise ExpositionError(f"line {number}: {_short(text)} is no time") from None


def _families(comments: list[str], *, openmetrics: bool) -> dict[str, Family]:
    """Return what the comments tell of the metrics."""
    told: dict[str, dict[str, str]] = {}
    for line in comments:
        found = COMMENT.fullmatch(line)
        if found:
            name = found["name"]
            name = _plain(name[1:-1]) if name.startswith('"') else name
            told.setdefault(name, {})[found["word"]] = found["text"] or ""
    families = {}
    for name, words in told.items():
        sort = words.get("TYPE", "unknown").strip()
        if sort not in TYPES:
            raise ExpositionError(f"# TYPE {name}: {_short(sort)} is no type of metric")
        full = f"{name}_total" if openmetrics and sort == "counter" and not name.endswith("_total") else name
        families[full] = Family(full, TYPES[sort], _plain(words.get("HELP", "")), words.get("UNIT", ""))
    return families


def _short(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:77] + "...")
