"""Take in numbers of the past, in OpenMetrics."""

import re
from collections.abc import Iterator
from pathlib import Path

import click

from toban.cli.client import data_option, upload
from toban.cli.formatting import echo
from toban.core.errors import TobanError
from toban.exposition import openmetrics_dump
from toban.remote.remote_write_model import HEADERS, RemoteSample
from toban.remote.remote_write_protobuf import encode


@click.command
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=False, path_type=Path))
@data_option
def command(file: Path, data: Path | None) -> None:
    """
    Take in the numbers of FILE, each with its time, as `toban export openmetrics` writes them.

    What is older than numbers are kept is refused and counted; what is there already is written over. Coming twice
    does no harm: after a failure, do it again.
    """
    kept, refused, why = 0, 0, ""
    with (
        file.open(encoding="utf-8", newline="\n") as lines,
        click.progressbar(length=file.stat().st_size, label="Importing") as bar,
    ):

        def read() -> Iterator[str]:
            for line in lines:
                bar.update(len(line.encode()))
                yield line

        try:
            for some in openmetrics_dump.read_dump(read()):
                body = encode((RemoteSample(labels, at, value) for labels, at, value in some.samples), some.families)
                said = upload("/api/v1/write", data, body, HEADERS)
                lost = sum(map(int, re.findall(r"(\d+) samples:", said)))
                kept, refused, why = kept + len(some.samples) - lost, refused + lost, said.strip() or why
        except (TobanError, UnicodeDecodeError) as error:
            raise TobanError(f"{file}: {error}; {kept:,} samples were taken in before") from error
    echo(f"{kept:,} samples were taken in{f', {refused:,} refused (the last: {why})' if refused else ''}.")
