"""The service that answers."""

import asyncio
import logging
import socket
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import structlog
import uvicorn
from starlette.types import ASGIApp

from toban.core.errors import SettingsError
from toban.core.metric_registry import MetricRegistry
from toban.core.ports import Clock, HealthStatus
from toban.web.auth import NetworkAccess, TrustedAccess
from toban.web.http_protocol import HttpProtocol
from toban.web.listener import DescriptorReserve, ListeningServer, most_connections
from toban.web.settings import WebSettings, split

log = structlog.get_logger("toban.web")

GRACE: Final = 2
"""How many seconds an answer may still take when toban stops."""

COMMANDS: Final = 64
"""How many commands may ask at the same time."""


@dataclass(slots=True)
class ServedSocket:
    """One socket that is listened on, and what answers there."""

    app: NetworkAccess | TrustedAccess
    listening: socket.socket
    is_local: bool = False
    server: ListeningServer | None = field(default=None, repr=False)


class HttpService:
    """
    Answers on the network, and on the socket in the data folder for commands.

    Who may do what depends on the socket that accepted them: by nothing else is the local one known.
    """

    name = "web"

    def __init__(
        self,
        app: ASGIApp,
        settings: WebSettings,
        network: socket.socket,
        local: socket.socket,
        clock: Clock,
        meters: MetricRegistry,
        hosts: Sequence[str] = (),
        metrics: tuple[ASGIApp, socket.socket] | None = None,
    ) -> None:
        """``hosts`` are names under which toban is reached; ``metrics`` is what answers to everybody, and where."""
        self.address = address_of(network)
        self._doors = [
            ServedSocket(NetworkAccess(app, settings, meters, hosts), network),
            ServedSocket(TrustedAccess(app), local, is_local=True),
        ]
        if metrics:
            self._doors.append(ServedSocket(NetworkAccess(metrics[0], _public(settings), meters, hosts), metrics[1]))
        self._clock = clock
        self._meters = meters
        self._reserve = DescriptorReserve()

    def configure(self, app: ASGIApp, settings: WebSettings, hosts: Sequence[str], metrics: ASGIApp | None) -> None:
        """Answer otherwise from now on; what is being answered comes to its end as it began. Sockets stay."""
        for door, answers, whose in zip(
            self._doors, (app, app, metrics), (settings, settings, _public(settings)), strict=False
        ):
            if answers:
                door.app.configure(answers, whose, hosts)

    async def run(self) -> None:
        """Answer until cancelled; then let what is being answered end, for two seconds at most."""
        with self._reserve.kept():
            async with asyncio.TaskGroup() as group:
                for door in self._doors:
                    group.create_task(self._keep_open(door), name="web")

    async def _keep_open(self, door: ServedSocket) -> None:
        """Serve at a door, again and again if need be: pages that die don't end the judging."""
        while True:
            most, reserve = (COMMANDS, self._reserve) if door.is_local else (most_connections(), None)
            door.server = server = ListeningServer(_config(door.app), door.listening, most, self._meters, reserve)
            task = asyncio.create_task(server.serve(), name="web")
            try:
                await asyncio.shield(task)
                log.error("stopped answering: starting again")
            except Exception:  # a bug in the server: told, and the door opens anew
                log.exception("stopped answering: starting again")
            finally:
                server.should_exit = True
                await asyncio.wait([task])
            await self._clock.sleep(1)

    def health(self) -> HealthStatus:
        """Tell whether all doors are open."""
        servers = [door.server for door in self._doors]
        if not all(server and server.started and not server.should_exit for server in servers):
            return HealthStatus(False, "not listening")
        trouble = next((server.trouble for server in servers if server and server.trouble), "")
        return HealthStatus(not trouble, trouble or f"listening on {self.address}")


def _public(settings: WebSettings) -> WebSettings:
    """Return settings with which everybody may do everything."""
    return settings.model_copy(update={"token": None})


NOISE: Final = frozenset({"Invalid HTTP request received."})
"""What everybody can make the server say as often as they like: it is counted instead."""


def _is_news(record: logging.LogRecord) -> bool:
    """Tell whether the server's complaint is one: that toban cut off an answer when it stopped is none."""
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
        ws="none",
        log_config=None,
        access_log=False,
        # What a header says of the sender is not believed: it decides who may ask.
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE,
    )


@contextmanager
def network(listen: str, setting: str = "web.listen") -> Iterator[socket.socket]:
    """Open an address to listen on. Raises ``SettingsError`` when it is taken or isn't this machine's."""
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
        except OSError as error:
            raise SettingsError(
                f"{setting}: {listen}: {error.strerror}: is another program there? Choose another"
                + (": --listen" if setting == "web.listen" else "")
            ) from error
        yield opened


@contextmanager
def local(path: Path) -> Iterator[socket.socket]:
    """
    Open the socket for commands; only this user may use it.

    What an earlier toban left there is removed: the lock on the data folder says that it is gone.
    Raises ``SettingsError`` when there can't be one.
    """
    path.unlink(missing_ok=True)
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as opened:
        try:
            opened.bind(str(path))
        except OSError as error:
            raise SettingsError(f"{path}: no socket can be made there: {error}: use another folder: --data") from error
        path.chmod(0o600)
        try:
            yield opened
        finally:
            path.unlink(missing_ok=True)


def address_of(opened: socket.socket) -> str:
    """Return where a socket listens, as the beginning of an address."""
    host, port = opened.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
