"""A view in a terminal that is redrawn in place, and that leaves the terminal as it was."""

import os
import select
import shutil
import signal
import sys
import termios
import time
import tty
from collections.abc import Sequence
from types import FrameType, TracebackType
from typing import Final, NoReturn, Self

import click

from toban.cli.formatting import echo_control
from toban.core.terminal_columns import cut_text
from toban.core.terminal_escapes import escape_line

# What a terminal draws between the two is shown at once (synchronized output); one that knows neither ignores them.
BEGIN: Final = "\x1b[?2026h\x1b[H"
END: Final = "\x1b[J\x1b[?2026l"
ENTER: Final = "\x1b[?1049h\x1b[?25l"
"""The alternate screen, without a cursor."""
LEAVE: Final = "\x1b[?25h\x1b[?1049l"

POLL: Final = 0.2
"""Seconds after which a new size of the terminal is seen."""


class LiveScreen:
    """The alternate screen of the terminal. Raises ``UsageError`` where standard input or output is none."""

    def __enter__(self) -> Self:
        if not (sys.stdin.isatty() and sys.stdout.isatty()):
            raise click.UsageError("--watch needs a terminal: without one, use `toban status`.")
        self._before = termios.tcgetattr(sys.stdin)
        self._handlers = {
            signal.SIGTERM: signal.signal(signal.SIGTERM, _ended),
            signal.SIGHUP: signal.signal(signal.SIGHUP, _ended),
            signal.SIGTSTP: signal.signal(signal.SIGTSTP, self._suspend),
        }
        self._enter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave()
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def show(self, lines: Sequence[str]) -> None:
        """Draw lines over the last ones; what does not fit is left out, and the last line says so."""
        columns, rows = shutil.get_terminal_size()
        shown = [cut_text(escape_line(line), columns) for line in lines]
        if len(shown) > rows:
            shown = [*shown[: rows - 1], cut_text(f"… {len(shown) - rows + 1} lines more", columns)]
        echo_control(BEGIN + "\r\n".join(f"{line}\x1b[K" for line in shown) + END)

    def wait(self, seconds: float) -> bool:
        """Wait, or until the terminal has another size; return whether `q` was typed."""
        size, until = shutil.get_terminal_size(), time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0 and shutil.get_terminal_size() == size:
            if select.select([sys.stdin], [], [], min(left, POLL))[0]:
                typed = os.read(sys.stdin.fileno(), 64)
                if not typed or b"q" in typed:
                    return True
        return False

    def _enter(self) -> None:
        tty.setcbreak(sys.stdin)
        echo_control(ENTER)

    def _leave(self) -> None:
        echo_control(LEAVE)
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, self._before)

    def _suspend(self, number: int, frame: FrameType | None) -> None:
        """Give the terminal back while the process is suspended (Ctrl-Z)."""
        self._leave()
        os.kill(os.getpid(), signal.SIGSTOP)
        self._enter()


def _ended(number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)
