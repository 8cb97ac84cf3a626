"""Parses pages in the text formats of Prometheus and OpenMetrics."""

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
"""A metric's name and its labels; a quoted name is among the labels (text format 1.0.0)."""

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
    # Types that only OpenMetrics has are read as gauges.
    "info": MetricType.GAUGE,
    "stateset": MetricType.GAUGE,
    "gaugehistogram": MetricType.GAUGE,
}
SUFFIXES: Final = {"counter": "_total", "info": "_info"}
"""Suffixes that OpenMetrics omits from the names of families, and toban does not."""

NUMBER_CHARACTERS: Final = b"0123456789+-.eE NaInf"
"""Characters of most numbers; Python accepts more than Prometheus does (``1_0``, ``１``, ``+NaN``)."""

SIGNED_NAN: Final = re.compile("[+-][nN]")

NUMBER: Final = re.compile(
    r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:e[+-]?[0-9]+)?|nan|[+-]?inf(?:inity)?", re.IGNORECASE | re.ASCII
)
WHOLE: Final = re.compile(r"-?[0-9]{1,19}", re.ASCII)

MAX_TIME: Final = 253_402_300_799_999
"""The end of the year 9999 in milliseconds."""

UNTIMED: Final = -(2**62)
"""The time of a sample without a timestamp."""


class ExpositionError(TobanError):
    """A page is invalid; the message names the line."""


@dataclass(frozen=True, slots=True)
class ParsedPage:
    """
    The samples of a page.

    ``ids[i]`` is the index in ``PageParser.labels`` of the series with ``values[i]``. ``times[i]`` is its timestamp in
    milliseconds, or ``UNTIMED``; the list is empty where no sample has a timestamp.
    """

    ids: list[int]
    values: list[float]
    times: list[int]


class PageParser:
    """
    Parses the pages of one target, one after the other.

    It caches the labels by each series' text: from one page to the next values change, and texts do not. An id in
    ``ParsedPage.ids`` means the same as long as ``generation`` stays. A page of more than ``limit`` series is rejected
    as soon as that is seen, so that it takes no memory. ``with_target`` changes the labels of a page, once per series;
    a page with a series that then exceeds ``labels`` is rejected.
    """

    def __init__(
        self,
        limit: int,
        with_target: Callable[[Mapping[str, str]], Mapping[str, str]] = dict,
        labels: LabelLimits = LabelLimits(),  # noqa: B008  # it never changes
    ) -> None:
        self.limit = limit
        self._label_limits = labels
        self._with_target = with_target
        self.generation = 0
        self._size = 0
        self._reset()

    def _reset(self) -> None:
        self.generation += 1
        self.labels: list[Labels] = []
        self.families: dict[str, MetricFamily] = {}
        self._ids: dict[str, int] = {}
        self._by_labels: dict[Labels, int] = {}
        self._comments: list[str] = []

    def read(self, page: str, *, openmetrics: bool = False) -> ParsedPage:
        """Parse a page. Raises ``ExpositionError``."""
        if len(self._ids) > 2 * self._size + 1000:
            # Changing series must not pile up.
            self._reset()
        lines = _body(page) if openmetrics else page.split("\n")
        ids, texts, comments = list[int](), list[str](), list[str]()
        times: dict[int, int] = {}
        # The fast path is for a known series without a timestamp; a tab might hide one.
        cached: dict[str, int] = {} if "\t" in page else self._ids
        known = cached.get
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
                    raise ExpositionError(f"line {_line_number(lines, len(ids))}: {error}") from None
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
        return ParsedPage(ids, values, [times.get(index, UNTIMED) for index in range(len(ids))] if times else [])

    def _line(self, line: str, *, openmetrics: bool) -> tuple[int, str, int | None]:
        """Return a line's series, its value as text, and its timestamp. Raises ``ValueError``."""
        found = SERIES.match(line)
        end = found.end() if found else 0
        rest = REST.fullmatch(line, end)
        if not found or not end or not rest:
            raise ValueError(f"{_short(line)} is not a sample")
        text = line[:end]
        key = self._ids.get(text)
        if key is None:
            labels = Labels(self._with_target(_labels(found["name"] or "", found["labels"] or "")))
            if exceeded := self._label_limits.exceeded(labels):
                raise ValueError(exceeded)
            key = self._by_labels.setdefault(labels, len(self.labels))
            if key == len(self.labels):
                self.labels.append(labels)
            self._ids[text] = key
        return key, rest["value"], None if rest["at"] is None else _time(rest["at"], openmetrics=openmetrics)


def _body(page: str) -> list[str]:
    """Return the lines of an OpenMetrics page: its last line shows that it is complete."""
    body, end, after = page.rpartition("# EOF")
    if not end or after not in {"", "\n"} or (body and not body.endswith("\n")):
        raise ExpositionError("the page does not end with # EOF: it is truncated, or not OpenMetrics")
    lines = body.removesuffix("\n").split("\n") if body else []
    # Here and not where comments are parsed: the same comments as on the page before are not parsed again.
    if "# EOF" in lines:
        raise ExpositionError("there is text after # EOF")
    return lines


