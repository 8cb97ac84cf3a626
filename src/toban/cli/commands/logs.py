"""Show the newest log lines of the shop."""

import json
from pathlib import Path
from typing import Any

import click

from toban.cli.client import data_option, get, json_option
from toban.cli.formatting import echo
from toban.core.terminal_escapes import escape_line

LEVELS = ("error", "warn", "info", "verbose", "debug")


@click.command
@click.argument("text", default="")
@click.option("--level", type=click.Choice(LEVELS), default="info", show_default=True, help="This level, and worse.")
@click.option("--context", default="", help="Vendure's logger context, like JobQueue.")
@click.option("--service", default="", help="The process, like vendure-worker.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 5_000), help="How many lines at most.")
@data_option
@json_option
def command(text: str, level: str, context: str, service: str, limit: int, data: Path | None, as_json: bool) -> None:
    """Show the newest log lines of the shop, the newest last: all, or those that hold TEXT."""
    query = {"text": text, "level": level, "context": context, "service": service, "limit": str(limit)}
    response = get("/api/logs", data, **{name: value for name, value in query.items() if value})
    lines = response["lines"][::-1]
    if as_json:
        echo("\n".join(json.dumps(line, ensure_ascii=False) for line in lines))
    else:
        echo("\n".join(map(format_line, lines)) or "no lines: none of this kind since toban was started")


def format_line(line: dict[str, Any]) -> str:
    """Return one line for a terminal."""
    who = "/".join(part for part in (line.get("service"), line.get("context")) if part)
    facts = " ".join(f"{name}={value}" for name, value in line.get("facts", {}).items())
    shown = escape_line(f"{line['timestamp'][:19]}Z {line['level']:<7} {who}: {line.get('message', '')}")
    # A trace is indented: none of its lines looks like a line of the log.
    trace = [f"    {escape_line(part)}" for part in line.get("trace", "").splitlines()]
    return "\n".join([f"{shown}{'  ' + escape_line(facts) if facts else ''}", *trace])
