"""The shop's machines on Fly.io."""

import asyncio
import os
from collections.abc import Awaitable, Iterable, Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, Final, Literal, NamedTuple, TypeVar
from urllib.parse import urlencode, urlsplit

from pydantic import PrivateAttr
from sqlalchemy import Connection

from toban.collect import backfill, fly_machines, fly_metrics, repository
from toban.collect.collector import Collector, ScrapeResult
from toban.collect.collectors.host import KILLED
from toban.collect.fly_machines import EXITS, LEASED, Machine
from toban.collect.fly_metrics import Edge, Readings
from toban.collect.rest_client import RestClient
from toban.collect.sql_metrics import is_due
from toban.collect.tools import CollectorTools
from toban.core.config_types import Address, Duration, Secret, Text
from toban.core.errors import CollectError, StateError
from toban.core.metric_registry import MetricRegistry
from toban.core.samples import Batch, Sample, milliseconds
from toban.state import durable_counters

T = TypeVar("T")

REMEDY: Final = "give it a read-only token of the organisation: fly tokens create readonly"
LAG: Final = timedelta(seconds=30)
"""How far behind the present Fly's numbers are asked for: they come every 15 seconds, and a little late."""
LONGEST: Final = timedelta(minutes=15)
"""What visitors' requests are asked for at most, after a time in which nobody could ask."""
SLOWLY: Final = timedelta(minutes=5)
"""How often is asked for what hardly changes: volumes, who holds a machine, which apps there are."""
PATIENCE: Final = 5.0
"""Seconds that an answer may take: a look in which nothing is answered ends in time all the same."""
AT_ONCE: Final = 5
"""How many such questions one look asks."""
REMEMBERED: Final = timedelta(days=2)
"""How long it is remembered that an end was counted."""


class Slow(NamedTuple):
    """What was asked for last, and when (monotonic seconds)."""

    at: float
    samples: tuple[Sample, ...]


class Place(NamedTuple):
    """Which organisation and apps are looked at, and when that was asked (monotonic seconds)."""

    org: str
    apps: tuple[str, ...]
    at: float


