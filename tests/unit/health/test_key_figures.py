"""Key figures: exact counts of the last hour."""

from datetime import UTC, datetime

import pytest

from tests.fakes import FakeClock
from tests.promql_scripts import ScriptSource
from toban.core.samples import milliseconds
from toban.health.key_figures import evaluate_figures
from toban.promql.engine import PromqlEngine

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
HOUR = 3_600_000


class Answering:
    """An engine that answers at once, not in a thread."""

    def __init__(self, source: ScriptSource) -> None:
        self._engine = PromqlEngine(source)

    async def instant(self, query: str, at: int, **_: object):
        return self._engine.instant(query, at)


async def counted(series: str, start: int) -> dict[tuple[str, str], float]:
    source = ScriptSource()
    source.load(series, start=milliseconds(NOW) - start)
    return {(one.key, one.of): one.value for one in await evaluate_figures(Answering(source), FakeClock(NOW))}  # type: ignore[arg-type]  # what is asked of it, it has


@pytest.mark.parametrize(
    ("orders", "minutes_ago", "due"),
    [
        ("100x115 107x50", 165, 7),  # `increase` says 7.1
        ("0 3 3 4", 20, 4),  # it began in this hour
        ("5000x5 5002x5", 11, 2),  # nothing is known of when the hour began
        ("10 20 _x60 25 26", 70, 6),  # toban was away when the hour began
        ("90x80 5x20", 100, 5),  # it began again at nought
        ("7x200", 200, 0),
    ],
)
async def test_orders_of_the_last_hour_are_exact(orders: str, minutes_ago: int, due: int):
    found = await counted(f"load 1m\n  vendure_orders_created_total {orders}\n", minutes_ago * 60_000)
    assert found["orders_hour", ""] == due


async def test_revenue_of_the_last_hour_is_exact_by_currency():
    """
    By currency, over channels; what came to nothing is left out.
    """
    found = await counted(
        """load 10m
  vendure_revenue_total{channel="a", currency="USD"} 118579.93 118580.03 118580.13
  vendure_revenue_total{channel="b", currency="USD"} 0 0.7 0.7
  vendure_revenue_total{channel="b", currency="JPY"} 100 100 100
""",
        20 * 60_000,
    )
    assert found["revenue_hour", "USD"] == 0.9
    assert ("revenue_hour", "JPY") not in found
