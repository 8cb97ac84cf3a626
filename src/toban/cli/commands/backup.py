"""Back up toban's own data: metrics, logs, state and the configuration."""

import json
import os
from pathlib import Path

import click

from toban.cli.client import config_option, configured_data, data_option, json_option
from toban.cli.formatting import echo
from toban.core.number_format import format_bytes
from toban.core.paths import CONFIGURATION
from toban.logs.store.block import SUFFIX as LINES
from toban.maintenance.data_backup import back_up
from toban.maintenance.named_files import NamedFiles, named_files
from toban.tsdb.block import SUFFIX as BLOCK


@click.command
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), metavar="DIR")
@config_option
@json_option
@data_option
def command(folder: Path, config: Path | None, data: Path | None, as_json: bool) -> None:
    """
    Back up toban's own data into DIR, a new folder, also while toban runs.

    DIR appears when the backup is complete. Blocks that never change are linked where the disk is the same: to survive
    the loss of the disk, copy DIR elsewhere. The configuration is copied too, with the secrets that are written in it,
    and the rule files, runbooks, boards and certificates that it names. Files with secrets (`…_file`) are not copied.
    """
    settings = config or (Path(CONFIGURATION) if Path(CONFIGURATION).is_file() else None)
    source = data or configured_data()
    named = named_files(settings, os.environ) if settings else NamedFiles()
    manifest = back_up(source, folder, settings, (BLOCK, LINES), named)
    has_state = any(it.path == "data/toban.db" for it in manifest.files)
    if as_json:
        found = {
            "folder": str(folder),
            "files": len(manifest.files),
            "bytes": manifest.size,
            "state": has_state,
            "named": [str(it.path) for it in named.files],
            "secrets": [it.path for it in manifest.secrets],
            "problems": list(named.problems),
        }
        echo(json.dumps(found, indent=2))
        return
    echo(f"{len(manifest.files)} files of {source} ({format_bytes(manifest.size)}) are backed up in {folder}.")
    if not has_state:
        echo("State is not in it: it is in PostgreSQL (`state`), where pg_dump backs it up.")
    for problem in named.problems:
        echo(f"▲ not in it: {problem}")
    for it in manifest.secrets:
        echo(f"Not in it, for it is a secret: {it.path} ({it.setting}). Keep it in a safe.")
    echo(f"`toban restore {folder} --data FOLDER` restores it.")
