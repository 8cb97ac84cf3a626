"""Print the JSON Schema of toban.yaml, for editors."""

import json

import click

from toban.cli.formatting import echo
from toban.settings import Settings


@click.command
def command() -> None:
    """Print the JSON Schema of toban.yaml, for editors."""
    echo(json.dumps(Settings.model_json_schema(), indent=2, ensure_ascii=False))
