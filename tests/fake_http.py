"""
What the fakes of web services have in common: a real socket, strict parsing, and faults on demand.

A fake stores the requests that it received (`requests`) and changes its state as the real service would. `next(…)`
queues faults for the next requests, one each: `busy`, `broken`, `says`, `late`, `half`, `reset`, `unchanged`. What a
client sends that the real service would drop silently is added to `mistakes`; leaving the block with one there fails.
"""

import asyncio
import json
import ssl
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self


@dataclass
class ReceivedRequest:
    """A request that was received."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The parsed body."""
        return json.loads(self.body)


@dataclass
class Reply:
    """A response."""

    status: int = 200
    body: bytes = b""
    kind: str = "text/plain"
    headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def json(cls, fields: Any, status: int = 200) -> Self:
        """Return a JSON response."""
        return cls(status, json.dumps(fields).encode(), "application/json; charset=utf-8")


@dataclass(frozen=True)
class Fault:
    """What fails in one request, and whether the service handled the request before that."""

    name: str
    done: bool = False
    reply: Reply | None = None


late = Fault("late", done=True)
"""Handled, but the response is never sent: the client times out."""
half = Fault("half", done=True)
"""Handled, but the connection ends in the middle of the response."""
reset = Fault("reset")
"""The connection is reset before the request is handled."""
unchanged = Fault("unchanged")
"""The response is that of success, but nothing was changed."""
broken = Fault("says", reply=Reply(500, b"<html><body><h1>Oops</h1></body></html>", "text/html"))
"""An HTML page instead of a response of the API."""


def busy(after: int | str | None = 7) -> Fault:
    """Too many requests; retry after so many seconds, or at a date."""
    return says(429, b"slow down", **({"retry-after": str(after)} if after is not None else {}))


def says(status: int, body: bytes = b"", **headers: str) -> Fault:
    """Another response than that of the service."""
    return Fault("says", reply=Reply(status, body, headers={k.replace("_", "-"): v for k, v in headers.items()}))


class FakeService:
    """A web service on a free port of this machine, while the block lasts."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[ReceivedRequest] = []
        self.mistakes: list[str] = []
        self._tls = tls
        self._faults: deque[Fault] = deque()
        self._busy: set[asyncio.Task[None]] = set()
        self.url = ""

    def next(self, *faults: Fault) -> None:
        """Inject these faults into the next requests, one each."""
        self._faults.extend(faults)

    def clear_faults(self) -> None:
        """Respond without faults from now on."""
        self._faults.clear()

    def respond(self, request: ReceivedRequest) -> Reply:
        """Handle a request and respond as the real service does."""
        raise NotImplementedError

    def pretended(self, request: ReceivedRequest) -> Reply:
        """Return the response of success without handling the request."""
        raise NotImplementedError

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        scheme = "https" if self._tls else "http"
        self.url = f"{scheme}://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for task in list(self._busy):
            task.cancel()
        if self._busy:
            await asyncio.wait(self._busy)
        await self._server.wait_closed()
        assert error or not self.mistakes, self.mistakes

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._busy.add(task)
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError, ssl.SSLError):
                while await self._one(reader, writer):
                    pass
        finally:
            self._busy.discard(task)
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        start, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().rstrip().split("\r\n")
        method, path, _ = start.split(" ")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        request = ReceivedRequest(method, path, headers, await _body(reader, headers))
        self.requests.append(request)
        fault = self._faults.popleft() if self._faults else None
        if fault is None or fault.done:
            reply = self.respond(request)
        elif fault.reply:
            reply = fault.reply
        elif fault is unchanged:
            reply = self.pretended(request)
        else:
            writer.transport.abort()
            return False
        if fault is late:
            await asyncio.Event().wait()
        head = {"content-type": reply.kind, "content-length": str(len(reply.body)), **reply.headers}
        text = "".join(f"{name}: {value}\r\n" for name, value in head.items())
        whole = f"HTTP/1.1 {reply.status} .\r\n{text}\r\n".encode() + reply.body
        writer.write(whole[: -max(len(reply.body) // 2, 1)] if fault is half else whole)
        await writer.drain()
        return fault is not half


async def _body(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
    if headers.get("transfer-encoding") != "chunked":
        return await reader.readexactly(int(headers.get("content-length", 0)))
    chunks = []
    while size := int(await reader.readline(), 16):
        chunks.append(await reader.readexactly(size))
        await reader.readline()
    await reader.readline()
    return b"".join(chunks)
