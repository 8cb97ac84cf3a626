"""Web servers in the demo's process."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import uvicorn
from starlette.types import ASGIApp


class QuietServer(uvicorn.Server):
    """A server without signal handlers: the demo has its own."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Install no handlers."""
        yield


def settings(app: ASGIApp) -> uvicorn.Config:
    """Return the configuration of a server that logs nothing."""
    return uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=1)


@asynccontextmanager
async def served(app: ASGIApp, listener: socket.socket) -> AsyncIterator[None]:
    """Serve an application on a socket while the block runs."""
    server = QuietServer(settings(app))
    task = asyncio.create_task(server.serve([listener.dup()]))
    try:
        yield
    finally:
        server.should_exit = True
        await task


def port_of(listener: socket.socket) -> int:
    """Return the port that a socket listens on."""
    return int(listener.getsockname()[1])
