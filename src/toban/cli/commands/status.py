"""Show the status of the shop, its targets and toban."""

import json
from pathlib import Path

import click

from toban.cli.client import data_option, get, json_option
from toban.cli.formatting import echo, format_status


@click.command
@data_option
@json_option
def command(data: Path | None, as_json: bool) -> int:
    """Show the status of the shop, its targets and toban; exit 1 when something is wrong."""
    response = get("/api/status", data)
    echo(json.dumps(response, indent=2, ensure_ascii=False) if as_json else format_status(response))
    return 1 if response["state"] == "unhealthy" else 0
