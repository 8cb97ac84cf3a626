"""Writes pages in the text formats of Prometheus and OpenMetrics."""

import math
import re
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

from toban.core.labels import LABEL_NAME, METRIC_NAME, NAME, Labels, quote
from toban.core.samples import Batch, MetricFamily, MetricType


class Format(Enum):
    """A text format, by its media type."""

    TEXT = "text/plain; version=0.0.4; charset=utf-8"
    OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


SUFFIXES: Final = {MetricType.HISTOGRAM: ("_bucket", "_sum", "_count"), MetricType.SUMMARY: ("_sum", "_count")}
"""Suffixes of the series of a family."""


@dataclass(frozen=True, slots=True)
class SampleLine:
    """One sample of a page: its labels, its value, and its timestamp in milliseconds (0: none)."""

    labels: Labels
    value: float
    at: int = 0


def sample_lines(batches: Iterable[Batch]) -> Iterable[SampleLine]:
    """Return the newest sample of each series, without NaN and staleness markers."""
    newest: dict[Labels, SampleLine] = {}
    for batch in sorted(batches, key=lambda batch: batch.at):
        for labels, value in zip(batch.layout.series, batch.values.tolist(), strict=True):
            # A NaN that was measured is of no use on a page either.
            if value == value:
                newest[labels] = SampleLine(labels, value)
    return newest.values()


def families(batches: Iterable[Batch]) -> dict[str, MetricFamily]:
    """Return the families of batches, by name."""
    return {family.name: family for batch in batches for family in batch.layout.families}


def write_page(found: Iterable[SampleLine], known: Mapping[str, MetricFamily], format: Format) -> Iterator[str]:
    """
    Write a page, family by family: samples are read at once, and the text is generated on demand.

    https://prometheus.io/docs/instrumenting/exposition_formats/ and the OpenMetrics 1.0 specification.
    """
    grouped: dict[str, list[SampleLine]] = {}
    for line in found:
        grouped.setdefault(family_of(line.labels.name, known), []).append(line)
    return _page(grouped, known, format)


def _page(grouped: Mapping[str, list[SampleLine]], known: Mapping[str, MetricFamily], format: Format) -> Iterator[str]:
    for name in sorted(grouped):
        yield from family_header(name, known, format, grouped)
        if name in known and known[name].type in SUFFIXES:
            grouped[name].sort(key=sort_key)
        for line in grouped[name]:
            yield _sample_text(line, format)
    if format is Format.OPENMETRICS:
        yield "# EOF\n"


def family_header(
    name: str, known: Mapping[str, MetricFamily], format: Format, beside: Container[str] = (), *, quoted: bool = False
) -> Iterator[str]:
    """
    Write the header of a family; ``beside`` are the names of the other families of the page.

    A name with other characters than `[a-zA-Z0-9_:]` is ``quoted``, as in Prometheus 3, or has them replaced by `_`.
    """
    family = known.get(name) or MetricFamily(name, MetricType.UNKNOWN, "")
    stem = name.removesuffix("_total")
    if format is Format.OPENMETRICS and family.type is MetricType.COUNTER and (stem == name or stem in beside):
        # OpenMetrics has no counter without _total, and no two families of one name.
        family = replace(family, type=MetricType.UNKNOWN)
    yield from _header(family, format, quoted=quoted)


def family_of(name: str, known: Mapping[str, MetricFamily]) -> str:
    """Return the name of the family that a series belongs to."""
    if name not in known:
        for suffix in ("_bucket", "_sum", "_count"):
            stem = name.removesuffix(suffix)
            if stem != name and stem in known and suffix in SUFFIXES.get(known[stem].type, ()):
                return stem
    return name


def sort_key(line: SampleLine) -> tuple[list[tuple[str, str]], str, float]:
    """Return a key that sorts series of a histogram or summary by their other labels, then by bound."""
    bound = line.labels.get("le") or line.labels.get("quantile") or "0"
    try:
        number = float(bound)
    except ValueError:
        number = math.inf
    return list(line.labels.drop(NAME, "le", "quantile").items()), line.labels.name, number


def _header(family: MetricFamily, format: Format, *, quoted: bool) -> Iterator[str]:
    name, type_ = family.name, family.type.value
    help_text = family.help.replace("\\", r"\\").replace("\n", r"\n")
    if format is Format.TEXT:
        type_ = "untyped" if family.type is MetricType.UNKNOWN else type_
    else:
        help_text = help_text.replace('"', r"\"")
        if family.type is MetricType.COUNTER:
            name = name.removesuffix("_total")
    unit = family.unit if name.endswith(f"_{family.unit}") else ""
    name = _valid_name(name, METRIC_NAME, quoted=quoted)
    if help_text:
        yield f"# HELP {name} {help_text}\n"
    yield f"# TYPE {name} {type_}\n"
    if format is Format.OPENMETRICS and unit:
        yield f"# UNIT {name} {unit}\n"


def series_text(series: Labels, *, quoted: bool = False) -> str:
    """Return a series as text before its value; a quoted name is inside the braces."""
    pairs = [
        f"{_valid_name(name, LABEL_NAME, quoted=quoted)}={quote(value)}"
        for name, value in series.items()
        if name != NAME
    ]
    name = _valid_name(series.name, METRIC_NAME, quoted=quoted)
    if name.startswith('"'):
        name, pairs = "", [name, *pairs]
    return f"{name}{{{','.join(pairs)}}}" if pairs else name


def _sample_text(line: SampleLine, format: Format) -> str:
    at = ""
    if line.at:
        at = f" {line.at / 1000:.3f}" if format is Format.OPENMETRICS else f" {line.at}"
    return f"{series_text(line.labels)} {format_value(line.value)}{at}\n"


def _valid_name(name: str, pattern: re.Pattern[str], *, quoted: bool) -> str:
    """Return a name quoted or with invalid characters replaced: scraped names may have characters of any script."""
    if pattern.fullmatch(name):
        return name
    if quoted:
        return quote(name)
    name = re.sub(r"[^a-zA-Z0-9_:]" if pattern is METRIC_NAME else r"[^a-zA-Z0-9_]", "_", name)
    return name if pattern.fullmatch(name) else f"_{name}"


def format_value(value: float) -> str:
    """Return a value as text that parses to the same bits."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return repr(value).removesuffix(".0")


def negotiate_format(accept: str) -> Format:
    """Return the format that the client prefers, by its Accept header; the text format when in doubt."""
    weights: dict[Format, float] = {}
    for part in accept.split(","):
        media_type, *parameters = (piece.strip() for piece in part.split(";"))
        values = dict(parameter.partition("=")[::2] for parameter in parameters)
        candidate = {"application/openmetrics-text": Format.OPENMETRICS, "text/plain": Format.TEXT}.get(
            media_type.lower()
        )
        if candidate and values.get("version", "1.0.0").strip() in {"0.0.4", "1.0.0"}:
            weights[candidate] = max(weights.get(candidate, 0.0), _weight(values.get("q", "1")))
    best = max(weights, key=lambda candidate: weights[candidate], default=Format.TEXT)
    return best if weights.get(best) else Format.TEXT


def _weight(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
