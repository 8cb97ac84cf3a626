"""Rows of state that can't be read: list, forget."""

import json
from pathlib import Path

import click

from toban.cli.client import current_user, data_option, get, json_option, post
from toban.cli.formatting import echo
from toban.core.terminal_escapes import escape_line


@click.group
def command() -> None:
    """Show rows of state that can't be read. They are kept until you forget them; toban goes on without them."""


@command.command("list")
@json_option
@data_option
def show(data: Path | None, as_json: bool) -> None:
    """Show each row: where it was, what it holds, and why it can't be read."""
    found = get("/api/quarantine", data)
    if as_json:
        echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    for row in found["rows"]:
        at = row["at"][:16].replace("T", " ")
        echo(
            "\n    ".join(
                map(escape_line, (f"{row['id']}  {at}Z  {row['source']}  {row['key']}", row["error"], row["content"]))
            )
        )
    echo(found["says"])


@command.command("forget")
@click.argument("row")
@data_option
def forget(data: Path | None, row: str) -> None:
    """Delete ROW (its number) for good."""
    post("/api/quarantine/forget", data, id=row, by=current_user())
    echo(f"row {row} is deleted")
