"""The whole program, as its user starts it."""

import http.client
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TypeVar

from tests.fork_server import ForkedProcess, base_environment, fork_server

TOBAN = [sys.executable, "-m", "toban"]
PATIENCE = 60
"""Seconds after which something that should happen counts as not happening."""

T = TypeVar("T")


def eventually(function: Callable[[], T], condition: Callable[[T], object] = bool, *, patience: float = PATIENCE) -> T:
    """Call a function until its result meets a condition; return the result. Network and parse errors are retried."""
    deadline = time.monotonic() + patience
    while True:
        try:
            result = function()
            if condition(result):
                return result
            last = repr(result)
        except (OSError, http.client.HTTPException, LookupError, ValueError) as error:
            last = repr(error)
        assert time.monotonic() < deadline, f"still {last}"
        time.sleep(0.02)


def start(
    command: Sequence[str],
    environment: Mapping[str, str],
    folder: Path,
    standard: tuple[IO[Any], IO[Any], IO[Any]],
    *,
    fresh: bool = False,
) -> ForkedProcess | subprocess.Popen[bytes]:
    """Start a command with the given standard input, output and error: a module of Python by the fork server."""
    stdin, stdout, stderr = standard
    server = fork_server()
    if not fresh and [*command[:2]] == TOBAN[:2] and server.can_start(environment):
        files = (stdin.fileno(), stdout.fileno(), stderr.fileno())
        return server.start(command[3:], environment, folder, files, command[2])
    return subprocess.Popen(command, env=environment, cwd=folder, stdin=stdin, stdout=stdout, stderr=stderr)


def run(
    command: Sequence[str], environment: Mapping[str, str], folder: Path, given: str = ""
) -> "subprocess.CompletedProcess[str]":
    """Run a command to its end, with a text as its standard input."""
    with tempfile.TemporaryFile() as stdin, tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        stdin.write(given.encode())
        stdin.seek(0)
        process = start(command, environment, folder, (stdin, stdout, stderr))
        try:
            code = process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
        for file in (stdout, stderr):
            file.seek(0)
        return subprocess.CompletedProcess(command, code, stdout.read().decode(), stderr.read().decode())


class Program:
    """
    A running `toban up`.

    ``under`` is a command that runs it otherwise than usual, ``command`` another toban. ``fresh`` is for what tests
    the start itself, or measures memory: it starts a Python of its own instead of a fork of one that has all imported.
    """

    def __init__(
        self,
        data: Path,
        *arguments: str,
        under: Sequence[str] = (),
        command: Sequence[str] = TOBAN,
        fresh: bool = False,
        **environment: str,
    ) -> None:
        self.data = data
        self._command = command
        self.environment = {**base_environment(), "TOBAN_DATA": str(data), **environment}
        self.output: list[str] = []
        self.logged: list[str] = []
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._readers = []
        outputs = []
        for into in (self.output, self.logged):
            reading, writing = os.pipe()
            outputs.append(os.fdopen(writing, "wb"))
            stream = os.fdopen(reading, encoding="utf-8")
            self._readers.append(threading.Thread(target=self._read, args=(stream, into), daemon=True))
        words = [*under, *command, "up", "--listen", "127.0.0.1:0", *arguments]
        with Path(os.devnull).open("rb") as nothing, outputs[0] as stdout, outputs[1] as stderr:
            self.process = start(words, self.environment, data.parent, (nothing, stdout, stderr), fresh=fresh)
        for reader in self._readers:
            reader.start()

    def _read(self, stream: IO[str], into: list[str]) -> None:
        with stream:
            for line in stream:
                into.append(line.rstrip("\n"))
                self._lines.put(line)
        self._lines.put(None)

    def until(self, words: str) -> None:
        """Wait until its output or its log contains some words."""
        ended = 0
        while not any(words in line for line in [*self.output, *self.logged]):
            if self._lines.get(timeout=PATIENCE) is None:
                ended += 1
            if ended == len(self._readers):
                raise AssertionError(f"it ended without {words!r}: {self.output} {self.logged}")

    @property
    def url(self) -> str:
        """The address of its pages."""
        self.until("Ctrl-C stops it")
        return next(line.split()[1].removesuffix("/") for line in self.output if line.startswith("Pages"))

    def get(self, path: str, **headers: str) -> tuple[int, str]:
        """Get a page: its status and its text."""
        return self._exchange(urllib.request.Request(self.url + path, headers=headers))

    def post(self, path: str, body: bytes, kind: str = "application/json", **headers: str) -> tuple[int, str]:
        """Post a body: the status and the text of the response."""
        return self._exchange(urllib.request.Request(self.url + path, body, {"content-type": kind, **headers}))

    def _exchange(self, request: urllib.request.Request) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def json(self, path: str, /, **parameters: str) -> Any:
        """Get JSON, whatever the status."""
        return json.loads(self.get(f"{path}?{urllib.parse.urlencode(parameters)}")[1])

    def health(self, part: str = "") -> tuple[int, dict[str, str]]:
        """Get the health of the shop: the status, and the state of each check."""
        code, body = self.get(f"/health{part}")
        return code, {name: it["status"] for name, it in json.loads(body)["details"].items()}

    def value(self, expression: str) -> float:
        """Return the value of the only series of a query. Raises ``ValueError`` when there are more or none."""
        [one] = self.query(expression)
        return float(one["value"][1])

    def status(self) -> tuple[int, dict[str, Any]]:
        """Run `toban status --json`: its exit code and its output."""
        done = self.run("status", "--json")
        return done.returncode, json.loads(done.stdout)

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the result of an instant query."""
        status, body = self.get("/api/v1/query?" + urllib.parse.urlencode({"query": expression}))
        assert status == 200, body
        result: list[dict[str, Any]] = json.loads(body)["data"]["result"]
        return result

    def memory(self, line: str = "VmRSS") -> int:
        """Return how many bytes it holds, or of another line of its status in /proc: VmHWM, the most it ever held."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return next(int(it.split()[1]) * 1024 for it in status.splitlines() if it.startswith(line))

    def run(self, *arguments: str, given: str = "") -> "subprocess.CompletedProcess[str]":
        """Run another command of toban's beside it, with a text as its standard input."""
        return run([*self._command, *arguments], self.environment, self.data.parent, given)

    def stop(self, name: signal.Signals = signal.SIGTERM, within: float = PATIENCE) -> int:
        """Send it a signal to stop, and return its exit code."""
        self.process.send_signal(name)
        code = self.process.wait(within)
        for reader in self._readers:
            reader.join(PATIENCE)
        return code

    def kill(self) -> None:
        """End it as a crash would."""
        self.stop(signal.SIGKILL)

    def close(self) -> None:
        """Leave nothing behind."""
        if self.process.poll() is None:
            self.kill()


@contextmanager
def toban(
    data: Path, *arguments: str, under: Sequence[str] = (), fresh: bool = False, **environment: str
) -> Iterator[Program]:
    """Run toban as long as the block lasts."""
    program = Program(data, *arguments, under=under, fresh=fresh, **environment)
    try:
        yield program
    finally:
        program.close()
