"""The collector `fly`: the shop's machines on Fly.io."""

import asyncio
import os
from collections.abc import Awaitable, Iterable, Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import Final, Literal, NamedTuple, Protocol, TypeVar
from urllib.parse import urlencode, urlsplit

from sqlalchemy import Connection

from toban.collect import backfill, repository
from toban.collect.collector import Collector, Scraper, ScrapeResult
from toban.collect.collectors.fly import machines_api, managed_prometheus
from toban.collect.collectors.fly.machines import EXITS, Machine, release_samples
from toban.collect.collectors.fly.machines_api import REMEDY, MachinesApi
from toban.collect.collectors.fly.managed_prometheus import EdgeCounters, MachineMetrics
from toban.collect.intervals import is_due
from toban.collect.rest_client import RestClient
from toban.collect.system_metrics import KILLED
from toban.collect.tools import HasHttp, HasState
from toban.core.config_types import Address, Duration, Secret, Text
from toban.core.errors import CollectError, StateError
from toban.core.metric_registry import MetricRegistry
from toban.core.samples import Batch, Sample, milliseconds
from toban.shop.fly import MACHINES_API, authorization
from toban.state import durable_counters

T = TypeVar("T")

LAG: Final = timedelta(seconds=30)
"""How far behind now Fly's Prometheus is queried: its samples come every 15 seconds, and a little late."""
MAX_WINDOW: Final = timedelta(minutes=15)
"""The longest window of edge counters, after a time without collections."""
SLOW_INTERVAL: Final = timedelta(minutes=5)
"""Interval of requests for what hardly changes: volumes, leases, the list of apps."""
SLOW_REQUESTS: Final = 5
"""The most of these requests in one collection."""
EXITS_KEPT: Final = timedelta(days=2)
"""How long counted exits are kept."""


class CachedSamples(NamedTuple):
    """The samples of a slow request, and when it was sent (monotonic seconds)."""

    at: float
    samples: tuple[Sample, ...]


class Scope(NamedTuple):
    """The organisation and the apps to read, and when they were requested (monotonic seconds)."""

    org: str
    apps: tuple[str, ...]
    at: float


class Tools(HasHttp, HasState, Protocol):
    """What the collector uses."""


class Fly(Collector):
    """
    Read machines through Fly's own APIs: nothing is sent to a machine, so none is woken.

    The Machines API has states, exits, out-of-memory kills, releases, checks, volumes and leases; Fly's managed
    Prometheus has each machine's CPUs, memory, disks and network, under the names that `host` uses, and the edge's
    responses to visitors. `instance` is the machine's id. A read-only token is enough:
    `fly tokens create readonly <organisation>`.
    """

    kind: Literal["fly"] = "fly"

    token: Secret
    """A Fly token: ${FLY_API_TOKEN}."""

    apps: tuple[Text, ...] = ()
    """The apps to read; by default all of the organisation."""

    org: Text = ""
    """The organisation's slug; by default that of the first app, or of the machine that toban runs on."""

    api: Address = MACHINES_API
    """Address of the Machines API."""

    metrics: Address = "https://api.fly.io/prometheus"
    """Address of Fly's Prometheus."""

    interval: Duration = timedelta(minutes=1)

    @property
    def default_instance(self) -> str:
        """The API's host."""
        return urlsplit(self.api).netloc

    @property
    def common(self) -> dict[str, str]:
        """The job alone: each machine is its own instance."""
        return {"job": self.job or self.name}

    def open(self, tools: Tools) -> Scraper:
        """Keep the API clients, the edge counters, and the answers to slow requests."""
        return FlyScraper(self, tools)


