"""Writes pages in the text formats."""

import math
import re
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

from toban.core.labels import LABEL_NAME, METRIC_NAME, NAME, Labels, quote
from toban.core.samples import Batch, MetricFamily, MetricType


class Format(Enum):
    """A text format: its media type."""

    TEXT = "text/plain; version=0.0.4; charset=utf-8"
    OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


PARTS: Final = {MetricType.HISTOGRAM: ("_bucket", "_sum", "_count"), MetricType.SUMMARY: ("_sum", "_count")}
"""What the series of a family are called beyond its name."""


@dataclass(frozen=True, slots=True)
class SampleLine:
    """One series of a page: its labels, its value, and when that was so in milliseconds (0: now)."""

    labels: Labels
    value: float
    at: int = 0


def sample_lines(batches: Iterable[Batch]) -> Iterable[SampleLine]:
    """Return the newest number of each series in some looks, without what is absent or has ended."""
    newest: dict[Labels, SampleLine] = {}
    for batch in sorted(batches, key=lambda batch: batch.at):
        for labels, value in zip(batch.layout.series, batch.values.tolist(), strict=True):
            # A NaN that is a real measurement tells nothing on a page either.
            if value == value:
                newest[labels] = SampleLine(labels, value)
    return newest.values()


def families(batches: Iterable[Batch]) -> dict[str, MetricFamily]:
    """Return what is known of the metrics in some looks, by name."""
    return {family.name: family for batch in batches for family in batch.layout.families}


def write_page(found: Iterable[SampleLine], known: Mapping[str, MetricFamily], format: Format) -> Iterator[str]:
    """
    Write a page, family by family; what is on it is read at once, and written as far as it is asked for.

    https://prometheus.io/docs/instrumenting/exposition_formats/ and the OpenMetrics 1.0 specification.
    """
    grouped: dict[str, list[SampleLine]] = {}
    for line in found:
        grouped.setdefault(family_of(line.labels.name, known), []).append(line)
    return _page(grouped, known, format)


def _page(grouped: Mapping[str, list[SampleLine]], known: Mapping[str, MetricFamily], format: Format) -> Iterator[str]:
    for name in sorted(grouped):
        yield from family_header(name, known, format, grouped)
        if name in known and known[name].type in PARTS:
            grouped[name].sort(key=sort_key)
        for line in grouped[name]:
            yield _written(line, format)
    if format is Format.OPENMETRICS:
        yield "# EOF\n"


def family_header(
    name: str, known: Mapping[str, MetricFamily], format: Format, beside: Container[str] = (), *, quoted: bool = False
) -> Iterator[str]:
    """
    Write what stands before a family's samples; ``beside`` are the names of the other families of the page.

    A name of other signs than are usual is ``quoted``, as Prometheus 3 has it, or gets `_` in their place.
    """
    family = known.get(name) or MetricFamily(name, MetricType.UNKNOWN, "")
    stem = name.removesuffix("_total")
    if format is Format.OPENMETRICS and family.type is MetricType.COUNTER and (stem == name or stem in beside):
        # OpenMetrics has no counter without _total, and no two families of one name.
        family = replace(family, type=MetricType.UNKNOWN)
    yield from _head(family, format, quoted=quoted)


def family_of(name: str, known: Mapping[str, MetricFamily]) -> str:
    """Return the name of the family that a series belongs to."""
    if name not in known:
        for suffix in ("_bucket", "_sum", "_count"):
            stem = name.removesuffix(suffix)
            if stem != name and stem in known and suffix in PARTS.get(known[stem].type, ()):
                return stem
    return name


def sort_key(line: SampleLine) -> tuple[list[tuple[str, str]], str, float]:
    """Sort a histogram's or summary's series: those with the same labels together, its bounds in order."""
    bound = line.labels.get("le") or line.labels.get("quantile") or "0"
    try:
        place = float(bound)
    except ValueError:
        place = math.inf
    return list(line.labels.drop(NAME, "le", "quantile").items()), line.labels.name, place


def _head(family: MetricFamily, format: Format, *, quoted: bool) -> Iterator[str]:
    shown, sort = family.name, family.type.value
    meaning = family.help.replace("\\", r"\\").replace("\n", r"\n")
    if format is Format.TEXT:
        sort = "untyped" if family.type is MetricType.UNKNOWN else sort
    else:
        meaning = meaning.replace('"', r"\"")
        if family.type is MetricType.COUNTER:
            shown = shown.removesuffix("_total")
    unit = family.unit if shown.endswith(f"_{family.unit}") else ""
    shown = _shown(shown, METRIC_NAME, quoted=quoted)
    if meaning:
        yield f"# HELP {shown} {meaning}\n"
    yield f"# TYPE {shown} {sort}\n"
    if format is Format.OPENMETRICS and unit:
        yield f"# UNIT {shown} {unit}\n"


def series_text(series: Labels, *, quoted: bool = False) -> str:
    """Write a series as it stands before its value; its name inside the braces where it is in quotes."""
    pairs = [
        f"{_shown(name, LABEL_NAME, quoted=quoted)}={quote(value)}" for name, value in series.items() if name != NAME
    ]
    name = _shown(series.name, METRIC_NAME, quoted=quoted)
    if name.startswith('"'):
        name, pairs = "", [name, *pairs]
    return f"{name}{{{','.join(pairs)}}}" if pairs else name


def _written(line: SampleLine, format: Format) -> str:
    at = ""
    if line.at:
        at = f" {line.at / 1000:.3f}" if format is Format.OPENMETRICS else f" {line.at}"
    return f"{series_text(line.labels)} {format_value(line.value)}{at}\n"


def _shown(name: str, pattern: re.Pattern[str], *, quoted: bool) -> str:
    """Return a name in quotes or as those read it who know no others: what was scraped may have signs of any script."""
    if pattern.fullmatch(name):
        return name
    if quoted:
        return quote(name)
    name = re.sub(r"[^a-zA-Z0-9_:]" if pattern is METRIC_NAME else r"[^a-zA-Z0-9_]", "_", name)
    return name if pattern.fullmatch(name) else f"_{name}"


def format_value(value: float) -> str:
    """Write a value so that it is read back to the last bit."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return repr(value).removesuffix(".0")


def negotiate_format(accept: str) -> Format:
    """Choose the format that who asks likes best, by its Accept header; the plain one when in doubt."""
    weights: dict[Format, float] = {}
    for part in accept.split(","):
        media, *parameters = (piece.strip() for piece in part.split(";"))
        given = dict(parameter.partition("=")[::2] for parameter in parameters)
        spoken = {"application/openmetrics-text": Format.OPENMETRICS, "text/plain": Format.TEXT}.get(media.lower())
        if spoken and given.get("version", "1.0.0").strip() in {"0.0.4", "1.0.0"}:
            weights[spoken] = max(weights.get(spoken, 0.0), _weight(given.get("q", "1")))
    best = max(weights, key=lambda spoken: weights[spoken], default=Format.TEXT)
    return best if weights.get(best) else Format.TEXT


def _weight(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
