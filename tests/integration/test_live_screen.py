"""The live status in a real terminal (a pseudoterminal)."""

import os
import pty
import select
import signal
import subprocess
import termios
import time

import pytest

from tests.program import PATIENCE, TOBAN

ENTERED, LEFT = b"\x1b[?1049h", b"\x1b[?1049l"


def read_until(terminal: int, wanted: bytes) -> bytes:
    found, deadline = b"", time.monotonic() + PATIENCE
    while wanted not in found:
        assert time.monotonic() < deadline, found
        if select.select([terminal], [], [], 0.1)[0]:
            found += os.read(terminal, 65_536)
    return found


@pytest.mark.parametrize("end", ["q", "ctrl-c", "terminated"])
def test_the_terminal_is_as_before_however_the_view_ends(tmp_path, end):
    """
    The view draws on the alternate screen, also while toban is away.
    """
    terminal, inner = pty.openpty()
    before = termios.tcgetattr(inner)
    command = [*TOBAN, "status", "--watch", "--data", str(tmp_path)]
    process = subprocess.Popen(command, stdin=inner, stdout=inner, stderr=inner, start_new_session=True)
    try:
        shown = read_until(terminal, b"not reachable since")
        assert ENTERED in shown
        assert termios.tcgetattr(inner)[3] != before[3]
        if end == "q":
            os.write(terminal, b"q")
        else:
            os.kill(process.pid, signal.SIGINT if end == "ctrl-c" else signal.SIGTERM)
        read_until(terminal, LEFT)
        assert process.wait(PATIENCE) == (128 + signal.SIGTERM if end == "terminated" else 0)
        assert termios.tcgetattr(inner) == before
    finally:
        process.kill()
        process.wait()
        os.close(terminal)
        os.close(inner)


def test_without_a_terminal_there_is_no_live_view(tmp_path):
    """
    The error says what to use.
    """
    command = [*TOBAN, "status", "--watch", "--data", str(tmp_path)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 2
    assert "--watch needs a terminal: without one, use `toban status`" in done.stderr
    assert "\x1b" not in done.stdout + done.stderr
