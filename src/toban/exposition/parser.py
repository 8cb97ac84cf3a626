"""Reads pages in the text formats."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from itertools import islice
from typing import Final

from toban.core.errors import TobanError
from toban.core.labels import NAME, LabelLimits, Labels
from toban.core.samples import MetricFamily, MetricType

SERIES: Final = re.compile(
    r'(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*+)?(?:[ \t]*\{(?P<labels>(?:[^"}]++|"(?:[^"\\]++|\\.)*+")*+)\})?'
)
"""A metric's name and its labels; a name in quotes stands among the labels (text format 1.0.0)."""

LABEL: Final = re.compile(
    r'[ \t]*(?:(?P<name>[a-zA-Z_][a-zA-Z0-9_]*+)|"(?P<quoted>(?:[^"\\]++|\\.)*+)")'
    r'[ \t]*(?:=[ \t]*"(?P<value>(?:[^"\\]++|\\.)*+)"[ \t]*)?(?:,[ \t]*|$)'
)
REST: Final = re.compile(
    r"(?:(?<=\})|[ \t])[ \t]*(?P<value>[^ \t#]+)(?:[ \t]+(?P<at>[^ \t#]+))?[ \t]*(?:[ \t]#[ \t]*\{.*)?"
)
ESCAPE: Final = re.compile(r"\\(.)")
COMMENT: Final = re.compile(
    r'#[ \t]+(?P<word>HELP|TYPE|UNIT)[ \t]+(?P<name>"(?:\\.|[^"\\])*"|[^ \t"]+)(?:[ \t](?P<text>.*))?'
)

TYPES: Final = {
    "counter": MetricType.COUNTER,
    "gauge": MetricType.GAUGE,
    "histogram": MetricType.HISTOGRAM,
    "summary": MetricType.SUMMARY,
    "untyped": MetricType.UNKNOWN,
    "unknown": MetricType.UNKNOWN,
    # What OpenMetrics adds reads like a gauge.
    "info": MetricType.GAUGE,
    "stateset": MetricType.GAUGE,
    "gaugehistogram": MetricType.GAUGE,
}
SUFFIXES: Final = {"counter": "_total", "info": "_info"}
"""What OpenMetrics leaves out where it names a family, and toban does not."""

IN_NUMBERS: Final = b"0123456789+-.eE NaInf"
"""What numbers are written with, mostly; Python reads more than Prometheus does (``1_0``, ``１``, ``+NaN``)."""

SIGNED_NAN: Final = re.compile("[+-][nN]")

NUMBER: Final = re.compile(
    r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:e[+-]?[0-9]+)?|nan|[+-]?inf(?:inity)?", re.IGNORECASE | re.ASCII
)
WHOLE: Final = re.compile(r"-?[0-9]{1,19}", re.ASCII)

LAST: Final = 253_402_300_799_999
"""The end of the year 9999 in milliseconds: no clock says more."""

UNTIMED: Final = -(2**62)
"""Stands for the time of a sample that has none of its own."""


class ExpositionError(TobanError):
    """A page does not keep to its format: says in which line, and how."""


@dataclass(frozen=True, slots=True)
class ParsedPage:
    """
    What a page says.

    ``ids[i]`` stands for the labels ``Reader.labels[ids[i]]``, which had ``values[i]``. ``times[i]`` is when, in
    milliseconds, or ``UNTIMED``; the list is empty where no sample has a time of its own.
    """

    ids: list[int]
    values: list[float]
    times: list[int]


