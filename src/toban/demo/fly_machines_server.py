"""
The demo's stand-in of Fly's Machines API: the processes of the shop are its machines.

A machine is started while its process runs, and its check passes while that accepts connections. It answers as Fly
does, to as much as runbooks ask: https://fly.io/docs/machines/api/machines-resource/. No platform restarts what ended.
"""

import asyncio
import secrets
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from toban.demo.fly_log_server import REGION, TOKEN
from toban.demo.servers import DemoError, Server
from toban.demo.shop_processes import ShopProcesses
from toban.demo.web_server import port_of, served

WATCH_INTERVAL: Final = 0.5
"""Seconds between two looks at which processes have ended."""

CHECK_TIMEOUT: Final = 1.0
"""Seconds that a process may take to accept a connection."""

MAX_EVENTS: Final = 5
"""Events that are kept of a machine, the newest first, as Fly keeps them."""


def machine_id(app: str) -> str:
    """Return the id of an app's machine, as its log lines have it."""
    return f"{app}-1"


@dataclass
class DemoMachine:
    """A machine: a process, what happened to it, and the lease that somebody holds."""

    app: str
    group: str
    server: Server
    events: list[dict[str, Any]] = field(default_factory=list)
    lease: dict[str, Any] | None = None
    was_running: bool = True

    def happen(self, kind: str, status: str) -> None:
        """Record an event."""
        event = {"type": kind, "status": status, "source": "flyd", "timestamp": int(time.time() * 1000)}
        self.events = [event, *self.events][:MAX_EVENTS]

    def holds(self, nonce: str) -> bool:
        """Tell whether whoever sends this nonce may act: nobody else holds the lease."""
        if self.lease and self.lease["expires_at"] <= time.time():
            self.lease = None
        return self.lease is None or secrets.compare_digest(self.lease["nonce"], nonce)

    async def body(self) -> dict[str, Any]:
        """Return it as the API does."""
        passing = self.server.is_running and await _accepts(self.server)
        return {
            "id": machine_id(self.app),
            "name": machine_id(self.app),
            "state": "started" if self.server.is_running else "stopped",
            "region": REGION,
            "instance_id": f"01{self.app.upper()}",
            "image_ref": {"repository": "flyio/postgres-flex" if self.app == "postgres" else self.app},
            "config": {"metadata": {"fly_process_group": self.group}, "restart": {"policy": "no"}},
            "events": self.events,
            "checks": [{"name": "port", "status": "passing" if passing else "critical"}],
            "host_status": "ok",
            "cordoned": False,
        }


def machines_of(shop: ShopProcesses) -> Sequence[DemoMachine]:
    """Return the machines of a shop, one for each process."""
    return [
        DemoMachine("vendure-server", "server", shop.server),
        DemoMachine("vendure-worker", "worker", shop.worker),
        DemoMachine("postgres", "app", shop.postgres),
        *([DemoMachine("redis", "app", shop.valkey)] if shop.valkey else []),
    ]


async def _accepts(server: Server) -> bool:
    try:
        async with asyncio.timeout(CHECK_TIMEOUT):
            _, writer = await asyncio.open_connection(server.host, server.port)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True


