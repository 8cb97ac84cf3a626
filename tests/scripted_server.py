"""Servers whose responses a test writes byte by byte, also what a library would never send."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field


@dataclass
class ScriptedServer:
    """A server: its port and the requests that it received."""

    port: int = 0
    requests: list[str] = field(default_factory=list)


Respond = Callable[[str, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def scripted_server(
    respond: Respond, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None
) -> AsyncIterator[ScriptedServer]:
    """Respond once to each connection; ``respond`` gets the whole request and writes the response."""
    scripted = ScriptedServer()
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
                scripted.requests.append(head + (await reader.readexactly(size)).decode())
                await respond(scripted.requests[-1], writer)
                await writer.drain()
        finally:
            busy.discard(task)
            writer.close()

    server = await asyncio.start_server(serve, host, 0, ssl=tls)
    scripted.port = server.sockets[0].getsockname()[1]
    try:
        yield scripted
    finally:
        server.close()
        for task in list(busy):
            task.cancel()
        if busy:
            await asyncio.wait(busy)
        await server.wait_closed()


def respond_with(body: bytes | str = "", status: str = "200 OK", **headers: str) -> Respond:
    """Respond with a body, completely and at once."""
    content = body.encode() if isinstance(body, str) else body
    given = {"content-length": str(len(content)), "connection": "close"}
    given |= {name.replace("_", "-"): value for name, value in headers.items()}

    async def respond(request: str, writer: asyncio.StreamWriter) -> None:
        head = "".join(f"{name}: {value}\r\n" for name, value in given.items())
        writer.write(f"HTTP/1.1 {status}\r\n{head}\r\n".encode() + content)

    return respond


async def never_respond(request: str, writer: asyncio.StreamWriter) -> None:
    """Never respond."""
    await asyncio.Event().wait()


@asynccontextmanager
async def silent_port() -> AsyncIterator[int]:
    """Listen on a port that accepts connections and sends nothing, not even a TLS handshake."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


@asynccontextmanager
async def full_port() -> AsyncIterator[int]:
    """Listen on a port whose queue is full: a connection is neither accepted nor refused."""
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
