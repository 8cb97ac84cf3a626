"""Charts for a terminal: bars as blocks, time series as braille dots or, where there are none, a character each."""

import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count, groupby, pairwise
from typing import Final, TypeAlias

from toban.charts.plot import BarChart, Scale, line
from toban.core.terminal_columns import cut_text, text_width
from toban.core.terminal_escapes import escape_line

Segment: TypeAlias = tuple[str, str]
"""A part of a line, and its colour; empty for the usual one."""

MAX_SERIES: Final = 8
"""How many series a chart shows."""

MARKS: Final = "*+xo#@%&"
"""The characters of series, where dots can't be shown or have no colours."""

COLORS: Final = ("cyan", "yellow", "green", "magenta", "blue", "red", "bright_cyan", "bright_yellow")
HEIGHT: Final = 14
"""Rows of a chart."""

MIN_WIDTH: Final = 20
"""Columns of a chart, without its axis, in the narrowest terminal."""

EIGHTHS: Final = " ▁▂▃▄▅▆▇█"
BRAILLE: Final = 0x2800
DOTS: Final = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""The bits of a braille character's dots, by row and column."""

TIME_STEPS: Final = (
    *(1, 5, 15, 30),
    *(60 * it for it in (1, 2, 5, 10, 15, 30)),
    *(3_600 * it for it in (1, 2, 3, 6, 12)),
    *(86_400 * it for it in (1, 2, 7, 30, 90, 365)),
)
"""The distances of times on the axis, in seconds."""


@dataclass(frozen=True, slots=True)
class ChartSeries:
    """A series: a value for each time of the chart, NaN where there is none."""

    name: str
    values: Sequence[float]


@dataclass(frozen=True, slots=True)
class ChartStyle:
    """What a terminal can show."""

    width: int = 80
    has_braille: bool = True
    has_colors: bool = False

    @property
    def axis(self) -> tuple[str, str, str]:
        """The characters of the axes: upright, with a tick, flat."""
        return ("│", "┤", "─") if self.has_braille else ("|", "+", "-")


def draw_chart(
    times: Sequence[float],
    series: Sequence[ChartSeries],
    format_value: Callable[[float], str],
    style: ChartStyle,
    *,
    is_binary: bool = False,
) -> list[list[Segment]]:
    """
    Return the lines of a chart: axes with values and times (UTC), and a legend with the last, lowest and highest value.

    ``times`` are in seconds, ascending and evenly spaced. ``is_binary`` puts powers of two on the axis of values.
    """
    ranked = sorted(series, key=lambda it: _last(it.values), reverse=True)
    shown = ranked[:MAX_SERIES]
    scale = Scale.of(value for it in shown for value in it.values if math.isfinite(value))
    ticks = {
        round((1 - scale.share(value)) * (HEIGHT - 1)): format_value(value)
        for value in scale.ticks(is_binary=is_binary)
    }
    left = max(map(text_width, ticks.values()), default=0)
    width = max(MIN_WIDTH, style.width - left - 2)
    upright, tick, flat = style.axis
    # Without colours the dots of several series could not be told apart.
    uses_dots = style.has_braille and (style.has_colors or len(shown) == 1)
    drawn = _drawn(shown, scale, width, uses_dots=uses_dots)
    lines: list[list[Segment]] = []
    for row in range(HEIGHT):
        label = ticks.get(row, "")
        start = " " * (left - text_width(label)) + label + " " + (tick if label else upright)
        lines.append([(start, ""), *_row(drawn, row, width, uses_dots=uses_dots)])
    lines.append([(" " * (left + 1) + ("└" if style.has_braille else "+") + flat * width, "")])
    lines.append([(" " * (left + 2) + _time_labels(times, width), "")])
    lines += _legend(shown, format_value, style, uses_dots=uses_dots)
    if len(series) > len(shown):
        hidden = f"and {len(series) - len(shown)} series more, with lower last values"
        lines.append([(f"{hidden}: narrow the query, or use topk({MAX_SERIES}, EXPR)", "")])
    return lines


def draw_bars(chart: BarChart, columns: int = 72) -> str:
    """Return bars as a line of blocks, between the names of the first and the last value."""
    blocks = [" "] * len(chart.values)
    for it in chart.bars():
        blocks[it.place] = EIGHTHS[round(it.height * 8)]
    return f"{chart.names[0]} {''.join(blocks[-columns:])} {chart.names[1]}  ▕ {chart.highest}"


