"""Web servers inside the demo's own process."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import uvicorn
from starlette.types import ASGIApp


class QuietServer(uvicorn.Server):
    """A server that leaves signals to the demo."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


def settings(app: ASGIApp) -> uvicorn.Config:
    """Return how an application is served: without a word."""
    return uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=1)


@asynccontextmanager
async def served(app: ASGIApp, listening: socket.socket) -> AsyncIterator[None]:
    """Serve an application on a socket while the block lasts."""
    server = QuietServer(settings(app))
    task = asyncio.create_task(server.serve([listening.dup()]))
    try:
        yield
    finally:
        server.should_exit = True
        await task


def port_of(listening: socket.socket) -> int:
    """Return the port that a socket listens on."""
    return int(listening.getsockname()[1])
