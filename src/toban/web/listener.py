"""Accepting connections: never more than there are file descriptors for, and always for who has waited least."""

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

MOST: Final = 400
"""How many connections are open at the same time, at each address."""

ELSEWHERE: Final = 128
"""How many file descriptors are left for everything else: files, the shop's connections, channels."""

DESCRIPTORS: Final = 8_192
"""How many file descriptors toban asks the system for."""

RESERVED: Final = 4
"""How many file descriptors are held back, so that commands get an answer when there are no others."""

EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
GONE: Final = frozenset(
    {errno.ECONNABORTED, errno.EPROTO, errno.EPERM, errno.ENETDOWN, errno.EHOSTDOWN, errno.EHOSTUNREACH}
    | {errno.ENETUNREACH, errno.ENOPROTOOPT, errno.EOPNOTSUPP}
)
"""What says only that one connection was gone before it was accepted: accept(2)."""

PAUSE: Final = 0.1
"""Seconds until it is tried again."""

OVER: Final = 60.0
"""Seconds without trouble after which it counts as over: what comes and goes is said once."""


def raise_descriptors() -> None:
    """Let this process have as many file descriptors as it may, and needs."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(DESCRIPTORS, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def most_connections() -> int:
    """Return how many connections there may be: what the system gives must do for everything else too."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST if soft == resource.RLIM_INFINITY else max(8, min(MOST, (soft - ELSEWHERE) // 3))


class DescriptorReserve:
    """File descriptors that are held back; ``lend`` gives one up when there are no others."""

    def __init__(self, many: int = RESERVED) -> None:
        self._many = many
        self._held: list[int] = []

    @contextmanager
    def kept(self) -> Iterator["DescriptorReserve"]:
        """Hold them as long as the block lasts."""
        self.refill()
        try:
            yield self
        finally:
            while self.lend():
                pass

    def lend(self) -> bool:
        """Give one up; tell whether there was one."""
        if not self._held:
            return False
        os.close(self._held.pop())
        return True

    def refill(self) -> None:
        """Hold as many as before, if they can be had."""
        with suppress(OSError):
            while len(self._held) < self._many:
                self._held.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))


class ListeningServer(uvicorn.Server):
    """
    A uvicorn that accepts by itself.

    When there are as many connections as there may be, the one that keeps toban waiting for the longest makes room:
    first among those of the client that has the most. ``reserve`` is given up where descriptors are short.
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
        self._trouble = ""
        self._troubled = -OVER

    @property
    def trouble(self) -> str:
        """Why connections could not be accepted, until that is over."""
        return self._trouble if time.monotonic() - self._troubled < OVER else ""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the daemon."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to accept."""
        self._listening.setblocking(False)
        self._listening.listen(BACKLOG)
        self.servers = []
        self._accepting = asyncio.create_task(self._accept(), name="web")
        self._accepting.add_done_callback(self._ended)
        self.started = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept nobody any more, and let answers end."""
        if self._accepting:
            self._accepting.cancel()
            await asyncio.wait([self._accepting])
        await super().shutdown()

    def _ended(self, accepting: asyncio.Task[None]) -> None:
        if not accepting.cancelled() and (error := accepting.exception()):
            log.error("accepting ended", error=repr(error))
        self.should_exit = True

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, _ = await loop.sock_accept(self._listening)
            except OSError as error:
                if error.errno in EXHAUSTED:
                    if not (self._reserve and self._reserve.lend()):
                        await self._pause(error)
                elif error.errno not in GONE:
                    raise
                continue
            if self._trouble and not self.trouble:
                self._trouble = ""
                log.info("connections are accepted again")
            if not self._has_room():
                accepted.close()
                continue
            try:
                await loop.connect_accepted_socket(self._protocol, accepted)
            except OSError:  # it is gone already
                accepted.close()
            if self._reserve:
                self._reserve.refill()

    def _protocol(self) -> asyncio.Protocol:
        return HttpProtocol(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state, meters=self._meters
        )

    def _has_room(self) -> bool:
        """Make room for one connection more; tell whether that could be done."""
        connections = cast("set[HttpProtocol]", self.server_state.connections)
        if len(connections) < self._most:
            return True
        of: dict[Any, int] = {}
        for one in connections:
            of[_client(one)] = of.get(_client(one), 0) + 1
        waiting = [(-of[_client(one)], since, one) for one in connections if (since := one.waits_since) is not None]
        if not waiting:
            return False
        min(waiting, key=lambda it: it[:2])[2].cut_off("too many connections")
        return True

    async def _pause(self, error: OSError) -> None:
        """Wait until descriptors may be free again; who keeps toban waiting for the longest gives one back."""
        if not self._trouble:
            self._trouble = f"connections can't be accepted: {os.strerror(error.errno or 0).lower()}"
            log.warning(self._trouble)
        self._troubled = time.monotonic()
        connections = cast("set[HttpProtocol]", self.server_state.connections)
        waiting = [(since, id(one), one) for one in connections if (since := one.waits_since) is not None]
        if waiting:
            min(waiting)[2].cut_off("out of file descriptors")
        await asyncio.sleep(PAUSE)


def _client(connection: HttpProtocol) -> str:
    return connection.client[0] if connection.client else ""
