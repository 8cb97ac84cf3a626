"""The health checks of the shop."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from enum import Flag, auto
from typing import Final

from toban.core.labels import quote
from toban.shop.settings import ShopSettings


class Endpoints(Flag):
    """The endpoints of the original design that a check belongs to."""

    HEALTH = auto()
    READINESS = auto()
    LIVENESS = auto()


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """
    A name, an expression in PromQL, a limit and a maximum age.

    It is up while the last value, no older than ``age``, is at most ``limit``; ``fault`` is the message otherwise.
    In the expression, ``$age`` stands for the maximum age.

    A check of the shop's telemetry has ``since``: as long as there was no value within that time, it is unavailable,
    and ``source`` names what enables it. Once there was one, no value is down.
    """

    name: str
    expression: str
    limit: float
    fault: str
    parts: Endpoints
    age: timedelta = timedelta(seconds=100)
    since: timedelta = timedelta(0)
    source: str = ""

    @property
    def ever(self) -> str:
        """The expression over ``since``: whether there was a value lately."""
        return self.expression.replace("$age", f"{self.since.total_seconds():.0f}s")

    @property
    def query(self) -> str:
        """The expression over the maximum age."""
        return self.expression.replace("$age", f"{self.age.total_seconds():.0f}s")


@dataclass(frozen=True, slots=True)
class UnavailableCheck:
    """
    A check without a source of data: it is left out.

    ``setting`` or ``source`` is what enables it.
    """

    name: str
    setting: str = ""
    source: str = ""

    @property
    def reason(self) -> str:
        """Why it is unavailable."""
        if self.source:
            return f"no data: enable with {self.source}"
        return f"{self.setting} is not set"


def unreported(checks: Iterable[HealthCheck]) -> list[UnavailableCheck]:
    """Return the checks of telemetry that was never received, as unavailable."""
    return [
        UnavailableCheck(check.name, source=check.source)
        for check in checks
        if check.since and Endpoints.HEALTH in check.parts
    ]


DATABASE: Final = HealthCheck(
    "database",
    'max(1 - last_over_time(up{job="postgres"}[$age]))',
    0,
    "the database does not answer",
    Endpoints.HEALTH | Endpoints.READINESS,
)
REDIS: Final = HealthCheck(
    "redis",
    # Missing privileges of toban say nothing about Redis.
    'max((1 - last_over_time(up{job="redis"}[$age])) * on (instance) group_left ()'
    ' (1 - last_over_time(redis_connection_failed{reason="no_privilege"}[$age]))'
    ' or 1 - last_over_time(up{job="redis"}[$age]))',
    0,
    "Redis does not answer",
    Endpoints.HEALTH | Endpoints.READINESS,
    timedelta(seconds=190),
)
STORAGE: Final = HealthCheck(
    "storage",
    'max(last_over_time(system_disk_usage_bytes{job="host",mount="/"}[$age]) / ('
    'last_over_time(system_disk_usage_bytes{job="host",mount="/"}[$age])'
    ' + last_over_time(system_disk_available_bytes{job="host",mount="/"}[$age])))',
    0.85,
    "Used disk storage exceeded the set threshold",
    Endpoints.HEALTH,
)


BUSINESS: Final = HealthCheck(
    "business-logic",
    'max(1 - last_over_time({job="vendure",__name__=~"up|vendure_shop_check_up",step=~"|search|product|price"}[$age]))',
    0,
    "a product can't be searched for, opened or priced",
    Endpoints.HEALTH,
)

TELEMETRY: Final = "the shop's telemetry (see integrations/vendure)"


def heap(servers: Iterable[str], limit: int, part: Endpoints) -> HealthCheck:
    """Return the check of the V8 heap of the shop's server processes, by their services' names; MiB."""
    return _memory("memory_heap", "v8js_memory_heap_used_bytes", servers, limit, "on its heap", part)


def resident(servers: Iterable[str], limit: int) -> HealthCheck:
    """Return the check of the resident memory of the shop's server processes; MiB."""
    return _memory("memory_rss", "process_memory_usage_bytes", servers, limit, "of memory", Endpoints.HEALTH)


def _memory(name: str, metric: str, servers: Iterable[str], limit: int, what: str, part: Endpoints) -> HealthCheck:
    names = "|".join(map(re.escape, servers))
    return HealthCheck(
        name,
        f"max(sum by (job, instance) (last_over_time({metric}{{job=~{quote(names)}}}[$age])))",
        limit * 2**20,
        f"a server process of the shop holds more than {limit} MiB {what}",
        part,
        age=timedelta(minutes=3),
        since=timedelta(days=1),
        source=TELEMETRY,
    )


def checks(shop: ShopSettings) -> tuple[list[HealthCheck], list[UnavailableCheck]]:
    """Return the checks that are available for this shop, and those that are not."""
    available, unavailable = [STORAGE], []
    for check, setting, configured in (
        (DATABASE, "shop.database", shop.database),
        (REDIS, "shop.redis", shop.redis),
        (BUSINESS, "shop.shop_api", shop.shop_api),
    ):
        if configured:
            available.append(check)
        else:
            unavailable.append(UnavailableCheck(check.name, setting))
    if shop.database or shop.redis or shop.shop_api:
        servers = shop.services.server
        available += [
            heap(servers, 250, Endpoints.HEALTH),
            heap(servers, 500, Endpoints.LIVENESS),
            resident(servers, 500),
        ]
    else:
        unavailable += [UnavailableCheck(name, source=TELEMETRY) for name in ("memory_heap", "memory_rss")]
    return available, unavailable
