"""
What the fakes of web services have in common: a real socket, strictness, and trouble on demand.

A fake keeps what it was asked (`asked`) and does to its state what the real service would. `next(…)` lines up trouble
for the coming requests, one each: `busy`, `broken`, `says`, `late`, `half`, `reset`, `unchanged`. What a client sends
that the real service would drop without a word is noted in `mistakes`; leaving the block with one there fails.
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
class Asked:
    """One request."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """Its body."""
        return json.loads(self.body)


@dataclass
class Reply:
    """One answer."""

    status: int = 200
    body: bytes = b""
    kind: str = "text/plain"
    headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def json(cls, fields: Any, status: int = 200) -> Self:
        """An answer in JSON."""
        return cls(status, json.dumps(fields).encode(), "application/json; charset=utf-8")


@dataclass(frozen=True)
class Trouble:
    """What goes wrong with one request, and whether the service did what it was asked before that."""

    name: str
    done: bool = False
    reply: Reply | None = None


late = Trouble("late", done=True)
"""Done, but the answer never comes: who asked gives up."""
half = Trouble("half", done=True)
"""Done, but the connection ends in the middle of the answer."""
reset = Trouble("reset")
"""The connection is reset before anything was done."""
unchanged = Trouble("unchanged")
"""Answered as if it was done, and nothing was."""
broken = Trouble("says", reply=Reply(500, b"<html><body><h1>Oops</h1></body></html>", "text/html"))
"""A page for people instead of an answer."""


def busy(after: int | str | None = 7) -> Trouble:
    """Too many requests; come back after so many seconds, or at a date."""
    return says(429, b"slow down", **({"retry-after": str(after)} if after is not None else {}))


def says(status: int, body: bytes = b"", **headers: str) -> Trouble:
    """Something else than the service would say."""
    return Trouble("says", reply=Reply(status, body, headers={k.replace("_", "-"): v for k, v in headers.items()}))


class FakeService:
    """A web service on a free port of this machine, while the block lasts."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[Asked] = []
        self.mistakes: list[str] = []
        self._tls = tls
        self._troubles: deque[Trouble] = deque()
        self._busy: set[asyncio.Task[None]] = set()
        self.url = ""

    def next(self, *troubles: Trouble) -> None:
        """Let the coming requests meet these, one each."""
        self._troubles.extend(troubles)

    def forget_troubles(self) -> None:
        """Answer as usual from now on."""
        self._troubles.clear()

    def answer(self, asked: Asked) -> Reply:
        """Do what is asked and answer as the real service does."""
        raise NotImplementedError

    def pretended(self, asked: Asked) -> Reply:
        """Answer as if it was done; nothing is."""
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
        asked = Asked(method, path, headers, await reader.readexactly(int(headers.get("content-length", 0))))
        self.requests.append(asked)
        trouble = self._troubles.popleft() if self._troubles else None
        if trouble is None or trouble.done:
            reply = self.answer(asked)
        elif trouble.reply:
            reply = trouble.reply
        elif trouble is unchanged:
            reply = self.pretended(asked)
        else:
            writer.transport.abort()
            return False
        if trouble is late:
            await asyncio.Event().wait()
        head = {"content-type": reply.kind, "content-length": str(len(reply.body)), **reply.headers}
        text = "".join(f"{name}: {value}\r\n" for name, value in head.items())
        whole = f"HTTP/1.1 {reply.status} .\r\n{text}\r\n".encode() + reply.body
        writer.write(whole[: -max(len(reply.body) // 2, 1)] if trouble is half else whole)
        await writer.drain()
        return trouble is not half
