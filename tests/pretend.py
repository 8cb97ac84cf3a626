"""Servers that answer what a test wants, byte by byte: what a well-behaved library would never send."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field


@dataclass
class Pretend:
    """A server: where it listens, and what it was asked."""

    port: int = 0
    asked: list[str] = field(default_factory=list)


Answer = Callable[[str, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def pretending(
    answer: Answer, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None
) -> AsyncIterator[Pretend]:
    """Answer every connection once; ``answer`` is given the whole request and writes what it likes."""
    pretend = Pretend()
    busy: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        busy.add(task)
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                size = next(
                    (int(line.split(":")[1]) for line in head.lower().split("\r\n") if "content-length" in line), 0
                )
                pretend.asked.append(head + (await reader.readexactly(size)).decode())
                await answer(pretend.asked[-1], writer)
                await writer.drain()
        finally:
            busy.discard(task)
            writer.close()

    server = await asyncio.start_server(serve, host, 0, ssl=tls)
    pretend.port = server.sockets[0].getsockname()[1]
    try:
        yield pretend
    finally:
        server.close()
        for task in list(busy):
            task.cancel()
        if busy:
            await asyncio.wait(busy)
        await server.wait_closed()


def says(body: bytes | str = "", status: str = "200 OK", **headers: str) -> Answer:
    """Answer with a body, in full and at once."""
    content = body.encode() if isinstance(body, str) else body
    given = {"content-length": str(len(content)), "connection": "close"}
    given |= {name.replace("_", "-"): value for name, value in headers.items()}

    async def answer(request: str, writer: asyncio.StreamWriter) -> None:
        head = "".join(f"{name}: {value}\r\n" for name, value in given.items())
        writer.write(f"HTTP/1.1 {status}\r\n{head}\r\n".encode() + content)

    return answer


async def nothing(request: str, writer: asyncio.StreamWriter) -> None:
    """Keep who asks waiting for ever."""
    await asyncio.Event().wait()


@asynccontextmanager
async def silent() -> AsyncIterator[int]:
    """A port that accepts connections and never says a word: not even its part of a TLS greeting."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


@asynccontextmanager
async def full() -> AsyncIterator[int]:
    """A port whose queue is full: a connection to it is neither accepted nor refused."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listening:
        port = listening.getsockname()[1]
        waiting = []
        try:
            for _ in range(4):
                waiting.append(one := socket.socket())
                one.setblocking(False)
                one.connect_ex(("127.0.0.1", port))
            yield port
        finally:
            for one in waiting:
                one.close()
