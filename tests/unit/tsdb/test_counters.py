"""What toban counts of itself never falls in the store, but by a restart of toban."""

from datetime import timedelta
from pathlib import Path

from tests.counters import falls, selected
from tests.fakes import FakeClock
from toban.collect.collectors.toban import Toban
from toban.collect.service import ScrapeLoop
from toban.collect.tools import CollectorTools
from toban.core.matchers import Matcher, MatchOperator
from toban.core.metric_registry import MetricRegistry
from toban.core.samples import counter, histogram, milliseconds
from toban.shop.connections import ShopConnections
from toban.tsdb.settings import TsdbSettings
from toban.tsdb.store import Store

DONE, SECONDS = counter("toban_done_total", ""), histogram("toban_seconds", "", (0.1, 1))
ALL = [Matcher("__name__", MatchOperator.REGEX, "toban_.+")]


async def test_counters_fall_by_a_restart_alone(tmp_path: Path):
    """
    Through three lives, and a clock that is set back in each of them.
    """
    clock, begun = FakeClock(), list[int]()
    for life in range(3):
        meters = MetricRegistry()
        tools = CollectorTools(None, clock, meters, ShopConnections(None, None))  # type: ignore[arg-type]  # nothing is asked
        with Store(tmp_path / "tsdb", TsdbSettings(), clock, meters) as store:
            watch = ScrapeLoop(Toban(), store, tools)
            begun.append(milliseconds(clock.now()))
            for turn in range(40):
                clock.advance(15)
                if turn == 20:
                    clock.set(clock.now() - timedelta(seconds=100))
                meters.add(DONE, 3 - life)
                meters.observe(SECONDS, 0.1 * turn)
                await watch.collect()
            found = selected(store.select(ALL, 0, milliseconds(clock.now()) + 3_600_000))
        clock.advance(60)
    assert {labels.name for labels in found} >= {"toban_done_total", "toban_seconds_sum", "toban_seconds_bucket"}
    assert not falls(found, begun)
    assert falls(found), "they did begin anew"