class Fly(Collector):
    """
    Look at machines through Fly's own interfaces: nothing is sent to a machine, so none is woken.

    The Machines API tells states, ends, out-of-memory kills, releases, checks, volumes and leases; Fly's managed
    Prometheus each machine's processors, memory, disks and network, under the names that `host` has for its own, and
    what visitors met at the edge. `instance` is the machine's id. A read-only token is enough:
    `fly tokens create readonly <organisation>`.
    """

    kind: Literal["fly"] = "fly"

    token: Secret
    """A token of Fly's: ${FLY_API_TOKEN}."""

    apps: tuple[Text, ...] = ()
    """The apps to look at; all of the organisation unless set."""

    org: Text = ""
    """The organisation's slug; that of the first app, or of the machine toban stands on, unless set."""

    api: Address = "https://api.machines.dev"
    """Where the Machines API is."""

    metrics: Address = "https://api.fly.io/prometheus"
    """Where Fly's Prometheus is."""

    interval: Duration = timedelta(minutes=1)

    _machines_api: RestClient = PrivateAttr(default_factory=lambda: RestClient("Fly's Machines API", REMEDY, PATIENCE))
    _metrics_api: RestClient = PrivateAttr(default_factory=lambda: RestClient("Fly's Prometheus", REMEDY, PATIENCE))
    _readings: Readings = PrivateAttr(default_factory=Readings)
    _edge: Edge = PrivateAttr(default_factory=Edge)
    _slow: dict[str, Slow] = PrivateAttr(default_factory=dict)
    _found: Place | None = PrivateAttr(default=None)
    _exits: MetricRegistry | None = PrivateAttr(default=None)
    _counted_at: int | None = PrivateAttr(default=None)

    @property
    def default_instance(self) -> str:
        """The API's host."""
        return urlsplit(self.api).netloc

    @property
    def common(self) -> dict[str, str]:
        """The job alone: each machine is an instance of its own."""
        return {"job": self.job or self.name}

    async def collect(self, tools: CollectorTools) -> ScrapeResult:
        """Ask the Machines API for each app, then Fly's Prometheus for all; what one can't say the other can."""
        troubles: list[str] = []
        org, apps, _ = await self._placed(tools, troubles)
        machines, samples = list[Machine](), list[Sample]()
        for of in await self._each(troubles, [self._machines(tools, app) for app in apps]):
            machines += of or []
        now = tools.clock.now()
        for machine in machines:
            samples += machine.samples(now)
        samples += fly_machines.releases(machines)
        samples += await self._slowly(tools, apps, machines, troubles)
        running = frozenset(machine.id for machine in machines if machine.state == "started")
        try:
            samples += await self._numbers(tools, org, apps, running)
            await self._visitors(tools, org, apps)
        except CollectError as error:
            troubles.append(str(error))
        batches = self._edge.counted.read(milliseconds(now), self.common)
        return ScrapeResult(samples, [*batches, *await self._ends(tools, machines, troubles)], error=together(troubles))

    async def place(self, tools: CollectorTools) -> Place:
        """Ask for the organisation and its apps. Raises ``CollectError``."""
        org = self.org or await self._org(tools)
        return Place(org, self.apps or tuple(await self._apps_of(tools, org)), tools.clock.monotonic())

    async def _placed(self, tools: CollectorTools, troubles: list[str]) -> Place:
        """Return the organisation and its apps, as they were where that can't be asked. Raises ``CollectError``."""
        if self._found is None or is_due(self._found.at, SLOWLY, self.interval, tools.clock.monotonic()):
            try:
                self._found = await self.place(tools)
            except CollectError as error:
                if self._found is None:
                    raise
                troubles.append(str(error))
        return self._found

    async def _org(self, tools: CollectorTools) -> str:
        near = self.apps[0] if self.apps else os.environ.get("FLY_APP_NAME")
        if not near:
            raise CollectError(f"{self.name}: neither `apps` nor `org` is set")
        app = await self._machine_api(tools, f"apps/{near}")
        try:
            return str(app["organization"]["slug"])
        except (KeyError, TypeError) as error:
            raise CollectError(f"{self.name}: GET apps/{near}: no organisation is told: set `org`") from error

    async def _apps_of(self, tools: CollectorTools, org: str) -> list[str]:
        told = await self._machine_api(tools, f"apps?{urlencode({'org_slug': org})}")
        apps = told.get("apps") if isinstance(told, dict) else None
        if not isinstance(apps, list):
            raise CollectError(f"{self.name}: GET apps of {org}: the answer is no list of apps")
        found = sorted(str(app["name"]) for app in apps if isinstance(app, dict) and "name" in app)
        if not found:
            raise CollectError(f"{self.name}: GET apps of {org}: there are none, or the token may see none: {REMEDY}")
        return found

    async def _machines(self, tools: CollectorTools, app: str) -> list[Machine]:
        told = await self._listed(tools, f"apps/{app}/machines")
        return [machine for one in told if (machine := Machine.read(app, one)).there]

    async def _slowly(
        self, tools: CollectorTools, apps: Sequence[str], machines: Sequence[Machine], troubles: list[str]
    ) -> list[Sample]:
        """Return what hardly changes: some of it is asked for when it is time, the rest is as it was."""
        asked: dict[str, tuple[str, Machine | None]] = {f"apps/{app}/volumes": (app, None) for app in apps}
        asked |= {f"apps/{one.app}/machines/{one.id}/lease": (one.app, one) for one in machines}
        now = tools.clock.monotonic()
        known = {path: slow.at for path, slow in self._slow.items()}
        due = (path for path in asked if is_due(known.get(path), SLOWLY, self.interval, now))
        asking = {path: asked[path] for path in islice(due, AT_ONCE)}
        answers = [
            self._lease(tools, path, machine) if machine else self._volumes(tools, path, app)
            for path, (app, machine) in asking.items()
        ]
        for path, found in zip(asking, await self._each(troubles, answers), strict=True):
            if found is not None:
                self._slow[path] = Slow(now, tuple(found))
        self._slow = {path: slow for path, slow in self._slow.items() if path in asked}
        return [sample for slow in self._slow.values() for sample in slow.samples]

    async def _each(self, troubles: list[str], asked: Sequence[Awaitable[list[T]]]) -> list[list[T] | None]:
        """Return the answers to questions that are asked at the same time; nothing for one that met trouble."""

        async def one(question: Awaitable[list[T]]) -> list[T] | None:
            try:
                return await question
            except CollectError as error:
                troubles.append(str(error))
                return None

        return list(await asyncio.gather(*map(one, asked)))

    async def _volumes(self, tools: CollectorTools, path: str, app: str) -> list[Sample]:
        return [sample for one in await self._listed(tools, path) for sample in fly_machines.volume_samples(app, one)]

    async def _lease(self, tools: CollectorTools, path: str, machine: Machine) -> list[Sample]:
        until = fly_machines.lease_of(await self._machine_api(tools, path, missing={}))
        return [LEASED.sample(until, **machine.labels)] if until else []

    async def _numbers(
        self, tools: CollectorTools, org: str, apps: Sequence[str], running: frozenset[str]
    ) -> Iterable[Sample]:
        at = tools.clock.now() - LAG
        series = await self._asked(tools, org, fly_metrics.machines_question(apps), int(at.timestamp()))
        return list(self._readings.samples(series, running))

    async def _visitors(self, tools: CollectorTools, org: str, apps: Sequence[str]) -> None:
        """Add what the edge has counted since it was asked last. Raises ``CollectError``: more is asked next time."""
        until = int((tools.clock.now() - LAG).timestamp())
        since = max(self._edge.until or until, until - int(LONGEST.total_seconds()))
        if until > since:
            questions = fly_metrics.edge_questions(apps, until - since)
            self._edge.add({part: await self._asked(tools, org, query, until) for part, query in questions.items()})
        self._edge.until = until

    async def _asked(self, tools: CollectorTools, org: str, query: str, at: int) -> fly_metrics.Series:
        asked = f"{self.name}: GET prometheus/{org}/api/v1/query"
        url = f"{self.metrics.rstrip('/')}/{org}/api/v1/query?{urlencode({'query': query, 'time': at})}"
        return fly_metrics.vector(await self._metrics_api.call(tools, asked, "GET", url, self._headers), asked)

    async def _ends(self, tools: CollectorTools, machines: Sequence[Machine], troubles: list[str]) -> list[Batch]:
        """Count how programs ended, each end once, also through toban's own restarts."""
        now = tools.clock.now()
        if tools.state is not None:
            try:
                self._exits, self._counted_at = await tools.state.transaction(
                    lambda connection: counted(connection, f"fly {self.name}"[:50], machines, now)
                )
            except StateError as error:
                troubles.append(f"{self.name}: ends of machines wait to be counted: {error}")
        if self._exits is None:
            return []
        # What came since the last look was nought then.
        return self._exits.read(milliseconds(now), self.common, self._counted_at)

    async def _listed(self, tools: CollectorTools, path: str) -> list[Any]:
        told = await self._machine_api(tools, path)
        if not isinstance(told, list):
            raise CollectError(f"{self.name}: GET {path}: the answer is no list")
        return told

    async def _machine_api(self, tools: CollectorTools, path: str, missing: Any = None) -> Any:
        url = f"{self.api.rstrip('/')}/v1/{path}"
        asked = f"{self.name}: GET {path}"
        return await self._machines_api.call(tools, asked, "GET", url, self._headers, missing=missing)

    @property
    def _headers(self) -> dict[str, str]:
        return {"authorization": authorization(self.token.get_secret_value())}


