"""Dumps of series in OpenMetrics: each line has a timestamp, as promtool reads them to create blocks."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby, islice
from typing import Final

import numpy as np
from numpy.typing import NDArray

from toban.core.labels import Labels
from toban.core.samples import MetricFamily
from toban.exposition.parser import UNTIMED, ExpositionError, PageParser
from toban.exposition.writer import Format, SampleLine, family_header, family_of, format_value, series_text, sort_key

CHUNK_LINES: Final = 5_000
"""Lines that are read or written at once."""


@dataclass(frozen=True, slots=True)
class DumpChunk:
    """A part of a dump: series, timestamps in milliseconds, values; and the metadata of their metrics."""

    samples: Sequence[tuple[Labels, int, float]]
    families: Sequence[MetricFamily] = field(default=())


def read_dump(lines: Iterable[str]) -> Iterator[DumpChunk]:
    """
    Read a dump, some thousand lines at a time.

    Raises ``ExpositionError`` that names the line, also for a missing # EOF at the end: what came before is valid.
    """
    parser, rest, before, ended = PageParser(2**31), iter(lines), 0, False
    while chunk := list(islice(rest, CHUNK_LINES)):
        if ended:
            raise ExpositionError(f"line {before + 1}: there is text after # EOF")
        if chunk[-1].rstrip("\n") == "# EOF":
            ended = True
        try:
            yield _parse(parser, "".join(chunk if ended else [*chunk, "# EOF\n"]))
        except ExpositionError as error:
            raise ExpositionError(_moved(str(error), before)) from None
        before += len(chunk)
    if not ended:
        raise ExpositionError(
            f"line {before + 1}: the file does not end with # EOF: it is truncated, or not OpenMetrics"
        )


def _moved(message: str, lines: int) -> str:
    """Return a message whose line number counts from the beginning of the file."""
    return re.sub(r"^line (\d+)", lambda found: f"line {int(found[1]) + lines}", message)


def _parse(parser: PageParser, page: str) -> DumpChunk:
    found = parser.read(page, openmetrics=True)
    if found.ids and (not found.times or UNTIMED in found.times):
        nth = found.times.index(UNTIMED) if found.times else 0
        raise ExpositionError(f"{parser.labels[found.ids[nth]]} has no timestamp: each line of a dump needs one")
    samples = [
        (parser.labels[key], at, value) for key, at, value in zip(found.ids, found.times, found.values, strict=True)
    ]
    return DumpChunk(samples, list(parser.families.values()))


Samples = Callable[[Sequence[Labels]], Mapping[Labels, tuple[NDArray[np.int64], NDArray[np.float64]]]]
"""Returns the timestamps and values of some series."""


def write_dump(
    series: Iterable[Labels],
    samples: Samples,
    known: Mapping[str, MetricFamily],
    max_series: int,
    *,
    quoted: bool = False,
) -> Iterator[str]:
    """
    Write series as a dump, family by family: one of up to ``max_series`` series at once, else series by series.

    UTF-8 names are ``quoted``, or escaped so that older parsers read them.
    """
    named = sorted((family_of(labels.name, known), sort_key(SampleLine(labels, 0)), labels) for labels in series)
    for name, group in groupby(named, key=lambda item: item[0]):
        yield from family_header(name, known, Format.OPENMETRICS, quoted=quoted)
        members = [labels for _, _, labels in group]
        for chunk in [members] if len(members) <= max_series else [[labels] for labels in members]:
            found = samples(chunk)
            for labels in chunk:
                if labels in found:
                    yield from _sample_lines(series_text(labels, quoted=quoted), *found[labels])
    yield "# EOF\n"


def _sample_lines(series: str, times: NDArray[np.int64], values: NDArray[np.float64]) -> Iterator[str]:
    for first in range(0, len(times), CHUNK_LINES):
        pairs = zip(
            times[first : first + CHUNK_LINES].tolist(), values[first : first + CHUNK_LINES].tolist(), strict=True
        )
        yield "".join(f"{series} {format_value(value)} {at / 1000:.3f}\n" for at, value in pairs)