def _labels(name: str, inside: str) -> dict[str, str]:
    """Parse the text between the braces. Raises ``ValueError``."""
    pairs: dict[str, str] = {}
    position, inside = 0, inside.rstrip(" \t")
    while position < len(inside):
        found = LABEL.match(inside, position)
        if not found:
            raise ValueError(f"{_short(inside[position:])} is not a label")
        position = found.end()
        label = found["name"] or _unescaped(found["quoted"] or "")
        if found["value"] is None:
            # A quoted name without a value is the metric's.
            if name or not label or found["quoted"] is None:
                raise ValueError(f"the label {label!r} has no value")
            name = label
            continue
        if label in pairs or label == NAME:
            raise ValueError(f"duplicate label {label!r}")
        pairs[label] = _unescaped(found["value"])
    if not name:
        raise ValueError("a sample without a name")
    if "le" in pairs and name.endswith("_bucket"):
        pairs["le"] = canonical_bound(pairs["le"])
    if "quantile" in pairs:
        pairs["quantile"] = canonical_bound(pairs["quantile"])
    return {NAME: name, **{label: value for label, value in pairs.items() if value}}


def _unescaped(text: str, known: Mapping[str, str] = {"n": "\n", "\\": "\\", '"': '"'}) -> str:
    """Resolve escapes; a backslash before any other character stays."""
    return ESCAPE.sub(lambda found: known.get(found[1], found[0]), text) if "\\" in text else text


def canonical_bound(bound: str) -> str:
    """Return a bucket's bound as Prometheus 3 writes it: 1 and 1.0 are one series."""
    if not NUMBER.fullmatch(bound):
        return bound
    value = float(bound) or 0.0  # never -0.0
    if not math.isfinite(value):
        return {math.inf: "+Inf", -math.inf: "-Inf"}.get(value, "NaN")
    mantissa, _, exponent = f"{Decimal(repr(value)).normalize():e}".partition("e")
    if -4 <= int(exponent) < 6:
        text = f"{Decimal(repr(value)).normalize():f}"
        return text if "." in text else f"{text}.0"
    return f"{mantissa}e{exponent[0]}{exponent[1:].rjust(2, '0')}"


def _numbers(texts: Sequence[str], lines: Sequence[str]) -> list[float]:
    """Parse values. Raises ``ExpositionError``."""
    # All at once: checking them one by one would take longer than everything else together.
    joined = " ".join(texts)
    if not joined.encode().translate(None, NUMBER_CHARACTERS) and not SIGNED_NAN.search(joined):
        with suppress(ValueError):  # the loop below finds which
            values = list(map(float, texts))
            if math.inf not in values and -math.inf not in values:
                return values
    values = []
    for nth, text in enumerate(texts):
        if not NUMBER.fullmatch(text) or (math.isinf(float(text)) and text[-1].isdecimal()):
            raise ExpositionError(f"line {_line_number(lines, nth)}: {_short(text)} is not a number")
        values.append(float(text))
    return values


def _line_number(lines: Sequence[str], nth: int) -> int:
    """Return the number of the line with a page's nth sample, counted from zero."""
    samples = (number for number, line in enumerate(lines, 1) if (rest := line.strip(" \t")) and rest[0] != "#")
    return next(islice(samples, nth, None))


def _time(text: str, *, openmetrics: bool) -> int:
    """Parse a timestamp, in milliseconds. Raises ``ValueError``."""
    if (NUMBER if openmetrics else WHOLE).fullmatch(text):
        at = float(text) * 1000 if openmetrics else int(text)
        if abs(at) <= MAX_TIME:  # false for NaN
            return round(at)
    raise ValueError(f"{_short(text)} is not a timestamp")


def _families(comments: list[str], *, openmetrics: bool) -> dict[str, MetricFamily]:
    """Return the metadata in the comments."""
    metadata: dict[str, dict[str, str]] = {}
    for line in comments:
        if found := COMMENT.fullmatch(line):
            name = found["name"]
            name = _unescaped(name[1:-1]) if name.startswith('"') else name
            metadata.setdefault(name, {})[found["word"]] = found["text"] or ""
    families = {}
    for name, words in metadata.items():
        type_ = words.get("TYPE", "").strip() or "unknown"
        if type_ not in TYPES:
            raise ExpositionError(f"# TYPE {_short(name)}: {_short(type_)} is not a metric type")
        suffix = SUFFIXES.get(type_, "") if openmetrics else ""
        full = name if name.endswith(suffix) else name + suffix
        help_text = words.get("HELP", "")
        help_text = _unescaped(help_text) if openmetrics else _unescaped(help_text, {"n": "\n", "\\": "\\"})
        families[full] = MetricFamily(full, TYPES[type_], help_text, words.get("UNIT", ""))
    return families


def _short(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:77] + "...")
