"""Upstash's own books: https://upstash.com/docs/devops/developer-api."""

import re
from base64 import b64encode
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import PrivateAttr

from toban.collect import backup_metrics
from toban.collect.collector import Collector, ScrapeResult
from toban.collect.rest_client import RestClient
from toban.collect.tools import CollectorTools
from toban.core.config_types import Address, Duration, Secret, Text
from toban.core.errors import CollectError
from toban.core.samples import MetricFamily, Sample, gauge

ACTIVE: Final = gauge("upstash_database_active", "Whether the database is active (1) or suspended (0).")
TODAY: Final = gauge("upstash_commands_today", "Commands of this day, as Upstash counts them.")
MONTH: Final = gauge("upstash_commands_month", "Commands of this month, as Upstash counts them.")
LIMIT: Final = gauge("upstash_commands_month_limit", "Commands of a month that the plan has, if it has an end.")
RUN_OUT: Final = gauge(
    "upstash_commands_end_timestamp_seconds",
    "When the month's commands will be used up at this month's pace, in Unix time; absent where they last.",
    "seconds",
)
BANDWIDTH: Final = gauge("upstash_bandwidth_month_bytes", "Bytes moved this month.", "bytes")
STORAGE: Final = gauge("upstash_storage_bytes", "Data that is kept.", "bytes")
STORAGE_LIMIT: Final = gauge("upstash_storage_limit_bytes", "Data that may be kept.", "bytes")
CONNECTIONS: Final = gauge("upstash_connections", "Connections at the newest look that Upstash took.")
CONNECTION_LIMIT: Final = gauge("upstash_connections_limit", "Connections that there may be.")
PACE: Final = gauge("upstash_commands_per_second", "Commands a second at the newest look that Upstash took.")
PACE_LIMIT: Final = gauge("upstash_commands_per_second_limit", "Commands a second beyond which it throttles.")
LATENCY: Final = gauge("upstash_latency_p99_seconds", "99 of 100 commands took no longer.", "seconds")
BILLING: Final = gauge("upstash_billing_month_dollars", "What this month has cost so far.", "dollars")

OF_STATS: Final[dict[str, MetricFamily]] = {
    "daily_net_commands": TODAY,
    "total_monthly_requests": MONTH,
    "total_monthly_bandwidth": BANDWIDTH,
    "current_storage": STORAGE,
    "total_monthly_billing": BILLING,
}
"""What stands in the statistics as a number."""

OF_DATABASE: Final[dict[str, MetricFamily]] = {
    "db_request_limit": LIMIT,
    "db_disk_threshold": STORAGE_LIMIT,
    "db_max_clients": CONNECTION_LIMIT,
    "db_max_commands_per_second": PACE_LIMIT,
}
"""What stands in the database's description as a limit; one that is not positive is none."""

OF_SERIES: Final[dict[str, tuple[MetricFamily, float]]] = {
    "connection_count": (CONNECTIONS, 1),
    "throughput": (PACE, 1),
    "latency_99": (LATENCY, 0.001),
}
"""What stands in the statistics as a series, of which the newest value counts, and its unit in ours."""

GO_TIME: Final = re.compile(r"(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d)(\.\d+)? \+0000 UTC.*")
"""Go's text of a time, with any number of digits behind the seconds."""


