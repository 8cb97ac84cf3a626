"""Numbers over a long time in OpenMetrics: each line with its own time, as promtool reads them to make blocks."""

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

AT_ONCE: Final = 5_000
"""How many lines are read or written at once."""


@dataclass(frozen=True, slots=True)
class DumpChunk:
    """Some numbers of an archive: series, times in milliseconds, values; and what was told of their metrics."""

    samples: Sequence[tuple[Labels, int, float]]
    families: Sequence[MetricFamily] = field(default=())


def read_dump(lines: Iterable[str]) -> Iterator[DumpChunk]:
    """
    Read an archive, some thousand lines at a time.

    Raises ``ExpositionError`` that names the line, also at the end when the file has none: what came before is sound.
    """
    reader, rest, before, ended = PageParser(2**31), iter(lines), 0, False
    while some := list(islice(rest, AT_ONCE)):
        if ended:
            raise ExpositionError(f"line {before + 1}: something stands after # EOF")
        if some[-1].rstrip("\n") == "# EOF":
            ended = True
        try:
            yield _read(reader, "".join(some if ended else [*some, "# EOF\n"]))
        except ExpositionError as error:
            raise ExpositionError(_moved(str(error), before)) from None
        before += len(some)
    if not ended:
        raise ExpositionError(f"line {before + 1}: the file does not end with # EOF: it is cut off, or no OpenMetrics")


def _moved(said: str, lines: int) -> str:
    """Return words in which the line's number counts from the file's beginning."""
    return re.sub(r"^line (\d+)", lambda found: f"line {int(found[1]) + lines}", said)


def _read(reader: PageParser, page: str) -> DumpChunk:
    found = reader.read(page, openmetrics=True)
    if found.ids and (not found.times or UNTIMED in found.times):
        nth = found.times.index(UNTIMED) if found.times else 0
        raise ExpositionError(f"{reader.labels[found.ids[nth]]} has no time: each line of an archive needs one")
    samples = [
        (reader.labels[key], at, value) for key, at, value in zip(found.ids, found.times, found.values, strict=True)
    ]
    return DumpChunk(samples, list(reader.families.values()))


Samples = Callable[[Sequence[Labels]], Mapping[Labels, tuple[NDArray[np.int64], NDArray[np.float64]]]]
"""Brings the times and values of some series."""


def write_dump(
    series: Iterable[Labels], samples: Samples, known: Mapping[str, MetricFamily], most: int, *, quoted: bool = False
) -> Iterator[str]:
    """
    Write series as an archive, family by family: one of up to ``most`` series at once, else series by series.

    Names that need it are ``quoted`` and stay what they are, or are written so that everybody reads them.
    """
    named = sorted((family_of(labels.name, known), sort_key(SampleLine(labels, 0)), labels) for labels in series)
    for name, group in groupby(named, key=lambda one: one[0]):
        yield from family_header(name, known, Format.OPENMETRICS, quoted=quoted)
        some = [labels for _, _, labels in group]
        for part in [some] if len(some) <= most else [[labels] for labels in some]:
            found = samples(part)
            for labels in part:
                if labels in found:
                    yield from _written(series_text(labels, quoted=quoted), *found[labels])
    yield "# EOF\n"


def _written(shown: str, times: NDArray[np.int64], values: NDArray[np.float64]) -> Iterator[str]:
    for first in range(0, len(times), AT_ONCE):
        pairs = zip(times[first : first + AT_ONCE].tolist(), values[first : first + AT_ONCE].tolist(), strict=True)
        yield "".join(f"{shown} {format_value(value)} {at / 1000:.3f}\n" for at, value in pairs)