class PageParser:
    """
    Reads the pages of one target, one after the other.

    It remembers what each series' text meant: from one look to the next numbers change, and texts do not.
    A number in ``Reading.ids`` means the same for as long as ``generation`` stays. A page of more than ``limit``
    series is refused as soon as that is seen, so that a flood takes no memory. ``dressed`` changes the labels that
    a page says, once a series; a page with a series that then exceeds ``labels`` is refused.
    """

    def __init__(
        self,
        limit: int,
        dressed: Callable[[Mapping[str, str]], Mapping[str, str]] = dict,
        labels: LabelLimits = LabelLimits(),  # noqa: B008  # it never changes
    ) -> None:
        self.limit = limit
        self._label_limits = labels
        self._dressed = dressed
        self.generation = 0
        self._size = 0
        self._forget()

    def _forget(self) -> None:
        self.generation += 1
        self.labels: list[Labels] = []
        self.families: dict[str, MetricFamily] = {}
        self._ids: dict[str, int] = {}
        self._by_labels: dict[Labels, int] = {}
        self._comments: list[str] = []

    def read(self, page: str, *, openmetrics: bool = False) -> ParsedPage:
        """Read a page. Raises ``ExpositionError``."""
        if len(self._ids) > 2 * self._size + 1000:
            # Series that come and go must not pile up.
            self._forget()
        lines = _body(page) if openmetrics else page.split("\n")
        ids, texts, comments = list[int](), list[str](), list[str]()
        times: dict[int, int] = {}
        # The quick way is for a series that was seen before and has no time of its own; a tab might hide one.
        remembered: dict[str, int] = {} if "\t" in page else self._ids
        known = remembered.get
        for line in lines:
            text, _, value = line.rpartition(" ")
            key = known(text)
            if key is not None and value:
                ids.append(key)
                texts.append(value)
            elif rest := line.strip(" \t"):
                if rest[0] == "#":
                    comments.append(rest)
                    continue
                try:
                    key, value, at = self._line(rest, openmetrics=openmetrics)
                except ValueError as error:
                    raise ExpositionError(f"line {_place(lines, len(ids))}: {error}") from None
                if at is not None:
                    times[len(ids)] = at
                ids.append(key)
                texts.append(value)
                if len(ids) > self.limit:
                    raise ExpositionError(
                        f"more series than its limit of {self.limit}: raise `sample_limit` if they are wanted"
                    )
            elif openmetrics:
                raise ExpositionError("an empty line, which OpenMetrics does not allow")
        values = _numbers(texts, lines)
        self._size = len(ids)
        if comments != self._comments:
            self.families = _families(comments, openmetrics=openmetrics)
            self._comments = comments
        return ParsedPage(ids, values, [times.get(place, UNTIMED) for place in range(len(ids))] if times else [])

    def _line(self, line: str, *, openmetrics: bool) -> tuple[int, str, int | None]:
        """Return a line's series, its number as it is written, and its time. Raises ``ValueError``."""
        found = SERIES.match(line)
        end = found.end() if found else 0
        rest = REST.fullmatch(line, end)
        if not found or not end or not rest:
            raise ValueError(f"{_short(line)} is no sample")
        text = line[:end]
        key = self._ids.get(text)
        if key is None:
            labels = Labels(self._dressed(_labels(found["name"] or "", found["labels"] or "")))
            if exceeded := self._label_limits.exceeded(labels):
                raise ValueError(exceeded)
            key = self._by_labels.setdefault(labels, len(self.labels))
            if key == len(self.labels):
                self.labels.append(labels)
            self._ids[text] = key
        return key, rest["value"], None if rest["at"] is None else _time(rest["at"], openmetrics=openmetrics)


def _body(page: str) -> list[str]:
    """Return the lines of an OpenMetrics page: its last line says that it is whole."""
    body, end, after = page.rpartition("# EOF")
    if not end or after not in {"", "\n"} or (body and not body.endswith("\n")):
        raise ExpositionError("the page does not end with # EOF: it is cut off, or no OpenMetrics")
    lines = body.removesuffix("\n").split("\n") if body else []
    # Here and not where comments are read: those that are the same as on the page before are not read again.
    if "# EOF" in lines:
        raise ExpositionError("something stands after # EOF")
    return lines


def _labels(name: str, inside: str) -> dict[str, str]:
    """Read what stands between the braces. Raises ``ValueError``."""
    pairs: dict[str, str] = {}
    place, inside = 0, inside.rstrip(" \t")
    while place < len(inside):
        found = LABEL.match(inside, place)
        if not found:
            raise ValueError(f"{_short(inside[place:])} is no label")
        place = found.end()
        label = found["name"] or _plain(found["quoted"] or "")
        if found["value"] is None:
            # A name in quotes without a value is the metric's.
            if name or not label or found["quoted"] is None:
                raise ValueError(f"the label {label!r} has no value")
            name = label
            continue
        if label in pairs or label == NAME:
            raise ValueError(f"the label {label!r} is there twice")
        pairs[label] = _plain(found["value"])
    if not name:
        raise ValueError("a sample without a name")
    if "le" in pairs and name.endswith("_bucket"):
        pairs["le"] = canonical_bound(pairs["le"])
    if "quantile" in pairs:
        pairs["quantile"] = canonical_bound(pairs["quantile"])
    return {NAME: name, **{label: value for label, value in pairs.items() if value}}


