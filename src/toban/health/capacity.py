"""When resources of the shop are full, at the pace of the last weeks."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import Final

from toban.core.ports import Clock, QueryEngine
from toban.core.samples import milliseconds

WEEKS: Final = 4
"""How many weeks a forecast reads."""
STEP: Final = timedelta(hours=6)
LEAST_DAYS: Final = 7
"""Days with data without which nothing is forecast."""
HORIZON: Final = timedelta(days=365)
"""What is full later than that is not full in sight."""


@dataclass(frozen=True, slots=True)
class Resource:
    """Something that can be full: its key in translations, its share in use as PromQL, and the labels that name it."""

    key: str
    share: str
    labels: tuple[str, ...] = ()


RESOURCES: Final = (
    Resource(
        "disk",
        "max by (instance, mount) (system_disk_usage_bytes / (system_disk_usage_bytes + system_disk_available_bytes))",
        ("instance", "mount"),
    ),
    Resource("volume", "max by (app, volume) (fly_volume_used_ratio)", ("app", "volume")),
    Resource("connections", "max(postgres_connections_used) / max(postgres_connections_limit)"),
    Resource(
        "redis-memory", "max by (instance) (redis_memory_usage_bytes / (redis_memory_limit_bytes > 0))", ("instance",)
    ),
    Resource(
        "upstash-storage",
        "max by (instance) (upstash_storage_bytes / (upstash_storage_limit_bytes > 0))",
        ("instance",),
    ),
)

UPSTASH_SHARE: Final = "max by (instance) (upstash_commands_month / (upstash_commands_month_limit > 0))"
UPSTASH_END: Final = "max by (instance) (upstash_commands_end_timestamp_seconds)"
"""Commands are counted by the month: the pace is that of this month, and known already."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """
    When a resource is full.

    ``full`` is the likeliest time, ``earliest`` and ``latest`` are how uncertain that is; None is not within a year.
    """

    key: str
    name: str
    share: float
    full: datetime | None
    earliest: datetime | None
    latest: datetime | None


def forecast(times: Sequence[float], shares: Sequence[float]) -> tuple[float | None, float | None, float | None]:
    """
    Return when a share reaches 1: likeliest, earliest, latest, in seconds like ``times``; None where it does not.

    The pace is the median of the slopes between samples that are a quarter of the time apart: what a clean-up or an
    import changes at once is in few of them. The level is that of the last quarter. The uncertainty is that of the
    middle half of these slopes, and of how far samples are from the line.
    """
    count = len(times)
    apart = max(1, count // 4)
    slopes = sorted(
        (shares[place + apart] - shares[place]) / (times[place + apart] - times[place])
        for place in range(count - apart)
    )
    if not slopes:
        return None, None, None
    pace = median(slopes)
    levels = [share - pace * (at - times[-1]) for at, share in zip(times[-apart:], shares[-apart:], strict=True)]
    level = median(levels)
    spread = median([abs(it - level) for it in levels])
    low, high = slopes[len(slopes) // 4], slopes[len(slopes) * 3 // 4]

    def reached(start: float, speed: float) -> float | None:
        if start >= 1:
            return times[-1]
        return times[-1] + (1 - start) / speed if speed > 0 else None

    return reached(level, pace), reached(level + 2 * spread, high), reached(level - 2 * spread, low)


async def forecasts(engine: QueryEngine, clock: Clock) -> list[Forecast]:
    """Return the forecasts of all resources that there are data of, the fullest first. Raises ``QueryError``."""
    now = clock.now()
    start = now - timedelta(weeks=WEEKS)
    found = []
    for resource in RESOURCES:
        step = STEP // timedelta(milliseconds=1)
        result = await engine.range(resource.share, milliseconds(start), milliseconds(now), step)
        for series in result.series:
            pairs = [
                (at / 1000, share)
                for at, share in zip(series.times.tolist(), series.values.tolist(), strict=True)
                if math.isfinite(share)
            ]
            if not pairs or pairs[-1][0] - pairs[0][0] < LEAST_DAYS * 86_400:
                continue
            name = " ".join(series.labels[it] for it in resource.labels if series.labels.get(it))
            full = [_in_sight(it, now) for it in forecast([it[0] for it in pairs], [it[1] for it in pairs])]
            found.append(Forecast(resource.key, name, pairs[-1][1], *full))
    found += await _upstash_commands(engine, now)
    return sorted(found, key=lambda it: (it.full is None, it.full or now, -it.share))


async def _upstash_commands(engine: QueryEngine, now: datetime) -> list[Forecast]:
    shares = await engine.instant(UPSTASH_SHARE, milliseconds(now))
    ends = {it.labels: it.last for it in (await engine.instant(UPSTASH_END, milliseconds(now))).series}
    found = []
    for it in shares.series:
        full = _in_sight(ends.get(it.labels), now)
        found.append(Forecast("upstash-commands", it.labels.get("instance", ""), it.last, full, full, full))
    return found


def _in_sight(at: float | None, now: datetime) -> datetime | None:
    if at is None or at > (now + HORIZON).timestamp():
        return None
    return datetime.fromtimestamp(max(at, now.timestamp()), UTC)
