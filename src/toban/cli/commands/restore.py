"""Restore toban's own data from a backup."""

import json
from pathlib import Path

import click

from toban.cli.client import configured_data, data_option, json_option
from toban.cli.formatting import echo
from toban.core.number_format import format_bytes
from toban.maintenance.data_restore import files_elsewhere, restore


@click.command
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False, exists=True), metavar="DIR")
@json_option
@data_option
def command(folder: Path, data: Path | None, as_json: bool) -> None:
    """
    Restore toban's own data from DIR, which `toban backup` has written, into an empty data folder.

    toban must not run there. All checksums are compared first. The configuration is not put back: it is in DIR, with
    the rule files, runbooks and boards that it names; those that were elsewhere are named where they are missing.
    """
    target = data or configured_data()
    manifest = restore(folder, target)
    settings = manifest.configuration
    elsewhere = files_elsewhere(folder, manifest)
    if as_json:
        found = {
            "data": str(target),
            "files": len(manifest.files),
            "bytes": manifest.size,
            "settings": settings,
            "elsewhere": [{"path": str(it.path), "copy": str(it.copy), "differs": it.differs} for it in elsewhere],
            "secrets": [it.model_dump() for it in manifest.secrets],
        }
        echo(json.dumps(found, indent=2))
        return
    echo(f"The data of {manifest.time:%Y-%m-%d %H:%M} UTC ({format_bytes(manifest.size)}) is in {target}.")
    if settings:
        echo(f"The configuration of then is {folder / settings}, with the files that it names relative to itself.")
    for it in elsewhere:
        state = "is another file here" if it.differs else "is missing here"
        echo(f"▲ {it.path} {state}: copy {it.copy} there, or change its line in the configuration.")
    for secret in manifest.secrets:
        there = "it is here" if Path(secret.path).exists() else "it is missing here: bring it from your safe"
        echo(f"{secret.path} ({secret.setting}) is a secret and not in the backup: {there}.")
    option = f" --config {folder / settings}" if settings else ""
    echo(f"`toban up --data {target}{option}` starts toban with it.")
