"""Accepting connections: no more than there are file descriptors, and those that wait longest make room."""

import asyncio
import errno
import os
import resource
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final, cast

import structlog
import uvicorn

from toban.core.metric_registry import MetricRegistry
from toban.web.http_protocol import HttpProtocol

log = structlog.get_logger("toban.web")

BACKLOG: Final = 128

MAX_CONNECTIONS: Final = 400
"""How many connections may be open at the same time, at each address."""

OTHER_DESCRIPTORS: Final = 128
"""How many file descriptors are left for everything else: files, the shop's connections, channels."""

DESCRIPTORS: Final = 8_192
"""The limit of file descriptors that toban sets."""

RESERVED: Final = 4
"""How many file descriptors are reserved, so that commands work when there are no others."""

EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
GONE: Final = frozenset(
    {errno.ECONNABORTED, errno.EPROTO, errno.EPERM, errno.ENETDOWN, errno.EHOSTDOWN, errno.EHOSTUNREACH}
    | {errno.ENETUNREACH, errno.ENOPROTOOPT, errno.EOPNOTSUPP}
)
"""Errors of accept(2) that concern one connection only."""

RETRY_DELAY: Final = 0.1
"""Seconds until the next attempt."""

RECOVERED_AFTER: Final = 60.0
"""Seconds without an error after which it counts as recovered: recurring errors are logged once."""


def raise_descriptors() -> None:
    """Raise the limit of file descriptors as far as needed and allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(DESCRIPTORS, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def most_connections() -> int:
    """Return how many connections there may be: the limit of descriptors is shared with everything else."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return (
        MAX_CONNECTIONS
        if soft == resource.RLIM_INFINITY
        else max(8, min(MAX_CONNECTIONS, (soft - OTHER_DESCRIPTORS) // 3))
    )


class DescriptorReserve:
    """Reserved file descriptors; ``release`` frees one when there are no others."""

    def __init__(self, count: int = RESERVED) -> None:
        self._count = count
        self._held: list[int] = []

    @contextmanager
    def kept(self) -> Iterator["DescriptorReserve"]:
        """Reserve them as long as the block lasts."""
        self.refill()
        try:
            yield self
        finally:
            while self.release():
                pass

    def release(self) -> bool:
        """Free one; return whether there was one."""
        if not self._held:
            return False
        os.close(self._held.pop())
        return True

    def refill(self) -> None:
        """Reserve them again, if the system allows it."""
        with suppress(OSError):
            while len(self._held) < self._count:
                self._held.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))


class ListeningServer(uvicorn.Server):
    """
    A uvicorn server that accepts connections itself.

    At the limit of connections the one that has kept toban waiting for the longest is closed, first among those of the
    client that has the most. ``reserve`` is used when there are no other descriptors.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        listening: socket.socket,
        most: int,
        meters: MetricRegistry,
        reserve: DescriptorReserve | None = None,
    ) -> None:
        super().__init__(config)
        self._listening = listening
        self._most = most
        self._meters = meters
        self._reserve = reserve
        self._accepting: asyncio.Task[None] | None = None
        self._error = ""
        self._failed_at = -RECOVERED_AFTER

    @property
    def error(self) -> str:
        """Why connections could not be accepted, until that has recovered."""
        return self._error if time.monotonic() - self._failed_at < RECOVERED_AFTER else ""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the daemon."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start accepting."""
        self._listening.setblocking(False)
        self._listening.listen(BACKLOG)
        self.servers = []
        self._accepting = asyncio.create_task(self._accept(), name="web")
        self._accepting.add_done_callback(self._ended)
        self.started = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop accepting, and let requests finish."""
        if self._accepting:
            self._accepting.cancel()
            await asyncio.wait([self._accepting])
        await super().shutdown()

    def _ended(self, accepting: asyncio.Task[None]) -> None:
        if not accepting.cancelled() and (error := accepting.exception()):
            log.error("accepting failed", error=repr(error))
        self.should_exit = True

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, _ = await loop.sock_accept(self._listening)
            except OSError as error:
                if error.errno in EXHAUSTED:
                    if not (self._reserve and self._reserve.release()):
                        await self._pause(error)
                elif error.errno not in GONE:
                    raise
                continue
            if self._error and not self.error:
                self._error = ""
                log.info("connections are accepted again")
            if not self._has_room():
                accepted.close()
                continue
            try:
                await loop.connect_accepted_socket(self._protocol, accepted)
            except OSError:  # it is closed already
                accepted.close()
            if self._reserve:
                self._reserve.refill()

    def _protocol(self) -> asyncio.Protocol:
        return HttpProtocol(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state, meters=self._meters
        )

    def _has_room(self) -> bool:
        """Make room for one more connection; return whether that was possible."""
        connections = cast("set[HttpProtocol]", self.server_state.connections)
        if len(connections) < self._most:
            return True
        of: dict[Any, int] = {}
        for one in connections:
            of[_client(one)] = of.get(_client(one), 0) + 1
        waiting = [(-of[_client(one)], since, one) for one in connections if (since := one.waits_since) is not None]
        if not waiting:
            return False
        min(waiting, key=lambda it: it[:2])[2].abort("too many connections")
        return True

    async def _pause(self, error: OSError) -> None:
        """Close the connection that has kept toban waiting for the longest, and wait until descriptors may be free."""
        if not self._error:
            self._error = f"connections can't be accepted: {os.strerror(error.errno or 0).lower()}"
            log.warning(self._error)
        self._failed_at = time.monotonic()
        connections = cast("set[HttpProtocol]", self.server_state.connections)
        waiting = [(since, id(one), one) for one in connections if (since := one.waits_since) is not None]
        if waiting:
            min(waiting)[2].abort("out of file descriptors")
        await asyncio.sleep(RETRY_DELAY)


def _client(connection: HttpProtocol) -> str:
    return connection.client[0] if connection.client else ""
