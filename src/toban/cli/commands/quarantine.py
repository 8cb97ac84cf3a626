"""Rows of state that can't be read: list, forget."""

import json
from pathlib import Path

import click

from toban.cli.client import ask, data_option, json_option, tell, who
from toban.cli.formatting import say
from toban.core.terminal_escapes import on_one_line


@click.group
def command() -> None:
    """Show rows of state that can't be read. They are kept until you forget them; toban goes on without them."""


@command.command("list")
@json_option
@data_option
def show(data: Path | None, as_json: bool) -> None:
    """Show each row: where it was, what it holds, and why it can't be read."""
    found = ask("/api/quarantine", data)
    if as_json:
        say(json.dumps(found, indent=2, ensure_ascii=False))
        return
    for row in found["rows"]:
        at = row["at"][:16].replace("T", " ")
        say(
            "\n    ".join(
                map(on_one_line, (f"{row['id']}  {at}Z  {row['source']}  {row['key']}", row["error"], row["content"]))
            )
        )
    say(found["says"])


@command.command("forget")
@click.argument("row")
@data_option
def forget(data: Path | None, row: str) -> None:
    """Delete ROW (its number) for good."""
    tell("/api/quarantine/forget", data, id=row, by=who())
    say(f"row {row} is deleted")
