"""
The demo's stand-in of Fly's log stream: publishes what the shop's processes print, as Fly does.

It speaks as much of NATS' protocol (https://docs.nats.io/reference/reference-protocols/nats-protocol) as a subscriber
needs. As in Fly's stream, there is no history: a line that nobody subscribes to is gone.
"""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import orjson

from toban.demo.web_server import port_of

ORGANIZATION: Final = "demo"
TOKEN: Final = "FlyV1 demo"  # noqa: S105  # of a stream that only this machine reaches
REGION: Final = "lhr"

POLL_INTERVAL: Final = 0.1
"""Seconds between two reads of what the processes have printed."""

MAX_COMMAND: Final = 65_536
"""Bytes of a command of a subscriber."""

MAX_UNSENT: Final = 8 * 2**20
"""Bytes that may wait for a subscriber."""

MAX_READ: Final = 2**20
"""Bytes of a process' output that are read at a time."""


@dataclass(eq=False)
class _Subscriber:
    """A connection, and the subjects that it has subscribed to, by subscription id."""

    writer: asyncio.StreamWriter
    subjects: dict[str, str] = field(default_factory=dict)
    is_authorized: bool = False

    def send(self, text: str) -> None:
        """Send a command."""
        self.writer.write(f"{text}\r\n".encode())

    def publish(self, subject: str, message: bytes) -> None:
        """Send a message once for each subscription that it belongs to; one that reads too slowly misses it."""
        if self.writer.transport.get_write_buffer_size() > MAX_UNSENT:
            return
        for subscription, pattern in self.subjects.items():
            if matches(pattern, subject):
                self.writer.write(f"MSG {subject} {subscription} {len(message)}\r\n".encode() + message + b"\r\n")


def matches(pattern: str, subject: str) -> bool:
    """Tell whether a subject belongs to a pattern: ``*`` stands for one part, ``>`` at its end for all others."""
    wanted, parts = pattern.split("."), subject.split(".")
    if wanted[-1] == ">":
        wanted, parts = wanted[:-1], parts[: len(wanted) - 1] if len(parts) >= len(wanted) else []
    return len(wanted) == len(parts) and all(one in {"*", part} for one, part in zip(wanted, parts, strict=True))


@dataclass
class _FollowedFile:
    """What a process has printed: where it is read, and the beginning of a line that is not complete."""

    app: str
    path: Path
    offset: int
    rest: bytes = b""

    def lines(self) -> list[bytes]:
        """Return the lines that were printed since."""
        with self.path.open("rb") as file:
            file.seek(self.offset)
            found = file.read(MAX_READ)
        self.offset += len(found)
        *lines, self.rest = (self.rest + found).split(b"\n")
        return lines

    def message(self, line: bytes, now: datetime) -> bytes:
        """Return a line as a message of Fly's stream."""
        content = {
            "event": {"provider": "app"},
            "fly": {"app": {"instance": f"{self.app}-1", "name": self.app}, "region": REGION},
            "host": "demo",
            "log": {"level": "info"},
            "message": line.decode(errors="replace"),
            "timestamp": f"{now:%Y-%m-%dT%H:%M:%S.%f}000Z",
        }
        return orjson.dumps(content)


@dataclass
class FlyLogServer:
    """The stream, on a socket that listens."""

    listener: socket.socket
    _subscribers: set[_Subscriber] = field(default_factory=set)

    @property
    def url(self) -> str:
        """The address of the stream, as `logs.fly_server` has it."""
        return f"nats://127.0.0.1:{port_of(self.listener)}"

    @asynccontextmanager
    async def served(self, outputs: Mapping[str, Path]) -> AsyncIterator[None]:
        """Publish what is printed from now on into files, by the names of their apps, while the block runs."""
        followed = [_FollowedFile(app, path, os.path.getsize(path)) for app, path in outputs.items()]  # noqa: PTH202, ASYNC240  # quick
        server = await asyncio.start_server(self._serve, sock=self.listener.dup(), limit=MAX_COMMAND)
        task = asyncio.create_task(self._publish(followed))
        try:
            yield
        finally:
            task.cancel()
            server.close()
            for subscriber in self._subscribers:
                subscriber.writer.close()
            await asyncio.gather(task, return_exceptions=True)

    async def _publish(self, followed: list[_FollowedFile]) -> None:
        while True:
            for file in followed:
                for line in file.lines():
                    self._send(file, line)
            await asyncio.sleep(POLL_INTERVAL)

    def _send(self, file: _FollowedFile, line: bytes) -> None:
        message = file.message(line, datetime.now(UTC))
        for subscriber in self._subscribers:
            subscriber.publish(f"logs.{file.app}.{REGION}.{file.app}-1", message)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        subscriber = _Subscriber(writer)
        self._subscribers.add(subscriber)
        info = {"server_id": "demo", "version": "2.9.10", "proto": 1, "auth_required": True, "max_payload": 2**20}
        subscriber.send(f"INFO {orjson.dumps(info).decode()}")
        try:
            while line := await reader.readline():
                if not _answer(subscriber, line.decode(errors="replace").strip()):
                    break
                await writer.drain()
        except (ConnectionError, ValueError):  # it is gone, or its command has no end
            pass
        finally:
            self._subscribers.discard(subscriber)
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()


def _answer(subscriber: _Subscriber, line: str) -> bool:
    """Do what a command asks for; return False for one that ends the connection."""
    command, _, rest = line.partition(" ")
    match command.upper():
        case "CONNECT":
            given = orjson.loads(rest)
            subscriber.is_authorized = (given.get("user"), given.get("pass")) == (ORGANIZATION, TOKEN)
            if not subscriber.is_authorized:
                subscriber.send("-ERR 'Authorization Violation'")
        case "PING":
            subscriber.send("PONG")
        case "SUB" if subscriber.is_authorized:
            subject, *_, subscription = rest.split()
            subscriber.subjects[subscription] = subject
        case "UNSUB":
            subscriber.subjects.pop(rest.split()[0], None)
    return subscriber.is_authorized


@contextmanager
def open_stream() -> Iterator[FlyLogServer]:
    """Listen on a port of the loopback interface; who connects waits until it is served."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield FlyLogServer(listener)
