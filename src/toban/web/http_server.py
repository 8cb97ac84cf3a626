"""The HTTP service."""

import asyncio
import ipaddress
import logging
import socket
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import structlog
import uvicorn
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp

from toban.access.service import AccessService
from toban.core.errors import SettingsError
from toban.core.metric_registry import MetricRegistry
from toban.core.paths import SOCKET
from toban.core.ports import Clock, HealthStatus
from toban.web.auth import NetworkAccess, TrustedAccess
from toban.web.http_protocol import HttpProtocol
from toban.web.listener import BACKLOG, DescriptorReserve, ListeningServer, most_connections
from toban.web.settings import WebSettings, split
from toban.web.socket_protocol import MESSAGE_BYTES, PING_INTERVAL, SocketProtocol

log = structlog.get_logger("toban.web")

GRACE: Final = 2
"""How many seconds a response may still take when toban stops."""

LOCAL_CONNECTIONS: Final = 64
"""How many connections the socket for commands accepts at the same time."""


@dataclass(slots=True)
class ServedSocket:
    """A listening socket, and the application that is served there."""

    app: NetworkAccess | TrustedAccess
    listening: socket.socket
    is_local: bool = False
    server: ListeningServer | None = field(default=None, repr=False)


STARTING: Final = PlainTextResponse("toban is starting\n", 503)
"""Served before there is an application."""


class HttpService:
    """
    Serves on the network, and for commands on the socket in the data folder.

    Authentication depends on the socket that accepted a connection, and on nothing in a request.
    """

    name = "web"

    def __init__(
        self,
        settings: WebSettings,
        network: socket.socket,
        local: socket.socket,
        metrics: socket.socket | None,
        clock: Clock,
        meters: MetricRegistry,
    ) -> None:
        """``metrics`` is the socket of `web.metrics`, which is open to everybody; `configure` sets what is served."""
        self.address = address_of(network)
        self._sockets = [
            ServedSocket(NetworkAccess(STARTING, settings, meters), network),
            ServedSocket(TrustedAccess(STARTING), local, is_local=True),
        ]
        if metrics:
            self._sockets.append(ServedSocket(NetworkAccess(STARTING, _public(settings), meters), metrics))
        self._clock = clock
        self._meters = meters
        self._reserve = DescriptorReserve()

    def configure(
        self,
        app: ASGIApp,
        settings: WebSettings,
        hosts: Sequence[str],
        metrics: ASGIApp,
        access: AccessService,
        address: str,
    ) -> None:
        """
        Serve these applications from now on; requests that are being handled finish.

        ``hosts`` are toban's names, ``address`` is the URL at which people reach it.
        """
        for served, application, web, known in zip(
            self._sockets,
            (app, app, metrics),
            (settings, settings, _public(settings)),
            (access, access, None),
            strict=False,
        ):
            served.app.configure(application, web, hosts, known, address)

    async def run(self) -> None:
        """Serve until cancelled; then let requests finish, for two seconds at most."""
        with self._reserve.kept():
            async with asyncio.TaskGroup() as group:
                for served in self._sockets:
                    group.create_task(self._serve(served), name="web")

    async def _serve(self, served: ServedSocket) -> None:
        """Serve a socket; a server that fails is restarted, and does not end the evaluation."""
        while True:
            most, reserve = (LOCAL_CONNECTIONS, self._reserve) if served.is_local else (most_connections(), None)
            served.server = server = ListeningServer(_config(served.app), served.listening, most, self._meters, reserve)
            task = asyncio.create_task(server.serve(), name="web")
            try:
                await asyncio.shield(task)
                log.error("HTTP server stopped: restarting")
            except Exception:  # a bug in the server: logged, and it is restarted
                log.exception("HTTP server failed: restarting")
            finally:
                server.should_exit = True
                await asyncio.wait([task])
            await self._clock.sleep(1)

    def health(self) -> HealthStatus:
        """Return whether all sockets are served."""
        servers = [served.server for served in self._sockets]
        if not all(server and server.started and not server.should_exit for server in servers):
            return HealthStatus(False, "not listening")
        error = next((server.error for server in servers if server and server.error), "")
        return HealthStatus(not error, error or f"listening on {self.address}")


