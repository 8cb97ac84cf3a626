"""toban's own counters decrease in the store only by a restart of toban."""

from datetime import timedelta
from pathlib import Path

from tests.counter_decreases import decreases, selected_samples
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


async def test_counters_are_reset_by_a_restart_only(tmp_path: Path):
    """
    Over three runs, with a clock that is set back in each of them.
    """
    clock, starts = FakeClock(), list[int]()
    for run in range(3):
        meters = MetricRegistry()
        tools = CollectorTools(None, clock, meters, ShopConnections(None, None))  # type: ignore[arg-type]  # no HTTP request is made
        with Store(tmp_path / "tsdb", TsdbSettings(), clock, meters) as store:
            loop = ScrapeLoop(Toban(), store, tools)
            starts.append(milliseconds(clock.now()))
            for number in range(40):
                clock.advance(15)
                if number == 20:
                    clock.set(clock.now() - timedelta(seconds=100))
                meters.add(DONE, 3 - run)
                meters.observe(SECONDS, 0.1 * number)
                await loop.collect()
            found = selected_samples(store.select(ALL, 0, milliseconds(clock.now()) + 3_600_000))
        clock.advance(60)
    assert {labels.name for labels in found} >= {"toban_done_total", "toban_seconds_sum", "toban_seconds_bucket"}
    assert not decreases(found, starts)
    assert decreases(found), "the restarts did reset them"
