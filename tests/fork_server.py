"""
Starts `python -m toban` by forking a process that has imported all of toban.

A start imports for two seconds of CPU time, and the tests start toban some hundreds of times. The server
(`python -m tests.fork_server`) imports once for each worker of pytest; each start is a fork of it, which behaves as a
process of its own: `test_fork_server.py` compares them. It ends with the tests.
"""

import atexit
import gc
import importlib
import json
import os
import pkgutil
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
LIMIT = 1_000_000
"""Bytes of a request, and of its answer (an integer)."""
INTEGER = 4

READ_AT_START = ("PYTHON", "LC_", "LANG", "LD_", "MALLOC_", "GLIBC_", "OPENSSL_", "OPENBLAS_", "OMP_")
"""How variables begin that Python and its libraries read when they start: a fork has those of the server."""


class ForkedProcess:
    """A process that the server started, with the part of `subprocess.Popen` that the tests use."""

    def __init__(self, arguments: Sequence[str], report: int) -> None:
        self.args = arguments
        self.returncode: int | None = None
        self._report = report
        self._lock = threading.Lock()
        self._ready = select.poll()
        self._ready.register(report, select.POLLIN)
        weakref.finalize(self, os.close, report)
        self.pid = self._integer()

    def _integer(self) -> int:
        data = os.read(self._report, INTEGER)
        if not data:
            raise RuntimeError(f"the fork server ended: {fork_server().error()}")
        return int.from_bytes(data, "big", signed=True)

    def poll(self) -> int | None:
        """Return the exit code, or None while it runs; a negative one is the signal that ended it."""
        with self._lock:
            if self.returncode is None and self._ready.poll(0):
                self.returncode = self._integer()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit code once it ends."""
        # What is ready stays so: after the exit code comes the end of the file.
        self._ready_within(timeout)
        code = self.poll()
        assert code is not None
        return code

    def _ready_within(self, timeout: float | None) -> None:
        ready = select.poll()  # one that no other thread waits on
        ready.register(self._report, select.POLLIN)
        if not ready.poll(None if timeout is None else timeout * 1000):
            raise subprocess.TimeoutExpired(self.args, timeout or 0)

    def send_signal(self, number: int) -> None:
        """Send a signal, if it still runs."""
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it."""
        self.send_signal(signal.SIGKILL)


class ForkServer:
    """The server of this process."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._control, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  # closed with the server
        self._lock = threading.Lock()
        self.environment = {**environment, "OPENBLAS_NUM_THREADS": "1"}  # a process with threads can't be forked
        with other:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.fork_server", str(other.fileno())],
                cwd=ROOT,
                env=self.environment,
                pass_fds=[other.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._errors,
            )
        atexit.register(self.close)

    def can_start(self, environment: Mapping[str, str]) -> bool:
        """Return whether a process of its own would read the same at its start."""
        names = {name for name in {*environment, *self.environment} if name.startswith(READ_AT_START)}
        return all(environment.get(name) == self.environment.get(name) for name in names - {"OPENBLAS_NUM_THREADS"})

    def start(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        folder: Path,
        standard: tuple[int, int, int],
        module: str = "toban",
    ) -> ForkedProcess:
        """Run `python -m toban` with the given standard input, output and error."""
        request = {"module": module, "arguments": arguments, "environment": dict(environment), "folder": str(folder)}
        report, theirs = os.pipe()
        try:
            with self._lock:
                socket.send_fds(self._control, [json.dumps(request).encode()], [*standard, theirs])
        finally:
            os.close(theirs)
        return ForkedProcess([module, *arguments], report)

    def error(self) -> str:
        """Return what it wrote to standard error, once it has ended."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(5)
        self._errors.seek(0)
        return self._errors.read().decode(errors="replace")

    def close(self) -> None:
        """End it, and all that it started."""
        self._control.close()
        self._process.wait()
        self._errors.close()


_server: ForkServer | None = None
_starting = threading.Lock()


def base_environment() -> dict[str, str]:
    """Return what each toban of the tests has in its environment."""
    kept = ("PATH", "HOME", "PYTHONDONTWRITEBYTECODE", "SSL_CERT_FILE")
    return {name: os.environ[name] for name in kept if name in os.environ}


def fork_server() -> ForkServer:
    """Return the server of this worker; the first call starts it."""
    global _server
    with _starting:
        if _server is None:
            _server = ForkServer(base_environment())
    return _server


def _import_all() -> None:
    """Import what `toban up` and the other commands do, also what they import late."""
    toban = importlib.import_module("toban")
    for module in pkgutil.walk_packages(toban.__path__, "toban."):
        if not module.name.startswith(("toban.__main__", "toban.state.migrations")):
            importlib.import_module(module.name)
    for name in ("alembic.command", "alembic.config", "jinja2"):
        importlib.import_module(name)


def _serve(control: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """Fork for each request, and report exit codes. Returns only in a forked process, with its request."""
    children: dict[int, tuple[int, int]] = {}
    ready = select.poll()
    ready.register(control, select.POLLIN)
    while True:
        for file, _ in ready.poll():
            if file in children:
                pid, report = children.pop(file)
                ready.unregister(file)
                os.close(file)
                _report(report, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
                os.close(report)
                continue
            message, files, _, _ = socket.recv_fds(control, LIMIT, 4)
            if not message:
                for pid, _ in children.values():
                    os.kill(pid, signal.SIGKILL)
                os._exit(0)
            pid = os.fork()
            if pid == 0:
                control.detach()
                request: dict[str, Any] = json.loads(message)
                return request, files
            *standard, report = files
            for each in standard:
                os.close(each)
            _report(report, pid)
            child = os.pidfd_open(pid)
            children[child] = pid, report
            ready.register(child, select.POLLIN)


def _report(file: int, number: int) -> None:
    with suppress(BrokenPipeError):  # nobody asks any more
        os.write(file, number.to_bytes(INTEGER, "big", signed=True))


def _become(environment: Mapping[str, str], folder: str, arguments: Sequence[str], files: Sequence[int]) -> None:
    """Make this fork what a new process with these arguments would be."""
    for number, file in enumerate(files[:3]):
        os.dup2(file, number)
    os.closerange(3, max(int(file.name) for file in Path("/proc/self/fd").iterdir()) + 1)
    coerced = {"LC_CTYPE": os.environ["LC_CTYPE"]} if "LC_CTYPE" in os.environ else {}  # by Python, see PEP 538
    os.environ.clear()
    os.environ.update({**coerced, **environment})
    time.tzset()
    os.chdir(folder)
    sys.path[0] = str(Path.cwd())
    sys.argv = ["", *arguments]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        before = getattr(sys, name)
        stream = open(  # noqa: SIM115  # it stays open
            number,
            "w" if number else "r",
            buffering=1 if name == "stderr" else -1,
            encoding=before.encoding,
            errors=before.errors,
            newline="\n",
            closefd=False,
        )
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def main() -> None:
    """Serve; in each fork, run the module that was asked for."""
    control = socket.socket(fileno=int(sys.argv[1]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for pytest and what it tests
    _import_all()
    threads = list(Path("/proc/self/task").iterdir())
    if len(threads) > 1:
        raise RuntimeError(f"{len(threads)} threads run after the imports: their locks would stay locked in a fork")
    gc.collect()
    gc.freeze()  # a collection in a fork would copy all pages
    request, files = _serve(control)
    _become(request["environment"], request["folder"], request["arguments"], files)
    runpy.run_module(request["module"], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
