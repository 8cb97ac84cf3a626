"""Run a real Vendure shop with customers on this machine, monitored by toban."""

import sys
from pathlib import Path
from typing import Literal, get_args

import click

from toban.cli.formatting import echo, echo_over
from toban.demo.faults import FAULTS
from toban.demo.recovery import RECOVERABLE, RecoveryMode
from toban.demo.run import DemoOptions, run


@click.command
@click.option("--break", "fault", type=click.Choice(list(FAULTS)), help="Inject this fault after a while.")
@click.option("--after", default=60.0, show_default=True, help="Seconds until the fault.")
@click.option("--for", "duration", default=420.0, show_default=True, help="Seconds until it is fixed.")
@click.option(
    "--recover",
    type=click.Choice(get_args(RecoveryMode)),
    help="Runbooks fix it instead: by themselves, or once you approve it. For database, redis and worker.",
)
@click.option("--visitors", default=40.0, show_default=True, help="Visitors per minute.")
@click.option("--language", type=click.Choice(["en", "ja"]), default="en", help="The language of messages.")
@click.option("--listen", metavar="HOST:PORT", default="", help="Where toban's pages are.  [default: 127.0.0.1:9119]")
@click.option("--folder", type=click.Path(path_type=Path), help="Folder for toban.yaml and toban's data.")
def command(
    fault: str | None,
    after: float,
    duration: float,
    recover: RecoveryMode | None,
    visitors: float,
    language: Literal["en", "ja"],
    listen: str,
    folder: Path | None,
) -> None:
    """
    Run a real Vendure shop with customers on this machine, monitored by toban.

    Needs Node.js and the extra `demo` (pip install 'toban[demo]'); the first start installs the shop, which takes
    about a minute. Ctrl-C leaves nothing running.
    """
    if recover and fault not in RECOVERABLE:
        raise click.UsageError(f"--recover needs --break with one of {', '.join(RECOVERABLE)}: no runbook fixes others")
    options = DemoOptions(listen, folder, fault or "", after, duration, recover, visitors, language)
    run(options, echo, Progress())


class Progress:
    """Shows progress: in a terminal on one line, elsewhere one line for each step."""

    def __init__(self) -> None:
        self._last = ""

    def __call__(self, text: str) -> None:
        """Show a step."""
        if sys.stdout.isatty():
            echo_over(text)
        elif text and text.partition(":")[0] != self._last:
            echo(text)
        self._last = text.partition(":")[0]
