"""Acting on machines at Fly.io, through its Machines API: https://fly.io/docs/machines/api/."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import httpx2
import orjson
import structlog

from toban.core.errors import ActionError, ResponseTooLargeError
from toban.core.http_client import error_reason, read_body, request_timeout
from toban.core.samples import moment
from toban.core.untyped_json import as_list, as_mapping
from toban.runbooks.action import ActionContext, ActionTools
from toban.shop.fly import authorization

log = structlog.get_logger("toban.runbooks")

REQUEST_SECONDS: Final = 20.0
MAX_BODY: Final = 4 * 2**20
LEASE_SECONDS: Final = 400
"""How long a lease lasts: longer than the act and the wait for its effect."""
EFFECT: Final = timedelta(minutes=5)
"""How long Fly may take until a machine is started, as its own command line waits."""
POLL_SECONDS: Final = 5
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
        body = {"ttl": LEASE_SECONDS, "description": why}
        found = as_mapping(as_mapping(await self._call("POST", path, body=body)).get("data"))
        header = {"fly-machine-lease-nonce": str(found.get("nonce", ""))}
        try:
            yield header
        finally:
            try:
                await self._call("DELETE", path, headers=header)
            except ActionError as error:
                log.warning("lease not released, it expires by itself", machine=machine.id, error=str(error))

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

    def _path(self, machine: FlyMachine) -> str:
        return f"apps/{machine.app}/machines/{machine.id}"

    async def _call(self, method: str, path: str, *, headers: Mapping[str, str] | None = None, body: Any = None) -> Any:
        context = f"Fly: {method} {path.partition('?')[0]}"
        try:
            async with (
                request_timeout(REQUEST_SECONDS) as progress,
                self._http.stream(
                    method,
                    f"{self._address}/v1/{path}",
                    headers={**self._headers, **(headers or {})},
                    json=body,
                    timeout=progress.timeout,
                    extensions={"trace": progress.trace},
                ) as response,
            ):
                content = await read_body(response, MAX_BODY)
        except (httpx2.HTTPError, OSError, ResponseTooLargeError) as error:
            raise ActionError(f"{context}: {error_reason(error)}") from error
        if response.is_success:
            try:
                return orjson.loads(content) if content else {}
            except ValueError as error:
                raise ActionError(f"{context}: the response is no JSON") from error
        raise ActionError(f"{context}: {_refusal(response.status_code, content)}")


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
