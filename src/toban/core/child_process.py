"""Child processes: they end with toban, and servers that refuse root run as nobody."""

import asyncio
import ctypes
import os
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final, Self

KEPT: Final = 4_000
"""Bytes of what a process writes to its standard error that are kept: its end."""

PIPE: Final = 2**20
"""Bytes of its output that are read ahead."""


def unprivileged() -> dict[str, Any]:
    """Return the options of a process that refuses to run as root."""
    return {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.geteuid() == 0 else {}


def child_options() -> dict[str, Any]:
    """
    Return the options of a child process that ends when this one does, also when this one is killed.

    Ctrl-C reaches this process alone, which stops the children in order. The kernel ends a child when the thread that
    started it ends: start children from the main thread.
    """
    if sys.platform != "linux":
        return {"start_new_session": True}
    die_with_parent, library = 1, ctypes.CDLL(None)
    return {"start_new_session": True, "preexec_fn": lambda: library.prctl(die_with_parent, signal.SIGKILL)}


def is_running(pid: int) -> bool:
    """Return whether there is a process of a number."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # it is somebody else's
    return pid > 0


class Program:
    """A program that runs, with what it writes to its standard error. Leaving its block kills it and its children."""

    def __init__(self, *command: str, environment: Mapping[str, str], pipes: bool = True, **options: Any) -> None:
        """With ``pipes``, its standard input and output are streams; without, there is none."""
        self._command = command
        self._environment = environment
        self._pipe = asyncio.subprocess.PIPE if pipes else asyncio.subprocess.DEVNULL
        self._options = options
        self._kept = b""
        self._process: asyncio.subprocess.Process
        self._reading: asyncio.Task[None]

    async def __aenter__(self) -> Self:
        """Start it. Raises ``OSError``."""
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=self._pipe,
            stdout=self._pipe,
            stderr=asyncio.subprocess.PIPE,
            env=dict(self._environment),
            limit=PIPE,
            **{**child_options(), **self._options},
        )
        self._reading = asyncio.create_task(self._read_errors())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._process.returncode is None:
            with suppress(ProcessLookupError):  # it has just ended
                os.killpg(self._process.pid, signal.SIGKILL)
            await self._process.wait()
        self._reading.cancel()
        await asyncio.wait([self._reading])

    @property
    def input(self) -> asyncio.StreamWriter:
        """Its standard input."""
        assert self._process.stdin  # noqa: S101  # it is a pipe
        return self._process.stdin

    @property
    def output(self) -> asyncio.StreamReader:
        """Its standard output."""
        assert self._process.stdout  # noqa: S101  # it is a pipe
        return self._process.stdout

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._process.returncode is None

    @property
    def errors(self) -> str:
        """The end of what it has written to its standard error."""
        return self._kept.decode("utf-8", "replace").strip()

    async def wait(self) -> int:
        """Wait until it has ended; return its exit code."""
        await self._reading
        return await self._process.wait()

    def send_signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    async def _read_errors(self) -> None:
        assert self._process.stderr  # noqa: S101  # it is a pipe
        while chunk := await self._process.stderr.read(65_536):
            self._kept = (self._kept + chunk)[-KEPT:]
