"""The report on a day, a week or a month."""

import json
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

import click

from toban.cli.client import data_option, get_within
from toban.cli.formatting import echo

TIMEOUT: Final = 130.0
"""Seconds that making a report may take, and a little more."""


@click.command
@click.option("--period", type=click.Choice(["day", "week", "month"]), default="month", help="How long its time is.")
@click.option("--day", default="", metavar="DATE", help="A day that it is about; default: the last one that is over.")
@click.option("--audience", type=click.Choice(["owner", "engineer"]), default="owner", help="Whom it is for.")
@click.option("--language", type=click.Choice(["en", "ja"]), default=None, help="Default: that of notifications.")
@click.option(
    "--format", "shape", type=click.Choice(["text", "markdown", "html", "json"]), default="text", help="How it looks."
)
@data_option
def command(data: Path | None, period: str, day: str, audience: str, language: str | None, shape: str) -> None:
    """Show whether customers could buy, what was sold, and what happened, in a day, a week or a month."""
    parameters = {"period": period, "audience": audience, "language": language or "", "day": day}
    query = urlencode({name: value for name, value in parameters.items() if value})
    found = get_within(TIMEOUT, f"/api/reports?{query}", data)
    if shape == "json":
        echo(json.dumps(found["values"], indent=2, ensure_ascii=False))
    else:
        echo(found[shape].rstrip("\n"))
