"""Restore toban's own data from a backup."""

import json
from pathlib import Path

import click

from toban.cli.client import configured_data, data_option, json_option
from toban.cli.formatting import echo
from toban.core.number_format import format_bytes
from toban.maintenance.data_backup import SETTINGS
from toban.maintenance.data_restore import restore


@click.command
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False, exists=True), metavar="DIR")
@json_option
@data_option
def command(folder: Path, data: Path | None, as_json: bool) -> None:
    """
    Restore toban's own data from DIR, which `toban backup` has written, into an empty data folder.

    toban must not run there. All checksums are compared first. The configuration is not put back: it is in DIR.
    """
    target = data or configured_data()
    manifest = restore(folder, target)
    settings = next((it.path for it in manifest.files if it.path.startswith(f"{SETTINGS}/")), "")
    if as_json:
        found = {"data": str(target), "files": len(manifest.files), "bytes": manifest.size, "settings": settings}
        echo(json.dumps(found, indent=2))
        return
    echo(f"The data of {manifest.time:%Y-%m-%d %H:%M} UTC ({format_bytes(manifest.size)}) is in {target}.")
    if settings:
        echo(f"The configuration of then is {folder / settings}.")
    echo(f"`toban up --data {target}` starts toban with it.")
