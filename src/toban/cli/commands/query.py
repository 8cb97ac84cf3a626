"""Run a query in PromQL."""

import json
import math
import os
import shutil
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final

import click

from toban.charts.terminal import ChartSeries, draw_chart, stdout_style
from toban.cli.client import data_option, get, json_option
from toban.cli.formatting import echo, echo_segments, format_result, query_notes
from toban.cli.param_types import DurationType
from toban.core.config_types import format_duration
from toban.core.labels import Labels

POINTS: Final = 240
"""How many points a series of a range has."""


@click.command
@click.argument("expression", metavar="EXPR")
@click.option("--range", "length", type=DurationType(), help="Draw a chart of a range of this length, like 6h.")
@data_option
@json_option
def command(expression: str, length: timedelta | None, data: Path | None, as_json: bool) -> None:
    """Run a query in PromQL, like: toban query 'rate(process_cpu_seconds_total[5m])' --range 6h."""
    if length is None:
        response = get("/api/v1/query", data, query=expression)
        echo(json.dumps(response, ensure_ascii=False) if as_json else format_result(response))
        return
    step = max(1.0, length.total_seconds() / POINTS)
    end = time.time()
    start = end - length.total_seconds()
    response = get(
        "/api/v1/query_range",
        data,
        query=expression,
        start=f"{start:.3f}",
        end=f"{end:.3f}",
        step=f"{step:.3f}",
    )
    if as_json:
        echo(json.dumps(response, ensure_ascii=False))
        return
    if response["data"]["result"]:
        [described] = get("/api/queries/describe", data, queries=json.dumps([expression]))["queries"]
        _draw(response, start, end, step, described["unit"])
    else:
        echo(f"no series: nothing has this name and these labels in the last {format_duration(length)}")
    for note in query_notes(response):
        echo(note)


def _draw(response: Mapping[str, Any], start: float, end: float, step: float, unit: str) -> None:
    """Draw the series of a range."""
    # Imported here: a command that draws nothing does not wait for it.
    from toban.core.number_format import Unit, format_value

    times = [start + place * step for place in range(int((end - start) / step + 1e-6) + 1)]
    series = []
    for found in response["data"]["result"]:
        values = [math.nan] * len(times)
        for at, text in found["values"]:
            values[min(round((float(at) - start) / step), len(values) - 1)] = float(text)
        series.append(ChartSeries(str(Labels(found["metric"])) or "{}", values))
    style = stdout_style(shutil.get_terminal_size().columns, os.environ)
    is_binary = unit in {Unit.BYTES, Unit.BYTES_PER_SECOND}
    lines = draw_chart(times, series, partial(format_value, unit=Unit(unit)), style, is_binary=is_binary)
    echo_segments(lines, has_colors=style.has_colors)
    first, last = (datetime.fromtimestamp(at, UTC) for at in (start, end))
    echo(f"{first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} UTC, step {format_duration(timedelta(seconds=round(step)))}")
