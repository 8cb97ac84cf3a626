"""The service that answers."""

import asyncio
import logging
import socket
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import structlog
import uvicorn
from starlette.types import ASGIApp

from toban.core.errors import SettingsError
from toban.core.ports import Clock, Condition
from toban.web.access import Access
from toban.web.settings import WebSettings, split

log = structlog.get_logger("toban.web")

GRACE: Final = 2
"""How many seconds an answer may still take when toban stops."""


@dataclass(slots=True)
class Door:
    """One socket that is listened on, and what answers there."""

    app: ASGIApp
    listening: socket.socket
    server: "_Server | None" = field(default=None, repr=False)


class Serving:
    """Answers on the network, and on the socket in the data folder for commands."""

    name = "web"

    def __init__(
        self,
        app: ASGIApp,
        settings: WebSettings,
        network: socket.socket,
        local: socket.socket,
        clock: Clock,
        others: Iterable[Door] = (),
    ) -> None:
        self.address = address_of(network)
        # Who can open the socket in the data folder can read everything else there too.
        self._doors = (Door(Access(app, settings), network), Door(Access(app, WebSettings()), local), *others)
        self._clock = clock

    async def run(self) -> None:
        """Answer until cancelled; then let what is being answered end, for two seconds at most."""
        async with asyncio.TaskGroup() as group:
            for door in self._doors:
                group.create_task(self._keep_open(door), name="web")

    async def _keep_open(self, door: Door) -> None:
        """Serve at a door, again and again if need be: pages that die don't end the judging."""
        while True:
            door.server = server = _Server(_config(door.app))
            # The server closes what it is given: a copy, so that the door itself stays open.
            task = asyncio.create_task(server.serve([door.listening.dup()]), name="web")
            try:
                await asyncio.shield(task)
                log.error("stopped answering: starting again")
            except Exception:  # a bug in the server: told, and the door opens anew
                log.exception("stopped answering: starting again")
            finally:
                server.should_exit = True
                await asyncio.wait([task])
            await self._clock.sleep(1)

    def health(self) -> Condition:
        """Tell whether all doors are open."""
        started = all(door.server and door.server.started and not door.server.should_exit for door in self._doors)
        return Condition(started, f"listening on {self.address}" if started else "not listening")


def _is_news(record: logging.LogRecord) -> bool:
    """Tell whether the server's complaint is one: that toban cut off an answer when it stopped is none."""
    return not (record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError))


logging.getLogger("uvicorn.error").addFilter(_is_news)


class _Server(uvicorn.Server):
    """A server that leaves signals to the daemon."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _config(app: ASGIApp) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        lifespan="off",
        loop="asyncio",
        http="httptools",
        log_config=None,
        access_log=False,
        # What a header says of the sender is not believed: it decides who may ask.
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE,
        limit_concurrency=500,
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
