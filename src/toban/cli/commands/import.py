"""Import historical samples in OpenMetrics (backfill)."""

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
    Import the samples of FILE, each with its timestamp, as `toban export openmetrics` writes them.

    Samples older than the retention are rejected and counted; existing ones are overwritten. Importing twice does no
    harm: after a failure, run it again.
    """
    accepted, rejected, reason = 0, 0, ""
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
                message = upload("/api/v1/write", data, body, HEADERS)
                lost = sum(map(int, re.findall(r"(\d+) samples:", message)))
                accepted, rejected = accepted + len(some.samples) - lost, rejected + lost
                reason = message.strip() or reason
        except (TobanError, UnicodeDecodeError) as error:
            raise TobanError(f"{file}: {error}; {accepted:,} samples were imported before") from error
    echo(f"{accepted:,} samples imported{f', {rejected:,} rejected (the last: {reason})' if rejected else ''}.")
