"""Reload the configuration, without a restart."""

from pathlib import Path

import click

from toban.cli.client import data_option, post
from toban.cli.formatting import echo


@click.command
@data_option
def command(data: Path | None) -> None:
    """
    Let the running toban reload its configuration.

    An invalid configuration changes nothing; the error is that of `toban check`.
    """
    post("/-/reload", data)
    echo("The configuration was reloaded.")
