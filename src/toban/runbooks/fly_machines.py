"""Acting on machines at Fly.io, through its Machines API: https://fly.io/docs/machines/api/."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import httpx2
import orjson
import structlog

from toban.core.backoff import retry_after, retry_delay
from toban.core.errors import ActionError, ResponseTooLargeError
from toban.core.http_client import error_reason, read_body, request_timeout
from toban.core.samples import moment
from toban.core.untyped_json import as_list, as_mapping
from toban.runbooks.action import ActionContext, ActionTools
from toban.shop.fly import authorization

log = structlog.get_logger("toban.runbooks")

REQUEST_SECONDS: Final = 20.0
MAX_BODY: Final = 4 * 2**20
LEASE_SECONDS: Final = 90
"""How long a lease lasts without being renewed: longer than reading, acting and reading again may take."""
RENEWED_AFTER: Final = timedelta(seconds=30)
"""How old a lease becomes while toban waits for the effect: what a toban that was killed has left expires soon."""
NONCE: Final = "fly-machine-lease-nonce"
OWN: Final = "toban "
"""How the description of a lease begins that toban took."""
EFFECT: Final = timedelta(minutes=5)
"""How long Fly may take until a machine is started, as its own command line waits."""
POLL_SECONDS: Final = 5
ATTEMPTS: Final = 4
"""How often a request is sent that Fly answers with 429."""
MAX_WAIT: Final = 10.0
"""Seconds that are waited between two of them."""
IGNORED_CHECK: Final = "bg_deployments_compat"
RECENT: Final = timedelta(hours=1)
MANY_RESTARTS: Final = 3

NO_TOKEN: Final = "shop.fly_admin_token is not set: `fly tokens create deploy -a APP` makes a token that may restart"  # noqa: S105  # a sentence


@dataclass(frozen=True, slots=True)
class FlyMachine:
    """A machine, as far as it matters for restarting it."""

    app: str
    id: str
    state: str
    group: str
    instance_id: str
    image: str
    host_status: str
    is_cordoned: bool
    checks: Mapping[str, str]
    events: Sequence[Mapping[str, Any]]
    """The newest first."""

    @classmethod
    def parse(cls, app: str, body: Any) -> "FlyMachine":
        """Return a machine from the API's response."""
        found = as_mapping(body)
        config = as_mapping(found.get("config") or found.get("incomplete_config"))
        checks = {str(it.get("name")): str(it.get("status")) for it in map(as_mapping, as_list(found.get("checks")))}
        return cls(
            app,
            str(found.get("id", "")),
            str(found.get("state", "")),
            str(as_mapping(config.get("metadata")).get("fly_process_group", "")),
            str(found.get("instance_id", "")),
            str(as_mapping(found.get("image_ref")).get("repository", "")),
            str(found.get("host_status", "ok")),
            bool(found.get("cordoned")),
            {name: status for name, status in checks.items() if not name.startswith(IGNORED_CHECK)},
            [as_mapping(it) for it in as_list(found.get("events"))],
        )

    @property
    def name(self) -> str:
        """Its name among the targets of an act."""
        return f"machine {self.id}"

    @property
    def is_database(self) -> bool:
        """Whether it is a server of Fly Postgres, which may be an app beside the shop's."""
        return self.image.startswith("flyio/postgres")

    @property
    def newest_event(self) -> int:
        """When its newest event was, in milliseconds."""
        return max((int(it.get("timestamp") or 0) for it in self.events), default=0)

    @property
    def is_healthy(self) -> bool:
        """Whether it can take requests: started, on a healthy host, with its checks passing."""
        passing = all(status == "passing" for status in self.checks.values())
        return self.state == "started" and self.host_status == "ok" and not self.is_cordoned and passing

    def crashes(self, now: datetime) -> str:
        """Return that restarting it again helps nobody; empty otherwise."""
        for event in self.events:
            request = as_mapping(event.get("request"))
            exited = as_mapping(request.get("exit_event") or as_mapping(request.get("MonitorEvent")).get("exit_event"))
            at = moment(int(event.get("timestamp") or 0))
            if now - at > RECENT:
                continue
            if exited.get("oom_killed"):
                return "it ran out of memory within the last hour: give it more memory"
            if int(request.get("restart_count") or 0) >= MANY_RESTARTS:
                return f"it restarted {request['restart_count']} times in a row: restarting it again helps nobody"
        return ""

    def happened_since(self, at: int, *kinds: str) -> datetime | None:
        """Return when the first event of some kinds after a time (milliseconds) was."""
        times = [int(it.get("timestamp") or 0) for it in self.events if it.get("type") in kinds]
        found = min((time for time in times if time > at), default=None)
        return moment(found) if found is not None else None