def stdout_style(width: int, environment: Mapping[str, str]) -> ChartStyle:
    """Return what standard output can show; the variable NO_COLOR turns colours off (no-color.org)."""
    has_colors = sys.stdout.isatty() and not environment.get("NO_COLOR") and environment.get("TERM") != "dumb"
    return ChartStyle(width, can_encode("⣿│┤─└"), has_colors)


def can_encode(text: str) -> bool:
    """Tell whether standard output can carry a text."""
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except (UnicodeError, LookupError):
        return False
    return True


def _last(values: Sequence[float]) -> float:
    return next((value for value in reversed(values) if math.isfinite(value)), -math.inf)


Drawing = dict[tuple[int, int], tuple[int, int]]
"""By row and column: the bits of the dots in a cell, and the place of the series that was drawn last."""


def _drawn(series: Sequence[ChartSeries], scale: Scale, width: int, *, uses_dots: bool) -> Drawing:
    columns, rows = (width * 2, HEIGHT * 4) if uses_dots else (width, HEIGHT)
    found: Drawing = {}
    # The first, with the highest last value, is drawn last: over the others.
    for place in reversed(range(len(series))):
        values = [it if math.isfinite(it) else None for it in series[place].values]
        runs = [
            [(round(x * (columns - 1)), round((1 - y) * (rows - 1))) for x, y in run] for run in line(values, scale)
        ]
        for x, y in (point for run in runs for point in _joined(run)):
            cell = (y // 4, x // 2) if uses_dots else (y, x)
            bits = found.get(cell, (0, 0))[0] | (DOTS[y % 4][x % 2] if uses_dots else 1)
            found[cell] = bits, place
    return found


def _joined(points: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Return the points, and what lies on the lines between neighbours."""
    yield from points
    for first, second in pairwise(points):
        length = max(abs(second[0] - first[0]), abs(second[1] - first[1]))
        for share in (i / length for i in range(1, length)):
            yield round(first[0] + (second[0] - first[0]) * share), round(first[1] + (second[1] - first[1]) * share)


def _row(drawn: Drawing, row: int, width: int, *, uses_dots: bool) -> Iterator[Segment]:
    cells = [drawn.get((row, column)) for column in range(width)]
    for place, together in groupby(cells, lambda cell: None if cell is None else cell[1]):
        if place is None:
            yield " " * len(list(together)), ""
        else:
            yield (
                "".join(chr(BRAILLE + cell[0]) if uses_dots else MARKS[place] for cell in together if cell),
                COLORS[place],
            )


def _time_labels(times: Sequence[float], width: int) -> str:
    """Return the axis of times; each text is centred below its time."""
    first, last = times[0], times[-1]
    length = max(1.0, last - first)
    step = next((it for it in TIME_STEPS if length / it * 8 <= width), TIME_STEPS[-1])
    form = "%m-%d" if step >= 86_400 else "%H:%M" if step >= 60 else "%H:%M:%S"
    line = ""
    for place in count(math.ceil(first / step)):
        at = place * step
        if at > last:
            return line
        text = datetime.fromtimestamp(at, UTC).strftime(form)
        centre = round((at - first) / length * (width - 1))
        start = min(max(centre - len(text) // 2, 0), width - len(text))
        if not line or start > len(line):
            line += " " * (start - len(line)) + text
    raise AssertionError("unreachable: the times end")


def _legend(
    series: Sequence[ChartSeries], format_value: Callable[[float], str], style: ChartStyle, *, uses_dots: bool
) -> Iterator[list[Segment]]:
    """Return a line for each series; a name that is too long for the terminal is cut."""
    heads = ("last", "min", "max")
    rows = []
    for it in series:
        finite = [value for value in it.values if math.isfinite(value)] or [math.nan]
        rows.append([format_value(value) for value in (_last(it.values), min(finite), max(finite))])
    widths = [max(map(text_width, column)) for column in zip(heads, *rows, strict=True)]
    room = max(12, style.width - 2 - sum(widths) - 2 * len(widths))
    names = [cut_text(escape_line(it.name), room, "…" if style.has_braille else "...") for it in series]
    longest = max(map(text_width, names), default=0)
    yield [(" " * (2 + longest) + "".join(f"  {head:>{wide}}" for head, wide in zip(heads, widths, strict=True)), "")]
    for place, (name, row) in enumerate(zip(names, rows, strict=True)):
        mark = ("━" if style.has_braille else "-") if uses_dots else MARKS[place]
        cells = "".join("  " + " " * (wide - text_width(cell)) + cell for cell, wide in zip(row, widths, strict=True))
        yield [(mark, COLORS[place]), (f" {name}{' ' * (longest - text_width(name))}{cells}", "")]
