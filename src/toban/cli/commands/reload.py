"""Read the configuration again, without a restart."""

from pathlib import Path

import click

from toban.cli.client import data_option, post
from toban.cli.formatting import echo


@click.command
@data_option
def command(data: Path | None) -> None:
    """
    Let the running toban read its configuration again.

    Nothing changes when there is a mistake in it: it is said as `toban check` says it.
    """
    post("/-/reload", data)
    echo("The configuration was reloaded.")
