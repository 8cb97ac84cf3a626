"""A toban that the fork server starts is like one that Python starts."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fork_server import ROOT, ForkedProcess, base_environment, fork_server
from tests.program import PATIENCE, TOBAN, run, start


def started(*arguments: str, module: str = "toban", folder: Path = ROOT, **environment: str) -> tuple[int, str, str]:
    """Run a module by the fork server: its exit code, output and errors."""
    with tempfile.TemporaryFile() as stdin, tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        files = (stdin.fileno(), stdout.fileno(), stderr.fileno())
        code = (
            fork_server().start(arguments, {**base_environment(), **environment}, folder, files, module).wait(PATIENCE)
        )
        for file in (stdout, stderr):
            file.seek(0)
        return code, stdout.read().decode(), stderr.read().decode()


def test_a_fork_begins_like_a_new_process():
    """
    Environment, folder, files, streams, signals, locale, time zone and more; other random numbers in each.
    """
    environment = {"TZ": "Asia/Tokyo", "X": "y"}
    with tempfile.TemporaryFile() as stdin:
        wanted = subprocess.run(
            [sys.executable, "-m", "tests.process_state", "--one", "two"],
            cwd=ROOT,
            env={**base_environment(), **environment},
            stdin=stdin,
            capture_output=True,
            text=True,
            check=True,
        )
    done = [started("--one", "two", module="tests.process_state", **environment) for _ in range(2)]

    assert [code for code, _, _ in done] == [0, 0]
    assert json.loads(done[0][1]) == json.loads(wanted.stdout)
    assert done[0][1] == done[1][1]
    assert len({wanted.stderr, done[0][2], done[1][2]}) == 3


def test_exit_codes_and_texts_are_those_of_the_command(tmp_path):
    """
    Also of one that is refused, and of standard input.
    """
    for command in (["--version"], ["silence", "nonsense"], ["status", "--data", str(tmp_path)]):
        forked = run([*TOBAN, *command], base_environment(), tmp_path)
        alone = subprocess.run([*TOBAN, *command], cwd=tmp_path, env=base_environment(), capture_output=True, text=True)
        assert (forked.returncode, forked.stdout, forked.stderr) == (alone.returncode, alone.stdout, alone.stderr)
    initialized = run([*TOBAN, "init"], base_environment(), tmp_path, "\n\n\n\n\n\n\nnone\n")
    assert initialized.returncode == 0, initialized.stderr


@pytest.fixture
def waiting(tmp_path) -> Iterator[ForkedProcess]:
    """A toban that runs, as a fork."""
    with Path(os.devnull).open("r+b") as nothing:
        command = [*TOBAN, "up", "--listen", "127.0.0.1:0"]
        process = start(command, {**base_environment(), "TOBAN_DATA": str(tmp_path / "d")}, tmp_path, (nothing,) * 3)
    assert isinstance(process, ForkedProcess)
    yield process
    process.kill()
    process.wait(PATIENCE)


def test_signals_end_a_fork(waiting):
    """
    Their number is reported, and nothing is left of the process.
    """
    assert waiting.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        waiting.wait(0.01)
    waiting.kill()
    assert waiting.wait(PATIENCE) == -signal.SIGKILL
    assert waiting.poll() == waiting.wait() == -signal.SIGKILL
    assert not Path(f"/proc/{waiting.pid}").exists()
    waiting.send_signal(signal.SIGTERM)
