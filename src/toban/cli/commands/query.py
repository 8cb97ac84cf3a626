"""Run a query in PromQL."""

import json
import time
from datetime import timedelta
from pathlib import Path

import click

from toban.cli.client import data_option, get, json_option
from toban.cli.formatting import echo, format_result
from toban.cli.param_types import DurationType


@click.command
@click.argument("expression", metavar="EXPR")
@click.option("--range", "length", type=DurationType(), help="Query a range of this length, like 6h.")
@data_option
@json_option
def command(expression: str, length: timedelta | None, data: Path | None, as_json: bool) -> None:
    """Run a query in PromQL, like: toban query 'rate(process_cpu_seconds_total[5m])' --range 6h."""
    if length is None:
        response = get("/api/v1/query", data, query=expression)
    else:
        now, seconds = time.time(), length.total_seconds()
        response = get(
            "/api/v1/query_range",
            data,
            query=expression,
            start=f"{now - seconds:.3f}",
            end=f"{now:.3f}",
            step=f"{max(1.0, seconds / 240):.3f}",
        )
    echo(json.dumps(response, ensure_ascii=False) if as_json else format_result(response))
