"""What toban's own stores keep is applied, reported, and foreseen."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from tests.fakes import FakeClock
from tests.maintenance_tools import act, names, perform, tools_for
from toban.core.errors import ActionError, StoreError
from toban.core.labels import Labels
from toban.core.log_line import LogLevel, LogLine
from toban.core.metric_registry import MetricRegistry
from toban.core.ports import RetentionReport
from toban.core.samples import Batch, Layout, gauge, milliseconds
from toban.logs.assembly import open_logs
from toban.logs.settings import LogSettings
from toban.maintenance.run import StepOutcome
from toban.maintenance.task import TaskTools
from toban.maintenance.tasks.metrics_retention import LINES, SAMPLES, MetricsRetention, time_left
from toban.shop.connections import ShopConnections
from toban.tsdb.settings import TsdbSettings
from toban.tsdb.store import Store

NOW = datetime(2026, 3, 10, 3, 50, tzinfo=UTC)
DAY = timedelta(days=1)
GAUGE = gauge("temperature", "A test's own.")
DAYS_MS = 86_400_000


def report(days: float, size: int, limit: int = 1_000, retention: int = 90) -> RetentionReport:
    now = milliseconds(NOW)
    return RetentionReport(round(now - days * DAYS_MS), now, retention * DAY, size, limit, "x")


@pytest.mark.parametrize(
    ("given", "left"),
    [
        (report(10, 100), None),  # 90 days have 900 bytes
        (report(10, 200), 40 * DAY),
        (report(89, 985), None),
        (report(50, 1_000), timedelta()),
        (report(95, 1_010), timedelta()),
        (report(0.5, 900), None),  # too short to tell
        (replace(report(10, 200), oldest=None, newest=None), None),
        (report(10, 0), None),
    ],
)
def test_a_store_is_full_when_it_grows_on_and_only_before_its_retention_ends(
    given: RetentionReport, left: timedelta | None
):
    assert time_left(given) == left


class FakeStore:
    """A store of a test: its report, and what it becomes."""

    def __init__(self, name: str, *reports: RetentionReport, error: str = "") -> None:
        self.name = name
        self._reports = list(reports)
        self._error = error

    async def apply_retention(self) -> None:
        if self._error:
            raise StoreError(self._error)
        if len(self._reports) > 1:
            self._reports.pop(0)

    async def retention_report(self) -> RetentionReport:
        return self._reports[0]


def tools_with(folder: Path, *stores: object) -> TaskTools:
    return replace(tools_for(ShopConnections(), folder, FakeClock(NOW)), stores=stores)


async def test_a_size_that_cuts_the_retention_short_is_foreseen(tmp_path: Path):
    samples = replace(report(10, 200), notes=("12 batches wait for remote write",))
    tools = tools_with(tmp_path, FakeStore("tsdb", samples), FakeStore("logs", report(10, 300)))
    plan = await MetricsRetention().plan(tools)
    assert [it.text for it in plan.findings] == [
        "12 batches wait for remote write",
        "as it grows, 1,000 B are full in 40 days: then it keeps less than 90d",
        "as it grows, 1,000 B are full in 23 days: then it keeps less than 90d",
    ]
    assert plan.findings[1].remedy == "raise metrics.size, lower metrics.retention, or store fewer"
    assert plan.findings[2].remedy == "raise logs.retention_size, lower logs.retention, or store fewer"
    assert plan.figures == pytest.approx({SAMPLES.name: 1.8, LINES.name: 2.7})


async def test_what_went_is_said_and_a_disk_that_fails_is_named(tmp_path: Path):
    tools = tools_with(tmp_path, FakeStore("tsdb", report(95, 900), report(90, 850)), FakeStore("logs", report(5, 10)))
    _, done = await perform(MetricsRetention(), tools)
    assert done["tsdb"] == (
        StepOutcome.DONE,
        "removed the oldest (50 B); x, 850 B of 1,000 B, since 2025-12-10 03:50 UTC",
    )
    assert done["logs"][1].startswith("nothing was too old or too much; ")
    broken = tools_with(tmp_path, FakeStore("tsdb", report(5, 10), error="tsdb: maintenance: no space left"))
    with pytest.raises(ActionError, match="no space left"):
        await act(MetricsRetention(), await MetricsRetention().plan(broken), broken)


async def test_the_real_stores_remove_what_is_too_old_and_name_what_waits(tmp_path: Path):
    clock, meters = FakeClock(NOW), MetricRegistry()
    settings = TsdbSettings(retention=timedelta(days=10))
    logs = open_logs(LogSettings(retention=timedelta(days=10)), tmp_path / "logs", None, meters, clock, meters)  # type: ignore[arg-type]  # no engine outside
    with Store(tmp_path / "tsdb", settings, clock, meters, backlog=10**6) as store:
        async with logs as opened:
            layout = Layout([Labels(__name__="temperature", job="x")], [GAUGE])
            for day in range(8):
                at = milliseconds(NOW - day * DAY)
                await store.append([Batch(layout, at, np.array([1.0]))])
            opened.pipeline._store.append([LogLine(NOW - 8 * DAY, LogLevel.INFO, "old line")], {})
            tools = replace(tools_for(ShopConnections(), tmp_path, clock), stores=(store, opened.retention))
            plan, done = await perform(MetricsRetention(), tools)
            assert names(plan.steps) == ["tsdb", "logs"]
            assert "since 2026-03-03" in plan.text
            assert "8 batches wait for remote write" in [it.text for it in plan.findings]
            assert {outcome for outcome, _ in done.values()} == {StepOutcome.DONE}
            clock.advance((9 * DAY).total_seconds())
            _, done = await perform(MetricsRetention(), tools)
            assert done["tsdb"][1].startswith("removed the oldest")
            assert "since 2026-03-09" in done["tsdb"][1]
