"""Writes pages in the text formats."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

import numpy as np

from toban.core.labels import NAME, Labels, quote
from toban.core.samples import Batch, Family, Type


class Format(Enum):
    """A text format: its media type."""

    TEXT = "text/plain; version=0.0.4; charset=utf-8"
    OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


SUFFIXES: Final = ("_bucket", "_sum", "_count")


@dataclass(frozen=True, slots=True)
class Line:
    """One series of a page: its labels, its value, and when that was so in milliseconds (0: now)."""

    labels: Labels
    value: float
    at: int = 0


def lines(batches: Iterable[Batch]) -> Iterator[Line]:
    """Return the numbers of some looks, without what is absent or has ended."""
    for batch in batches:
        for labels, value in zip(batch.layout.series, batch.values.tolist(), strict=True):
            # A NaN that is a real measurement tells nothing on a page either.
            if value == value:
                yield Line(labels, value)


def families(batches: Iterable[Batch]) -> dict[str, Family]:
    """Return what is known of the metrics in some looks, by name."""
    return {family.name: family for batch in batches for family in batch.layout.families}


def page(found: Iterable[Line], known: Mapping[str, Family], format: Format) -> Iterator[str]:
    """
    Write a page, family by family.

    https://prometheus.io/docs/instrumenting/exposition_formats/ and the OpenMetrics 1.0 specification.
    """
    grouped: dict[str, list[Line]] = {}
    for line in found:
        grouped.setdefault(_family_of(line.labels.name, known), []).append(line)
    for name in sorted(grouped):
        family = known.get(name) or Family(name, Type.UNKNOWN, "")
        shown = family.name
        if format is Format.OPENMETRICS and family.type is Type.COUNTER:
            shown = shown.removesuffix("_total")
        yield from _head(shown, family, format)
        for line in grouped[name]:
            yield _written(line, format)
    if format is Format.OPENMETRICS:
        yield "# EOF\n"


def _family_of(name: str, known: Mapping[str, Family]) -> str:
    if name not in known:
        for suffix in SUFFIXES:
            stem = name.removesuffix(suffix)
            if stem != name and stem in known and known[stem].type in {Type.HISTOGRAM, Type.SUMMARY}:
                return stem
    return name


def _head(shown: str, family: Family, format: Format) -> Iterator[str]:
    meaning = family.help.replace("\\", r"\\").replace("\n", r"\n")
    sort = family.type.value
    if format is Format.TEXT:
        sort = "untyped" if family.type is Type.UNKNOWN else sort
    else:
        meaning = meaning.replace('"', r"\"")
        if family.type is Type.COUNTER and not family.name.endswith("_total"):
            # OpenMetrics has no counter that is called anything else.
            sort = "unknown"
    if meaning:
        yield f"# HELP {shown} {meaning}\n"
    yield f"# TYPE {shown} {sort}\n"
    if format is Format.OPENMETRICS and family.unit and shown.endswith(f"_{family.unit}"):
        yield f"# UNIT {shown} {family.unit}\n"


def _written(line: Line, format: Format) -> str:
    inside = ",".join(f"{name}={quote(value)}" for name, value in line.labels.items() if name != NAME)
    labels = f"{{{inside}}}" if inside else ""
    at = ""
    if line.at:
        at = f" {line.at / 1000:.3f}" if format is Format.OPENMETRICS else f" {line.at}"
    return f"{line.labels.name}{labels} {number(line.value)}{at}\n"


def number(value: float) -> str:
    """Write a value so that it is read back to the last bit."""
    if np.isnan(value):
        return "NaN"
    if np.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    if value == int(value) and abs(value) < 1e15:
        return str(int(value))
    return repr(value)


def accepted(accept: str) -> Format:
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