def authorization(token: str) -> str:
    """Return the header for a token: macaroons bring their own word, or want it."""
    if token.startswith("FlyV1 "):
        return token
    return f"FlyV1 {token}" if token.startswith("fm") else f"Bearer {token}"


def together(troubles: Sequence[str]) -> str:
    """Return troubles in one line: the first, and how many others; most often all have one reason."""
    first, *others = troubles or ("",)
    return f"{first} (and {len(others)} more)" if others else first


def counted(
    connection: Connection, name: str, machines: Sequence[Machine], now: datetime
) -> tuple[MetricRegistry, int | None]:
    """
    Count the ends that were not counted yet; those before the first look are not.

    Return all that were, and when they were counted last (milliseconds): nothing, if they never were.
    """
    position = backfill.position(connection, name, now, now)
    seen = repository.recently_counted(connection, name)
    meters = durable_counters.load(connection, name, (EXITS, KILLED))
    new: dict[str, datetime] = {}
    for machine in machines:
        for one in machine.exits:
            key = f"{machine.id} {milliseconds(one.at)}"
            if one.at > max(position.began, now - REMEMBERED) and key not in seen and key not in new:
                new[key] = one.at
                meters.add(EXITS, **machine.labels, reason=one.reason)
                if one.reason == "oom":
                    meters.add(KILLED, **machine.labels)
    repository.record_counted(connection, name, new, now - REMEMBERED)
    repository.save_position(connection, name, repository.moved_position(position, now, 0, 0))
    durable_counters.save(connection, name, meters)
    return meters, milliseconds(position.until) if position.until != now else None
