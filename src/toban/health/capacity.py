"""When resources of the shop are full, at the pace of the last weeks."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import Final

import numpy as np

from toban.core.labels import Labels
from toban.core.ports import Clock, QueryEngine
from toban.core.samples import milliseconds

WEEKS: Final = 4
"""How many weeks a forecast reads."""
WEEK: Final = 7 * 86_400.0
STEP: Final = timedelta(hours=6)
SEASON: Final = timedelta(weeks=12)
"""How many coming weeks are compared with those of the last year."""
YEAR: Final = timedelta(weeks=52)
"""Until the same weekday of the last year."""
SEASONS: Final = (0.25, 4.0)
"""No season is believed to slow or speed growth by more."""
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
    season: float | None = None
    """How much faster it grew a year ago in the weeks that come now than before; None where that is not known."""


def forecast(
    times: Sequence[float], shares: Sequence[float], season: float | None = None
) -> tuple[float | None, float | None, float | None]:
    """
    Return when a share reaches 1: likeliest, earliest, latest, in seconds like ``times``; None where it does not.

    The pace is the median of the slopes between samples that are a quarter of the time apart: what a clean-up or an
    import changes at once is in few of them. The level is that of the last quarter. The uncertainty is that of the
    middle half of these slopes, and of how far samples are from the line.

    Where the ``season`` is known, the likeliest pace is multiplied by it, and the uncertainty covers both.
    """
    count = len(times)
    apart = max(1, count // 4)
    slopes = _slopes(times, shares)
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

    factors = (1.0, season or 1.0)
    return (
        reached(level, pace * (season or 1.0)),
        reached(level + 2 * spread, high * max(factors)),
        reached(level - 2 * spread, low * min(factors)),
    )


def _slopes(times: Sequence[float], shares: Sequence[float]) -> list[float]:
    """Return the slopes between samples that are a quarter of the time apart, ascending."""
    apart = max(1, len(times) // 4)
    return sorted(
        (shares[place + apart] - shares[place]) / (times[place + apart] - times[place])
        for place in range(len(times) - apart)
    )


def season_of(times: Sequence[float], shares: Sequence[float], at: float) -> float | None:
    """
    Return how much faster a share grew in the weeks after a time than in the weeks before it.

    None where one of the two is not known for most of its weeks, or it did not grow.
    """
    paces = []
    for begin, end in ((at - WEEKS * WEEK, at), (at, at + SEASON.total_seconds())):
        part = [(time, share) for time, share in zip(times, shares, strict=True) if begin <= time <= end]
        if not part or part[-1][0] - part[0][0] < 0.75 * (end - begin):
            return None
        paces.append(median(_slopes([it[0] for it in part], [it[1] for it in part])))
    if min(paces) <= 0:
        return None
    return min(max(paces[1] / paces[0], SEASONS[0]), SEASONS[1])


async def forecasts(engine: QueryEngine, clock: Clock) -> list[Forecast]:
    """Return the forecasts of all resources that there are data of, the fullest first. Raises ``QueryError``."""
    now = clock.now()
    start = now - timedelta(weeks=WEEKS)
    found = []
    for resource in RESOURCES:
        year_ago = await _shares(engine, resource, start - YEAR, now - YEAR + SEASON)
        for labels, (times, shares) in (await _shares(engine, resource, start, now)).items():
            if not times or times[-1] - times[0] < LEAST_DAYS * 86_400:
                continue
            season = season_of(*year_ago.get(labels, ((), ())), (now - YEAR).timestamp())
            name = " ".join(labels[it] for it in resource.labels if labels.get(it))
            full, earliest, latest = [_in_sight(it, now) for it in forecast(times, shares, season)]
            found.append(Forecast(resource.key, name, shares[-1], full, earliest, latest, season))
    found += await _upstash_commands(engine, now)
    return sorted(found, key=lambda it: (it.full is None, it.full or now, -it.share))


async def _shares(
    engine: QueryEngine, resource: Resource, start: datetime, end: datetime
) -> dict[Labels, tuple[Sequence[float], Sequence[float]]]:
    """Return the times in seconds and the shares of each series of a resource between two times."""
    result = await engine.range(
        resource.share, milliseconds(start), milliseconds(end), STEP // timedelta(milliseconds=1)
    )
    return {
        it.labels: ((it.times[is_known] / 1000).tolist(), it.values[is_known].tolist())
        for it in result.series
        for is_known in [np.isfinite(it.values)]
    }


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