class FlyMachinesServer:
    """The API, on a socket that listens."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._machines: Mapping[str, DemoMachine] = {}
        self._say: Callable[[str], None]
        self._starts: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """The address of the API, as `shop.fly_api` has it."""
        return f"http://127.0.0.1:{port_of(self._listener)}"

    @asynccontextmanager
    async def served(self, shop: ShopProcesses, say: Callable[[str], None]) -> AsyncIterator[None]:
        """Serve the shop's machines while the block runs; ``say`` gets a line when one is started or restarted."""
        self._machines = {it.app: it for it in machines_of(shop)}
        for machine in self._machines.values():
            machine.happen("start", "started")
        self._say = say
        watch = asyncio.create_task(self._watch())
        try:
            async with served(Starlette(routes=self._routes()), self._listener):
                yield
        finally:
            watch.cancel()
            await asyncio.gather(watch, *self._starts, return_exceptions=True)

    def _routes(self) -> Sequence[Route]:
        machine = "/v1/apps/{app}/machines/{id}"
        return [
            Route("/v1/apps/{app}/machines", self._list),
            Route(machine, self._show),
            Route(f"{machine}/lease", self._lease, methods=["GET", "POST", "DELETE"]),
            Route(f"{machine}/start", self._start, methods=["POST"]),
            Route(f"{machine}/restart", self._restart, methods=["POST"]),
        ]

    async def _watch(self) -> None:
        """Record which processes have ended."""
        while True:
            for machine in self._machines.values():
                if machine.was_running and not machine.server.is_running:
                    machine.happen("exit", "stopped")
                machine.was_running = machine.server.is_running
            await asyncio.sleep(WATCH_INTERVAL)

    async def _list(self, request: Request) -> Response:
        machine, refusal = self._machine(request)
        return refusal if machine is None else JSONResponse([await machine.body()])

    async def _show(self, request: Request) -> Response:
        machine, refusal = self._machine(request)
        return refusal if machine is None else JSONResponse(await machine.body())

    async def _lease(self, request: Request) -> Response:
        """Return, take, renew or release the lease of a machine; whoever holds it names its nonce."""
        machine, refusal = self._machine(request, acts=request.method != "GET")
        if machine is None:
            return refusal
        if request.method == "GET":
            return JSONResponse({"status": "success", "data": machine.lease}, 200 if machine.lease else 404)
        if request.method == "DELETE":
            machine.lease = None
            return JSONResponse({"ok": True})
        given = await request.json()
        machine.lease = {
            "nonce": machine.lease["nonce"] if machine.lease else secrets.token_hex(8),
            "expires_at": int(time.time()) + int(given.get("ttl", 60)),
            "owner": "toban",
            "description": given.get("description", ""),
        }
        return JSONResponse({"status": "success", "data": machine.lease}, 201)

    async def _start(self, request: Request) -> Response:
        machine, refusal = self._machine(request, acts=True)
        if machine is None:
            return refusal
        if not machine.server.is_running:
            self._launch(machine, "started", machine.server.start)
        return JSONResponse({"previous_state": "stopped", "migrated": False, "new_host": ""})

    async def _restart(self, request: Request) -> Response:
        machine, refusal = self._machine(request, acts=True)
        if machine is None:
            return refusal

        def restart() -> None:
            machine.server.stop()
            machine.server.start()

        machine.happen("restart", "restarting")
        self._launch(machine, "restarted", restart)
        return JSONResponse({"ok": True})

    def _launch(self, machine: DemoMachine, done: str, start: Callable[[], None]) -> None:
        """Start a process in the background: the API answers before it is there."""

        async def launch() -> None:
            try:
                await asyncio.to_thread(start)
            except DemoError as error:
                self._say(f"Fly: {machine_id(machine.app)} does not start: {error}")
                return
            machine.was_running = True
            machine.happen("start", "started")
            self._say(f"Fly: {machine_id(machine.app)} was {done}")

        task = asyncio.create_task(launch())
        self._starts.add(task)
        task.add_done_callback(self._starts.discard)

    def _machine(self, request: Request, *, acts: bool = False) -> tuple[DemoMachine | None, Response]:
        """Return the machine of a request, or why there is no answer."""
        path, headers = request.path_params, request.headers
        machine = self._machines.get(path["app"])
        if headers.get("authorization") != TOKEN:
            return None, JSONResponse({"error": "unauthorized"}, 401)
        if machine is None or path.get("id", machine_id(machine.app)) != machine_id(machine.app):
            return None, JSONResponse({"error": "not found"}, 404)
        if acts and not machine.holds(headers.get("fly-machine-lease-nonce", "")):
            return None, JSONResponse({"error": "lease currently held by toban"}, 409)
        return machine, Response()


@contextmanager
def open_machines() -> Iterator[FlyMachinesServer]:
    """Listen on a port of the loopback interface; who connects waits until it is served."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield FlyMachinesServer(listener)
