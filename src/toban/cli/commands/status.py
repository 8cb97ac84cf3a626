"""Show what is watched and how it is."""

import json
from pathlib import Path

import click

from toban.cli.client import data_option, get, json_option
from toban.cli.formatting import echo, format_status


@click.command
@data_option
@json_option
def command(data: Path | None, as_json: bool) -> int:
    """Show what is watched and how it is; exit code 1 when something is wrong."""
    found = get("/api/status", data)
    echo(json.dumps(found, indent=2, ensure_ascii=False) if as_json else format_status(found))
    return 1 if found["state"] == "unhealthy" else 0
