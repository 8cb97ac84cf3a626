"""Rows of state that can't be read: list, forget."""

import json
from pathlib import Path

import click

from toban.cli.client import data_option, get, json_option, post
from toban.cli.formatting import echo
from toban.core.terminal_escapes import escape_line


@click.group
def command() -> None:
    """Show rows of state that can't be read. They are kept until you delete them; toban goes on without them."""


@command.command("list")
@json_option
@data_option
def show(data: Path | None, as_json: bool) -> None:
    """List each row: where it was, its content, and why it can't be read."""
    response = get("/api/quarantine", data)
    if as_json:
        echo(json.dumps(response, indent=2, ensure_ascii=False))
        return
    for row in response["rows"]:
        at = row["at"][:16].replace("T", " ")
        lines = (f"{row['id']}  {at}Z  {row['source']}  {row['key']}", row["error"], row["content"])
        echo("\n    ".join(map(escape_line, lines)))
    echo(response["message"])


@command.command("forget")
@click.argument("row", type=click.IntRange(1))
@data_option
def forget(data: Path | None, row: int) -> None:
    """Delete ROW (its number) for good."""
    post("/api/quarantine/forget", data, id=row)
    echo(f"row {row} is deleted")
