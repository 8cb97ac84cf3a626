"""The collector `upstash`: Upstash's usage figures (https://upstash.com/docs/devops/developer-api)."""

import re
from base64 import b64encode
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from toban.collect import backup_metrics
from toban.collect.collector import Collector, Scraper, ScrapeResult
from toban.collect.rest_client import RestClient
from toban.collect.tools import HasHttp
from toban.core.config_types import Address, Duration, Secret, Text
from toban.core.errors import CollectError
from toban.core.samples import MetricFamily, Sample, gauge

ACTIVE: Final = gauge("upstash_database_active", "Whether the database is active (1) or suspended (0).")
TODAY: Final = gauge("upstash_commands_today", "Commands of this day, as Upstash counts them.")
MONTH: Final = gauge("upstash_commands_month", "Commands of this month, as Upstash counts them.")
LIMIT: Final = gauge("upstash_commands_month_limit", "Commands per month that the plan allows; absent if unlimited.")
RUN_OUT: Final = gauge(
    "upstash_commands_end_timestamp_seconds",
    "When the month's commands will be used up at this month's rate, in Unix time; absent where they last.",
    "seconds",
)
BANDWIDTH: Final = gauge("upstash_bandwidth_month_bytes", "Bytes transferred this month.", "bytes")
STORAGE: Final = gauge("upstash_storage_bytes", "Size of the stored data.", "bytes")
STORAGE_LIMIT: Final = gauge("upstash_storage_limit_bytes", "Size that the plan allows.", "bytes")
CONNECTIONS: Final = gauge("upstash_connections", "Connections, as Upstash measured them last.")
CONNECTION_LIMIT: Final = gauge("upstash_connections_limit", "Connections that the plan allows.")
RATE: Final = gauge("upstash_commands_per_second", "Commands per second, as Upstash measured them last.")
RATE_LIMIT: Final = gauge("upstash_commands_per_second_limit", "Commands per second above which Upstash throttles.")
LATENCY: Final = gauge("upstash_latency_p99_seconds", "99th percentile of the commands' latency.", "seconds")
BILLING: Final = gauge("upstash_billing_month_dollars", "Cost of this month so far.", "dollars")

STATS_FIELDS: Final[dict[str, MetricFamily]] = {
    "daily_net_commands": TODAY,
    "total_monthly_requests": MONTH,
    "total_monthly_bandwidth": BANDWIDTH,
    "current_storage": STORAGE,
    "total_monthly_billing": BILLING,
}
"""Numbers in the statistics."""

LIMIT_FIELDS: Final[dict[str, MetricFamily]] = {
    "db_request_limit": LIMIT,
    "db_disk_threshold": STORAGE_LIMIT,
    "db_max_clients": CONNECTION_LIMIT,
    "db_max_commands_per_second": RATE_LIMIT,
}
"""Limits in the database's description; one that is not positive means unlimited."""

STATS_SERIES: Final[dict[str, tuple[MetricFamily, float]]] = {
    "connection_count": (CONNECTIONS, 1),
    "throughput": (RATE, 1),
    "latency_99": (LATENCY, 0.001),
}
"""Series in the statistics, of which the newest value counts, and the factor to the metric's unit."""

GO_TIME: Final = re.compile(r"(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d)(\.\d+)? \+0000 UTC.*")
"""A time as Go prints it, with any number of digits behind the seconds."""


class Upstash(Collector):
    """
    Read Upstash's usage figures: commands and bytes of the month against the plan, data against its limit.

    What the server reports about itself is read by `redis`, which `shop.redis` enables. The database's credentials are
    not requested. Databases that Fly manages have no such key; for them `redis` has to do.
    """

    kind: Literal["upstash"] = "upstash"

    interval: Duration = timedelta(minutes=2)

    email: Text
    """The account's e-mail address."""

    key: Secret
    """A management API key, from the console."""

    database: Text
    """The database's id."""

    backup: Duration | None = None
    """The highest allowed age of the newest backup: `26h` for one a day."""

    api: Address = "https://api.upstash.com/v2"
    """Base address of the API."""

    @property
    def default_instance(self) -> str:
        """The API's host."""
        return urlsplit(self.api).netloc

    def open(self, tools: HasHttp) -> Scraper:
        """Keep the API client."""
        return UpstashScraper(self, tools)