def wanted_machine(machine: str, context: ActionContext) -> str:
    """Return the machine that a step is for: the one that it names, or the alert's. Raises ``ActionError``."""
    wanted = machine or context.alert.labels.get("instance", "")
    if not wanted:
        raise ActionError("the alert has no label `instance`: set `machine`")
    return wanted


@dataclass(slots=True)
class HeldLease:
    """A lease that toban holds: its path, what it is for, its nonce, and when it was taken or renewed."""

    path: str
    why: str
    nonce: str
    renewed: datetime


class HeldError(ActionError):
    """Somebody else holds the lease of a machine."""


class FlyMachines:
    """Reads and acts on the machines of the shop's apps; methods raise ``ActionError``."""

    def __init__(self, tools: ActionTools) -> None:
        settings = tools.shop.settings
        if settings.fly_admin_token is None:
            raise ActionError(NO_TOKEN)
        self._http = tools.http
        self._clock = tools.clock
        self._apps = settings.fly_apps
        self._address = settings.fly_api.rstrip("/")
        self._headers = {"authorization": authorization(settings.fly_admin_token.get_secret_value())}
        self._held: HeldLease | None = None

    async def of_groups(self, groups: Sequence[str]) -> list[FlyMachine]:
        """Return the started machines of process groups, in the order of the groups; none of a database."""
        found = [it for app in self._apps for it in await self.machines(app)]
        found = [it for it in found if it.state == "started" and not it.is_database]
        return [it for group in groups for it in found if it.group == group]

    async def find(self, machine: str) -> tuple[FlyMachine, list[FlyMachine]]:
        """Return a machine by its id, and the others of its process group."""
        if not self._apps:
            raise ActionError("shop.fly_apps is not set: name the apps whose machines may be restarted")
        for app in self._apps:
            found = await self.machines(app)
            if chosen := next((it for it in found if it.id == machine), None):
                return chosen, [it for it in found if it.group == chosen.group and it.id != chosen.id]
        raise ActionError(f"no machine {machine[:50]!r} in {', '.join(self._apps)}")

    async def machines(self, app: str) -> list[FlyMachine]:
        """Return the machines of an app."""
        found = await self._call("GET", f"apps/{app}/machines")
        return [FlyMachine.parse(app, it) for it in as_list(found)]

    async def read(self, machine: FlyMachine) -> FlyMachine:
        """Return a machine as it is now."""
        return FlyMachine.parse(machine.app, await self._call("GET", self._path(machine)))

    @asynccontextmanager
    async def lease(self, machine: FlyMachine, why: str) -> AsyncIterator[Mapping[str, str]]:
        """Hold the lease of a machine, so that no deploy works on it; yield the header for requests under it."""
        path = f"{self._path(machine)}/lease"
        nonce = await self._take(path, machine, why)
        self._held = held = HeldLease(path, why, nonce, self._clock.now())
        try:
            yield {NONCE: nonce}
        finally:
            self._held = None
            try:
                await self._call("DELETE", path, headers={NONCE: held.nonce})
            except ActionError as error:
                log.warning("lease not released, it expires by itself", machine=machine.id, error=str(error))

    async def _take(self, path: str, machine: FlyMachine, why: str) -> str:
        """
        Take a lease; return its nonce.

        One that an earlier attempt of the same act has left is taken over. That of another act of toban, which ended
        with it, is not: it may be that of another toban, and it expires soon.
        """
        body = {"ttl": LEASE_SECONDS, "description": why}
        try:
            return _nonce(await self._call("POST", path, body=body))
        except HeldError:
            held = as_mapping(as_mapping(await self._call("GET", path)).get("data"))
            said, nonce = str(held.get("description", "")), str(held.get("nonce", ""))
            if said == why and nonce:
                return _nonce(await self._call("POST", path, headers={NONCE: nonce}, body=body))
            if not said.startswith(OWN):
                raise
            until = f"{moment(int(held.get('expires_at') or 0) * 1_000):%H:%M:%S} UTC"
            raise ActionError(
                f"toban itself holds the lease of machine {machine.id} for {said.removeprefix(OWN)[:50]}: if that act "
                f"ended with it, the lease is free at {until}"
            ) from None

    async def release_left(self, machine: FlyMachine, why: str) -> None:
        """Release the lease that an act has left which ended with toban; somebody else's stays."""
        path = f"{self._path(machine)}/lease"
        try:
            held = as_mapping(as_mapping(await self._call("GET", path)).get("data"))
            if held.get("description") == why and held.get("nonce"):
                await self._call("DELETE", path, headers={NONCE: str(held["nonce"])})
        except ActionError as error:
            log.info("no lease released, one that was left expires by itself", machine=machine.id, error=str(error))

    async def _renew(self) -> None:
        """Renew the lease that is held once it is old, so that it outlasts the wait; it does not where that fails."""
        held = self._held
        if held is None or self._clock.now() - held.renewed < RENEWED_AFTER:
            return
        held.renewed = self._clock.now()
        try:
            body = {"ttl": LEASE_SECONDS, "description": held.why}
            held.nonce = _nonce(await self._call("POST", held.path, headers={NONCE: held.nonce}, body=body))
        except ActionError as error:
            log.warning("lease not renewed", path=held.path, error=str(error))

    async def restart(self, machine: FlyMachine, lease: Mapping[str, str]) -> None:
        """Restart a machine; whether that has an effect shows in its events."""
        await self._call("POST", f"{self._path(machine)}/restart?timeout=30s&signal=SIGINT", headers=lease)

    async def start(self, machine: FlyMachine, lease: Mapping[str, str]) -> None:
        """Start a machine."""
        await self._call("POST", f"{self._path(machine)}/start", headers=lease)

    async def started_again(self, machine: FlyMachine) -> FlyMachine:
        """Wait until a machine has started since it was read, and its checks pass; return it."""
        started = self._clock.monotonic()
        while True:
            now = await self.read(machine)
            if now.happened_since(machine.newest_event, "start") and now.is_healthy:
                return now
            if self._clock.monotonic() - started >= EFFECT.total_seconds():
                seen = ", ".join(f"{name} {status}" for name, status in now.checks.items()) or "no checks"
                raise ActionError(f"machine {machine.id} is not back after 5 minutes: {now.state}, {seen}")
            await self._clock.sleep(POLL_SECONDS)
            await self._renew()

    def _path(self, machine: FlyMachine) -> str:
        return f"apps/{machine.app}/machines/{machine.id}"

    async def _call(self, method: str, path: str, *, headers: Mapping[str, str] | None = None, body: Any = None) -> Any:
        """
        Send a request; return what the response says.

        What Fly answers with 429 was not done: it is sent again, a second later at the earliest. Fly allows one request
        a second of each kind, also to the collectors of this toban, and to the look after a crash.
        """
        for attempt in range(1, ATTEMPTS + 1):
            response, content = await self._send(method, path, headers or {}, body)
            if response.status_code != 429 or attempt == ATTEMPTS:
                break
            wanted = retry_after(response.headers.get("retry-after", ""), self._clock.now())
            await self._clock.sleep(min(retry_delay(attempt, wanted, 1.0).total_seconds(), MAX_WAIT))
        context = f"Fly: {method} {path.partition('?')[0]}"
        if response.is_success:
            try:
                return orjson.loads(content) if content else {}
            except ValueError as error:
                raise ActionError(f"{context}: the response is no JSON") from error
        failure = HeldError if response.status_code in {409, 412} else ActionError
        raise failure(f"{context}: {_refusal(response.status_code, content)}")

    async def _send(
        self, method: str, path: str, headers: Mapping[str, str], body: Any
    ) -> tuple[httpx2.Response, bytes]:
        context = f"Fly: {method} {path.partition('?')[0]}"
        try:
            async with (
                request_timeout(REQUEST_SECONDS) as progress,
                self._http.stream(
                    method,
                    f"{self._address}/v1/{path}",
                    headers={**self._headers, **headers},
                    json=body,
                    timeout=progress.timeout,
                    extensions={"trace": progress.trace},
                ) as response,
            ):
                return response, await read_body(response, MAX_BODY)
        except (httpx2.HTTPError, OSError, ResponseTooLargeError) as error:
            raise ActionError(f"{context}: {error_reason(error)}") from error


def _nonce(body: Any) -> str:
    return str(as_mapping(as_mapping(body).get("data")).get("nonce", ""))


def _refusal(status: int, content: bytes) -> str:
    try:
        found = as_mapping(orjson.loads(content))
    except ValueError:
        found = {}
    said = str(found.get("message") or found.get("error") or "")[:200]
    remedy = {
        401: "the token is not valid",
        403: "the token may not do this: `fly tokens create deploy -a APP`",
        409: "somebody else works on it, perhaps a deploy: it is left alone",
        412: "somebody else works on it, perhaps a deploy: it is left alone",
    }.get(status, "")
    return ": ".join(part for part in (f"answered {status}", said, remedy) if part)