def _plain(text: str, known: Mapping[str, str] = {"n": "\n", "\\": "\\", '"': '"'}) -> str:
    """Take the escapes out; a backslash before anything else stays."""
    return ESCAPE.sub(lambda found: known.get(found[1], found[0]), text) if "\\" in text else text


def canonical_bound(bound: str) -> str:
    """Write a bucket's bound as Prometheus 3 does, whatever the page wrote: 1 and 1.0 are one series."""
    if not NUMBER.fullmatch(bound):
        return bound
    value = float(bound) or 0.0  # never -0.0
    if not math.isfinite(value):
        return {math.inf: "+Inf", -math.inf: "-Inf"}.get(value, "NaN")
    mantissa, _, exponent = f"{Decimal(repr(value)).normalize():e}".partition("e")
    if -4 <= int(exponent) < 6:
        plain = f"{Decimal(repr(value)).normalize():f}"
        return plain if "." in plain else f"{plain}.0"
    return f"{mantissa}e{exponent[0]}{exponent[1:].rjust(2, '0')}"


def _numbers(texts: Sequence[str], lines: Sequence[str]) -> list[float]:
    """Return the numbers. Raises ``ExpositionError``."""
    # All at once: one by one, looking for odd ones would take longer than everything else together.
    joined = " ".join(texts)
    if not joined.encode().translate(None, IN_NUMBERS) and not SIGNED_NAN.search(joined):
        with suppress(ValueError):  # the strict way says which
            values = list(map(float, texts))
            if math.inf not in values and -math.inf not in values:
                return values
    values = []
    for nth, text in enumerate(texts):
        if not NUMBER.fullmatch(text) or (math.isinf(float(text)) and text[-1].isdecimal()):
            raise ExpositionError(f"line {_place(lines, nth)}: {_short(text)} is no number")
        values.append(float(text))
    return values


def _place(lines: Sequence[str], nth: int) -> int:
    """Return the number of the line that holds a page's nth sample, counted from nought."""
    samples = (number for number, line in enumerate(lines, 1) if (rest := line.strip(" \t")) and rest[0] != "#")
    return next(islice(samples, nth, None))


def _time(text: str, *, openmetrics: bool) -> int:
    """Return a time in milliseconds. Raises ``ValueError``."""
    if (NUMBER if openmetrics else WHOLE).fullmatch(text):
        at = float(text) * 1000 if openmetrics else int(text)
        if abs(at) <= LAST:  # which no NaN is
            return round(at)
    raise ValueError(f"{_short(text)} is no time")


def _families(comments: list[str], *, openmetrics: bool) -> dict[str, MetricFamily]:
    """Return what the comments tell of the metrics."""
    told: dict[str, dict[str, str]] = {}
    for line in comments:
        if found := COMMENT.fullmatch(line):
            name = found["name"]
            name = _plain(name[1:-1]) if name.startswith('"') else name
            told.setdefault(name, {})[found["word"]] = found["text"] or ""
    families = {}
    for name, words in told.items():
        sort = words.get("TYPE", "").strip() or "unknown"
        if sort not in TYPES:
            raise ExpositionError(f"# TYPE {_short(name)}: {_short(sort)} is no type of metric")
        suffix = SUFFIXES.get(sort, "") if openmetrics else ""
        full = name if name.endswith(suffix) else name + suffix
        meaning = words.get("HELP", "")
        meaning = _plain(meaning) if openmetrics else _plain(meaning, {"n": "\n", "\\": "\\"})
        families[full] = MetricFamily(full, TYPES[sort], meaning, words.get("UNIT", ""))
    return families


def _short(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:77] + "...")
