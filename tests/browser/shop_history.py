"""The samples of a small shop: five weeks of orders by the hour, and an hour of each component by the minute."""

import math
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

WEEKS = 5
"""Four weeks to compare with, and the one of now."""

GAUGES: dict[str, tuple[str, Callable[[float], float]]] = {
    "postgres_connections_used": ('{instance="db",job="postgres"}', lambda minute: 14 + 4 * math.sin(minute / 5)),
    "postgres_connections_limit": ('{instance="db",job="postgres"}', lambda _: 97),
    "redis_memory_usage_bytes": ('{instance="redis",job="redis"}', lambda minute: 2.4e7 + 4e5 * minute),
    "vendure_jobs_waiting": ('{instance="redis",job="bullmq",queue="send-email"}', lambda minute: minute % 7),
    "probe_duration_seconds": (
        '{instance="https://shop.example/",job="storefront"}',
        lambda minute: 0.2 + 0.05 * math.cos(minute / 3),
    ),
}


def write_history(file: Path, now: datetime) -> None:
    """Write an OpenMetrics file that ends now."""
    lines = []
    for name, labels, points in _series(now):
        kind = "counter" if name.endswith("_total") else "gauge"
        lines.append(f"# TYPE {name.removesuffix('_total')} {kind}")
        lines += [f"{name}{labels} {value:.6g} {at.timestamp():.3f}" for at, value in points]
    file.write_text("\n".join([*lines, "# EOF", ""]), encoding="utf-8")


def _series(now: datetime) -> Iterator[tuple[str, str, list[tuple[datetime, float]]]]:
    orders = list(_orders(now))
    yield "vendure_orders_created_total", '{channel="default",customerType="general"}', orders
    revenue = [(at, value * 64.5) for at, value in orders]
    yield "vendure_revenue_total", '{channel="default",currency="USD"}', revenue
    minutes = [now - timedelta(minutes=it) for it in range(60, -1, -1)]
    for name, (labels, value) in GAUGES.items():
        yield name, labels, [(at, value(float(place))) for place, at in enumerate(minutes)]


def _orders(now: datetime) -> Iterator[tuple[datetime, float]]:
    """Yield the total of orders at each full hour: more by day than by night, and fewer today."""
    at, total = (now - timedelta(weeks=WEEKS)).replace(minute=0, second=0, microsecond=0), 10_000.0
    while at <= now:
        yield at, round(total)
        by_day = 6 + 14 * max(0.0, math.sin((at.hour - 5) / 24 * 2 * math.pi))
        weekly = 1 + 0.2 * math.sin(at.toordinal())
        total += by_day * weekly * (0.5 if at.date() == now.date() else 1)
        at += timedelta(hours=1)
    yield now, round(total)