class UpstashScraper(Scraper):
    """Reads the API."""

    def __init__(self, collector: Upstash, tools: HasHttp) -> None:
        self._collector = collector
        self._clock = tools.clock
        self._api = RestClient(tools, "Upstash", "use a management API key of this account")

    async def collect(self) -> ScrapeResult:
        """Read the database's description and statistics."""
        collector = self._collector
        database = await self._get(f"database/{collector.database}?credentials=hide")
        stats = await self._get(f"stats/{collector.database}")
        samples = [
            *database_samples(database),
            *stats_samples(stats),
            *forecast_samples(database, stats, self._clock.now()),
        ]
        if collector.backup:
            backups = await self._get(f"list-backup/{collector.database}", list)
            samples += [
                backup_metrics.NEWEST.sample(newest_backup(backups)),
                backup_metrics.LIMIT.sample(collector.backup.total_seconds()),
            ]
        return ScrapeResult(samples)

    async def _get(self, path: str, type_: type = dict) -> Any:
        collector = self._collector
        pair = b64encode(f"{collector.email}:{collector.key.get_secret_value()}".encode()).decode()
        context = f"{collector.name}: GET {path.partition('?')[0]}"
        url, headers = f"{collector.api}/redis/{path}", {"authorization": f"Basic {pair}"}
        found = await self._api.call(context, "GET", url, headers)
        if not isinstance(found, type_):
            raise CollectError(f"{context}: the response is not what Upstash's documentation says")
        return found


def database_samples(description: Mapping[str, Any]) -> Iterator[Sample]:
    """Yield the samples of a database's description; a missing field has none."""
    if "state" in description:
        yield ACTIVE.sample(description["state"] == "active")
    for field, family in LIMIT_FIELDS.items():
        if (value := _number(description.get(field))) is not None and value > 0:
            yield family.sample(value)


def stats_samples(stats: Mapping[str, Any]) -> Iterator[Sample]:
    """Yield the samples of a database's statistics; a missing field has none."""
    for field, family in STATS_FIELDS.items():
        if (value := _number(stats.get(field))) is not None:
            yield family.sample(value)
    for field, (family, factor) in STATS_SERIES.items():
        if (newest := _newest(stats.get(field))) is not None:
            yield family.sample(newest * factor)


def forecast_samples(description: Mapping[str, Any], stats: Mapping[str, Any], now: datetime) -> Iterator[Sample]:
    """Yield when the month's commands will be used up, where that is before the month ends."""
    used, limit = _number(stats.get("total_monthly_requests")), _number(description.get("db_request_limit"))
    if used is not None and limit is not None and limit > 0 and (end := forecast(used, limit, now)):
        yield RUN_OUT.sample(end.timestamp())


def forecast(used: float, limit: float, now: datetime) -> datetime | None:
    """
    Return when a month's ``limit`` will be reached at the rate of the month so far, None if that is after its end.

    Months are UTC's. A month's first hour has no rate yet; what is used up already ended now at the latest.
    """
    begin = now.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    end = (begin + timedelta(days=32)).replace(day=1)
    if used >= limit:
        return now
    since = now - begin
    if used <= 0 or since < timedelta(hours=1):
        return None
    # Compared as numbers first: a far future is not a valid date.
    needed = since.total_seconds() * (limit / used)
    return begin + timedelta(seconds=needed) if needed < (end - begin).total_seconds() else None


def newest_backup(backups: list[Any]) -> float:
    """Return the time of the newest completed backup, in seconds since the epoch; 0 where there is none."""
    times = [
        _number(backup.get("creation_time")) or 0.0
        for backup in backups
        if isinstance(backup, dict) and backup.get("state") in {None, "completed"}
    ]
    newest = max(times, default=0.0)
    return newest / 1000 if newest > 1e11 else newest


def parse_go_time(text: str) -> datetime | None:
    """Parse a time as Go prints it: ``2025-08-31 15:12:52.799480932 +0000 UTC``."""
    found = GO_TIME.fullmatch(text)
    if not found:
        return None
    try:
        return datetime.fromisoformat(f"{found[1]}T{found[2]}{(found[3] or '')[:7]}+00:00")
    except ValueError:
        return None


def _newest(series: Any) -> float | None:
    dated = [
        (at, value)
        for point in (series if isinstance(series, list) else [])
        if isinstance(point, dict)
        if (at := parse_go_time(str(point.get("x", "")))) and (value := _number(point.get("y"))) is not None
    ]
    return max(dated)[1] if dated else None


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