class FlyScraper(Scraper):
    """Reads the Machines API and Fly's Prometheus."""

    def __init__(self, collector: Fly, tools: Tools) -> None:
        self._collector = collector
        self._clock = tools.clock
        self._state = tools.state
        token = collector.token.get_secret_value()
        self._machines = MachinesApi(tools, collector.name, collector.api, token)
        self._prometheus = RestClient(tools, "Fly's Prometheus", REMEDY, machines_api.TIMEOUT)
        self._prometheus_headers = {"authorization": authorization(token)}
        self._machine_metrics = MachineMetrics()
        self._edge = EdgeCounters()
        self._slow: dict[str, CachedSamples] = {}
        self._scope: Scope | None = None
        self._exits: MetricRegistry | None = None
        self._exits_counted_at: int | None = None

    async def collect(self) -> ScrapeResult:
        """Read the machines of each app, then Fly's Prometheus for all; one may fail without the other."""
        errors: list[str] = []
        org, apps, _ = await self._read_scope(errors)
        machines, samples = list[Machine](), list[Sample]()
        for found in await gather([self._machines.machines(app) for app in apps], errors):
            machines += found or []
        now = self._clock.now()
        for machine in machines:
            samples += machine.samples(now)
        samples += release_samples(machines)
        samples += await self._slow_samples(apps, machines, errors)
        running = frozenset(machine.id for machine in machines if machine.state == "started")
        try:
            samples += await self._machine_samples(org, apps, running)
            await self._count_edge(org, apps)
        except CollectError as error:
            errors.append(str(error))
        batches = self._edge.counters.read(milliseconds(now), self._collector.common)
        exits = await self._count_exits(machines, errors)
        return ScrapeResult(samples, [*batches, *exits], error=joined(errors))

    async def _read_scope(self, errors: list[str]) -> Scope:
        """Return the organisation and its apps, the last known ones on an error. Raises ``CollectError``."""
        collector, now = self._collector, self._clock.monotonic()
        if self._scope is None or is_due(self._scope.at, SLOW_INTERVAL, collector.interval, now):
            try:
                org = collector.org or await self._organization()
                self._scope = Scope(org, collector.apps or tuple(await self._machines.apps(org)), now)
            except CollectError as error:
                if self._scope is None:
                    raise
                errors.append(str(error))
        return self._scope

    async def _organization(self) -> str:
        app = self._collector.apps[0] if self._collector.apps else os.environ.get("FLY_APP_NAME")
        if not app:
            raise CollectError(f"{self._collector.name}: neither `apps` nor `org` is set")
        return await self._machines.organization(app)

    async def _slow_samples(self, apps: Sequence[str], machines: Sequence[Machine], errors: list[str]) -> list[Sample]:
        """Return the samples of what hardly changes: some requests are due, the other samples are kept."""
        wanted: dict[str, str | Machine] = {f"volumes {app}": app for app in apps}
        wanted |= {f"lease {machine.app} {machine.id}": machine for machine in machines}
        now = self._clock.monotonic()
        last = {key: cached.at for key, cached in self._slow.items()}
        due = (key for key in wanted if is_due(last.get(key), SLOW_INTERVAL, self._collector.interval, now))
        requested = list(islice(due, SLOW_REQUESTS))
        requests = [
            self._machines.lease_samples(of) if isinstance(of, Machine) else self._machines.volume_samples(of)
            for of in map(wanted.__getitem__, requested)
        ]
        for key, found in zip(requested, await gather(requests, errors), strict=True):
            if found is not None:
                self._slow[key] = CachedSamples(now, tuple(found))
        self._slow = {key: cached for key, cached in self._slow.items() if key in wanted}
        return [sample for cached in self._slow.values() for sample in cached.samples]

    async def _machine_samples(self, org: str, apps: Sequence[str], running: frozenset[str]) -> Iterable[Sample]:
        at = self._clock.now() - LAG
        series = await self._query(org, managed_prometheus.machines_query(apps), int(at.timestamp()))
        return list(self._machine_metrics.samples(series, running))

    async def _count_edge(self, org: str, apps: Sequence[str]) -> None:
        """Add what the edge counted since the last query. Raises ``CollectError``: the next query covers more."""
        until = int((self._clock.now() - LAG).timestamp())
        since = max(self._edge.until or until, until - int(MAX_WINDOW.total_seconds()))
        if until > since:
            queries = managed_prometheus.edge_queries(apps, until - since)
            self._edge.add({part: await self._query(org, query, until) for part, query in queries.items()})
        self._edge.until = until

    async def _query(self, org: str, query: str, at: int) -> managed_prometheus.Series:
        context = f"{self._collector.name}: GET prometheus/{org}/api/v1/query"
        address = self._collector.metrics.rstrip("/")
        url = f"{address}/{org}/api/v1/query?{urlencode({'query': query, 'time': at})}"
        found = await self._prometheus.call(context, "GET", url, self._prometheus_headers)
        return managed_prometheus.parse_vector(found, context)

    async def _count_exits(self, machines: Sequence[Machine], errors: list[str]) -> list[Batch]:
        """Count the exits of machines, each once, also through restarts of toban."""
        name, now = self._collector.name, self._clock.now()
        if self._state is not None:
            try:
                self._exits, self._exits_counted_at = await self._state.transaction(
                    lambda connection: count_exits(connection, f"fly {name}"[:50], machines, now)
                )
            except StateError as error:
                errors.append(f"{name}: exits of machines wait to be counted: {error}")
        if self._exits is None:
            return []
        # Series that are new since the last collection were zero then.
        return self._exits.read(milliseconds(now), self._collector.common, self._exits_counted_at)


async def gather(requests: Sequence[Awaitable[list[T]]], errors: list[str]) -> list[list[T] | None]:
    """Return the results of concurrent requests; None for one that failed, whose error is added to ``errors``."""

    async def result(request: Awaitable[list[T]]) -> list[T] | None:
        try:
            return await request
        except CollectError as error:
            errors.append(str(error))
            return None

    return list(await asyncio.gather(*map(result, requests)))


def joined(errors: Sequence[str]) -> str:
    """Return errors in one line: the first, and how many others; most often all have the same cause."""
    first, *others = errors or ("",)
    return f"{first} (and {len(others)} more)" if others else first


def count_exits(
    connection: Connection, stream: str, machines: Sequence[Machine], now: datetime
) -> tuple[MetricRegistry, int | None]:
    """
    Count the exits that were not counted yet, without those before the first collection.

    Return the counters, and when they were counted last (milliseconds): None, if they never were.
    """
    position = backfill.position(connection, stream, now, now)
    seen = repository.recently_counted(connection, stream)
    meters = durable_counters.load(connection, stream, (EXITS, KILLED))
    new: dict[str, datetime] = {}
    for machine in machines:
        for found in machine.exits:
            key = f"{machine.id} {milliseconds(found.at)}"
            if found.at > max(position.began, now - EXITS_KEPT) and key not in seen and key not in new:
                new[key] = found.at
                meters.add(EXITS, **machine.labels, reason=found.reason)
                if found.reason == "oom":
                    meters.add(KILLED, **machine.labels)
    repository.record_counted(connection, stream, new, now - EXITS_KEPT)
    repository.save_position(connection, stream, repository.moved_position(position, now, 0, 0))
    durable_counters.save(connection, stream, meters)
    return meters, milliseconds(position.until) if position.until != now else None
