"""Deploys: list them, record one."""

import json
from pathlib import Path

import click

from toban.cli.client import current_user, data_option, get, json_option, post
from toban.cli.formatting import echo
from toban.core.terminal_columns import align_columns


@click.command
@click.argument("version", required=False)
@click.option("--text", default="", help="What changed.")
@click.option("--url", default="", help="Where to read more.")
@click.option("--days", default=30, show_default=True, help="List those of so many days.")
@json_option
@data_option
def command(data: Path | None, as_json: bool, version: str | None, text: str, url: str, days: int) -> None:
    """
    Record that VERSION was deployed; without it, list the last deploys.

    toban compares the time after a deploy with the time before, and lets nothing act by itself for ten minutes.
    """
    if version:
        recorded = post("/api/deploys", data, version=version, text=text, url=url, by=current_user())
        echo(f"{version} is recorded" if recorded["is_new"] else f"{version} was recorded before")
        return
    found = get("/api/deploys", data, days=str(days))
    if as_json:
        echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    rows = [
        (it["at"][:16].replace("T", " ") + "Z", it["version"], it["source"], it["by"], it["text"])
        for it in found["deploys"]
    ]
    echo("\n".join(align_columns(rows)) or f"no deploys within {days} days")
