"""The one place where what went wrong with a command becomes a line for a person, and an exit code."""

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
from toban.core.paths import OTHERS, data_folder
from toban.core.redaction import redact_text

WELL: Final = 0
WRONG: Final = 1
IMPOSSIBLE: Final = 2
INTERRUPTED: Final = 130

REPORT: Final = "toban.fault.txt"
"""The file with the newest fault of toban's own, in its data folder."""

LONGEST: Final = 100_000
"""Characters of a report."""


def report_error(error: BaseException, arguments: Sequence[str], data: Path | None) -> int:
    """Say what went wrong, and return the exit code; ``data`` is the data folder where it was given."""
    if isinstance(error, click.Abort | KeyboardInterrupt):
        echo("Aborted.", err=True)
        return INTERRUPTED
    if isinstance(error, BrokenPipeError):
        return WELL  # who reads our output has seen enough
    if isinstance(error, click.ClickException):
        shown = io.StringIO()
        error.show(shown)
        echo(shown.getvalue().rstrip("\n"), err=True)
        return IMPOSSIBLE
    several = list(_single(error))
    if all(isinstance(one, TobanError) for one in several):
        echo("\n".join(dict.fromkeys(map(str, several))), err=True)
        return IMPOSSIBLE if any(isinstance(one, SettingsError) for one in several) else WRONG
    if isinstance(error, OSError) and error.strerror:
        names = [str(name) for name in (error.filename, error.filename2) if name is not None]
        echo(": ".join([*names, error.strerror]), err=True)
        return IMPOSSIBLE if names else WRONG
    if isinstance(error, UnicodeError):
        echo(f"a text is no valid Unicode: {error.reason if hasattr(error, 'reason') else error}", err=True)
        return IMPOSSIBLE
    _report(error, arguments, data)
    return WRONG


def _single(error: BaseException) -> Iterator[BaseException]:
    """Return the errors that a group is made of; one alone is itself."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _single(inner)
    else:
        yield error


def _report(error: BaseException, arguments: Sequence[str], data: Path | None) -> None:
    """Say that toban itself is at fault, and write what its makers need into a file."""
    trace = "".join(traceback.format_exception(error))
    single = next(_single(error))
    frames = traceback.extract_tb(single.__traceback__)
    place = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    echo(redact_text(f"toban has a fault: {type(single).__name__}: {str(single)[:500]}{place}"), err=True)
    if os.environ.get("TOBAN_DEBUG"):
        echo(redact_text(trace), err=True)
        return
    said = f"toban {toban.__version__}, Python {platform.python_version()}, {platform.platform()}\n"
    words = " ".join(arguments)[:500]
    text = redact_text(f"{said}toban {words}\n\n{trace}")[:LONGEST]
    for folder in (data or data_folder(os.environ), Path(tempfile.gettempdir())):
        with suppress(OSError, ValueError):
            path = folder / REPORT
            path.unlink(missing_ok=True)
            file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666 & ~OTHERS)
            with os.fdopen(file, "w", encoding="utf-8", errors="backslashreplace") as out:
                out.write(text)
            echo(f"Please send {path} to whoever maintains toban; TOBAN_DEBUG=1 shows it here.", err=True)
            return
    echo("It could not be written down: TOBAN_DEBUG=1 shows it here.", err=True)


def exit_process(code: int) -> None:
    """End the process; what can't be printed any more is nobody's trouble."""
    with suppress(BrokenPipeError):
        sys.stdout.flush()
        sys.exit(code)
    # The interpreter would flush once more, and complain.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)
