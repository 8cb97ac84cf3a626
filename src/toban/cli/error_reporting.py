"""Errors of commands: one line for a person, and an exit code."""

import io
import os
import platform
import sys
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import click

import toban
from toban.cli.formatting import echo
from toban.core.errors import SettingsError, TobanError
from toban.core.paths import OTHERS_MODE, data_folder
from toban.core.redaction import redact_text

SUCCESS: Final = 0
FAILURE: Final = 1
USAGE: Final = 2
INTERRUPTED: Final = 130

REPORT: Final = "toban.fault.txt"
"""The file in the data folder with the last unexpected error."""

MAX_LENGTH: Final = 100_000
"""Characters of a report."""


def report_error(error: BaseException, arguments: Sequence[str], data: Path | None) -> int:
    """Print an error, and return the exit code; ``data`` is the data folder where it was given."""
    if isinstance(error, click.Abort | KeyboardInterrupt):
        echo("Aborted.", err=True)
        return INTERRUPTED
    if isinstance(error, BrokenPipeError):
        return SUCCESS  # the reader of the output has closed it
    if isinstance(error, click.ClickException):
        shown = io.StringIO()
        error.show(shown)
        if isinstance(error, click.NoSuchCommand) and error.ctx and isinstance(error.ctx.command, click.Group):
            shown.write(f"The commands are {', '.join(error.ctx.command.list_commands(error.ctx))}.\n")
        echo(shown.getvalue().rstrip("\n"), err=True)
        return USAGE
    errors = list(_single(error))
    if all(isinstance(one, TobanError) for one in errors):
        echo("\n".join(dict.fromkeys(map(str, errors))), err=True)
        return USAGE if any(isinstance(one, SettingsError) for one in errors) else FAILURE
    if isinstance(error, OSError) and error.strerror:
        names = [str(name) for name in (error.filename, error.filename2) if name is not None]
        echo(": ".join([*names, error.strerror]), err=True)
        return USAGE if names else FAILURE
    if isinstance(error, UnicodeError):
        echo(f"invalid Unicode: {error.reason if hasattr(error, 'reason') else error}", err=True)
        return USAGE
    _report(error, arguments, data)
    return FAILURE


def _single(error: BaseException) -> Iterator[BaseException]:
    """Return the errors that a group is made of; one alone is itself."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _single(inner)
    else:
        yield error


def _report(error: BaseException, arguments: Sequence[str], data: Path | None) -> None:
    """Print an unexpected error, and write what its maintainers need into a file."""
    trace = "".join(traceback.format_exception(error))
    single = next(_single(error))
    frames = traceback.extract_tb(single.__traceback__)
    place = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    echo(redact_text(f"unexpected error: {type(single).__name__}: {str(single)[:500]}{place}"), err=True)
    if os.environ.get("TOBAN_DEBUG"):
        echo(redact_text(trace), err=True)
        return
    versions = f"toban {toban.__version__}, Python {platform.python_version()}, {platform.platform()}\n"
    command = " ".join(arguments)[:500]
    text = redact_text(f"{versions}toban {command}\n\n{trace}")[:MAX_LENGTH]
    for folder in (data or data_folder(os.environ), Path(tempfile.gettempdir())):
        with suppress(OSError, ValueError):
            path = folder / REPORT
            path.unlink(missing_ok=True)
            file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666 & ~OTHERS_MODE)
            with os.fdopen(file, "w", encoding="utf-8", errors="backslashreplace") as out:
                out.write(text)
            echo(f"Please send {path} to whoever maintains toban; TOBAN_DEBUG=1 shows it here.", err=True)
            return
    echo("The report could not be written: TOBAN_DEBUG=1 shows it here.", err=True)


def exit_process(code: int) -> None:
    """End the process; output that can't be printed any more is discarded."""
    with suppress(BrokenPipeError):
        sys.stdout.flush()
        sys.exit(code)
    # The interpreter would flush once more, and fail.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)