class Upstash(Collector):
    """
    Read what Upstash itself counts: commands and bytes of the month against the plan, data against its limit.

    What the server says of itself is read by `redis`, which `shop.redis` sets up. No credentials come with it: they are
    asked to be hidden. Databases that Fly manages have no such key; for them `redis` has to be enough.
    """

    kind: Literal["upstash"] = "upstash"

    interval: Duration = timedelta(minutes=2)

    email: Text
    """The account's address."""

    key: Secret
    """A management API key, from the console."""

    database: Text
    """The database's id."""

    backup: Duration | None = None
    """How old the newest backup may be: `26h` for one a day."""

    api: Address = "https://api.upstash.com/v2"
    """Where its API is."""

    _api: RestClient = PrivateAttr(
        default_factory=lambda: RestClient("Upstash", "use a management API key of this account")
    )

    @property
    def default_instance(self) -> str:
        """The API's host."""
        return urlsplit(self.api).netloc

    async def collect(self, tools: CollectorTools) -> ScrapeResult:
        """Return what the account's books say."""
        database = await self._asked(tools, f"database/{self.database}?credentials=hide")
        stats = await self._asked(tools, f"stats/{self.database}")
        samples = [*of_database(database), *of_stats(stats), *run_out(database, stats, tools.clock.now())]
        if self.backup:
            made = await self._asked(tools, f"list-backup/{self.database}", list)
            samples += [
                backup_metrics.NEWEST.sample(newest_backup(made)),
                backup_metrics.LIMIT.sample(self.backup.total_seconds()),
            ]
        return ScrapeResult(samples)

    async def _asked(self, tools: CollectorTools, path: str, sort: type = dict) -> Any:
        pair = b64encode(f"{self.email}:{self.key.get_secret_value()}".encode()).decode()
        asked = f"{self.name}: GET {path.partition('?')[0]}"
        url, headers = f"{self.api}/redis/{path}", {"authorization": f"Basic {pair}"}
        found = await self._api.call(tools, asked, "GET", url, headers)
        if not isinstance(found, sort):
            raise CollectError(f"{asked}: the answer is not what Upstash's documentation says")
        return found


def of_database(told: Mapping[str, Any]) -> Iterator[Sample]:
    """Return the numbers in a database's description; what it doesn't say is no number."""
    if "state" in told:
        yield ACTIVE.sample(told["state"] == "active")
    for field, family in OF_DATABASE.items():
        if (value := _number(told.get(field))) is not None and value > 0:
            yield family.sample(value)


def of_stats(told: Mapping[str, Any]) -> Iterator[Sample]:
    """Return the numbers in a database's statistics; what they don't say is no number."""
    for field, family in OF_STATS.items():
        if (value := _number(told.get(field))) is not None:
            yield family.sample(value)
    for field, (family, unit) in OF_SERIES.items():
        if (newest := _newest(told.get(field))) is not None:
            yield family.sample(newest * unit)


def run_out(database: Mapping[str, Any], stats: Mapping[str, Any], now: datetime) -> Iterator[Sample]:
    """Return when the month's commands will be used up, where that is before the month ends."""
    used, limit = _number(stats.get("total_monthly_requests")), _number(database.get("db_request_limit"))
    if used is not None and limit is not None and limit > 0 and (end := forecast(used, limit, now)):
        yield RUN_OUT.sample(end.timestamp())


def forecast(used: float, limit: float, now: datetime) -> datetime | None:
    """
    Return when a month's ``limit`` will be reached at the pace of the month so far, nothing if that is after its end.

    Months are UTC's. Within its first hour a month has no pace yet; what is used up already ended now at the latest.
    """
    begin = now.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    end = (begin + timedelta(days=32)).replace(day=1)
    if used >= limit:
        return now
    since = now - begin
    if used <= 0 or since < timedelta(hours=1):
        return None
    # Compared as numbers first: what lasts for ages is no date any more.
    needed = since.total_seconds() * (limit / used)
    return begin + timedelta(seconds=needed) if needed < (end - begin).total_seconds() else None


def newest_backup(made: list[Any]) -> float:
    """Return when the newest finished backup was made, since the epoch; 0 where there is none."""
    times = [
        _number(one.get("creation_time")) or 0.0
        for one in made
        if isinstance(one, dict) and one.get("state") in {None, "completed"}
    ]
    newest = max(times, default=0.0)
    return newest / 1000 if newest > 1e11 else newest


def moment_of(text: str) -> datetime | None:
    """Read a time as Go prints it: ``2025-08-31 15:12:52.799480932 +0000 UTC``."""
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
        for one in (series if isinstance(series, list) else [])
        if isinstance(one, dict)
        if (at := moment_of(str(one.get("x", "")))) and (value := _number(one.get("y"))) is not None
    ]
    return max(dated)[1] if dated else None


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