def open_http_service(
    stack: AsyncExitStack, settings: WebSettings, data: Path, clock: Clock, meters: MetricRegistry
) -> HttpService:
    """Bind all sockets. Raises ``SettingsError`` when an address can't be used."""
    web = stack.enter_context(network(settings.listen))
    commands = stack.enter_context(local(data / SOCKET))
    metrics = stack.enter_context(network(settings.metrics, "web.metrics")) if settings.metrics else None
    return HttpService(settings, web, commands, metrics, clock, meters)


def _public(settings: WebSettings) -> WebSettings:
    """Return settings without a token."""
    return settings.model_copy(update={"token": None})


NOISE: Final = frozenset({"Invalid HTTP request received."})
"""Log messages that any client can trigger: they are counted instead."""


def _is_news(record: logging.LogRecord) -> bool:
    """Tell whether a message of the server is worth logging: that a response was cancelled at the stop is not."""
    if record.msg in NOISE:
        return False
    return not (record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError))


logging.getLogger("uvicorn.error").addFilter(_is_news)


def _config(app: ASGIApp) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        lifespan="off",
        loop="asyncio",
        http=HttpProtocol,
        ws=SocketProtocol,
        ws_max_size=MESSAGE_BYTES,
        ws_ping_interval=PING_INTERVAL,
        ws_ping_timeout=PING_INTERVAL,
        ws_per_message_deflate=False,
        log_config=None,
        access_log=False,
        # Headers that name a client are not trusted: authentication depends on it.
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE,
    )


@contextmanager
def network(listen: str, setting: str = "web.listen") -> Iterator[socket.socket]:
    """
    Listen on an address; who connects waits until it is served.

    Raises ``SettingsError`` when it is in use or not of this machine.
    """
    host, port = split(listen)
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        opened = socket.socket(family, kind, protocol)
    except OSError as error:
        raise SettingsError(f"{setting}: {listen}: {error}") from error
    with closing(opened):
        try:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            opened.bind(address)
            opened.listen(BACKLOG)  # two programs that start together can both bind it: only one can listen
        except OSError as error:
            raise SettingsError(
                f"{setting}: {listen}: {error.strerror}: is another program using it? Choose another"
                + (": --listen" if setting == "web.listen" else "")
            ) from error
        yield opened


@contextmanager
def local(path: Path) -> Iterator[socket.socket]:
    """
    Bind the socket for commands; only this user may use it.

    A socket of an earlier run is removed: the lock on the data folder proves that it has ended.
    Raises ``SettingsError`` when the socket can't be bound.
    """
    path.unlink(missing_ok=True)
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as opened:
        try:
            opened.bind(str(path))
        except OSError as error:
            raise SettingsError(f"{path}: the socket can't be bound: {error}: use another folder: --data") from error
        path.chmod(0o600)
        try:
            yield opened
        finally:
            path.unlink(missing_ok=True)


def address_of(opened: socket.socket) -> str:
    """Return the base URL at which a listening socket is reached."""
    host, port = opened.getsockname()[:2]
    if ipaddress.ip_address(host.partition("%")[0]).is_unspecified:
        host = _outer_address(opened.family)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _outer_address(family: int) -> str:
    """Return the address with which this machine reaches others; that of loopback where it reaches none."""
    elsewhere = "2001:db8::1" if family == socket.AF_INET6 else "192.0.2.1"
    try:
        with closing(socket.socket(family, socket.SOCK_DGRAM)) as probe:
            probe.connect((elsewhere, 9))  # which sends nothing
            return str(probe.getsockname()[0])
    except OSError:
        return "::1" if family == socket.AF_INET6 else "127.0.0.1"
