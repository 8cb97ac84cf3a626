"""What incidents cost is estimated while they are open, and once more at their end."""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from tests.alerting_process import AlertingProcess
from tests.fakes import FakeClock
from tests.incident_timeline import policy
from tests.rule_evaluation import load_series
from toban.core.actor import Actor
from toban.core.impact import Impact
from toban.core.metric_registry import MetricRegistry
from toban.incidents.impact_updates import ImpactUpdater

ANN = Actor("ann", "session")


class Life:
    """A process whose incidents cost 100 a minute; nothing is known while ``knows`` is not set."""

    def __init__(self, folder: Path) -> None:
        self.clock = FakeClock()
        self.knows = True
        rules = "groups: [{name: g, rules: [{alert: a, expr: up == 0}]}]"
        self.process = AlertingProcess(rules, load_series("up 1x9"), folder, self.clock, incidents=policy())
        self.updates = ImpactUpdater(
            self.process.incidents, self.estimate, self.process.state, self.clock, MetricRegistry()
        )

    async def estimate(self, start: datetime, end: datetime) -> Impact | None:
        missing = (end - start) / timedelta(minutes=1) * 100
        return Impact("JPY", missing, missing, missing, 100, 1, self.clock.now()) if self.knows else None

    async def missing(self, number: int, after: timedelta = timedelta()) -> float | None:
        """Let time pass, update, and return what an incident costs as it is stored."""
        self.clock.advance(after.total_seconds())
        await self.process.incidents.decide()
        await self.updates.once()
        impact = (await self.process.commands.details(number)).incident.impact
        return impact.missing if impact else None


@pytest.fixture
async def life(tmp_path: Path) -> AsyncIterator[Life]:
    found = Life(tmp_path)
    yield found
    await found.process.close()


async def test_an_open_incident_costs_more_each_minute_and_its_end_is_the_last_estimate(life: Life) -> None:
    number = (await life.process.commands.declare("Nobody can pay", "P1", ANN)).id
    assert await life.missing(number, timedelta(minutes=5)) == 500
    life.knows = False
    assert await life.missing(number, timedelta(minutes=5)) == 500  # the last one that is known stays
    life.knows = True
    await life.process.commands.resolve(number, ANN)
    assert await life.missing(number, timedelta(minutes=3)) == 1_000
    assert await life.missing(number, timedelta(minutes=3)) == 1_000


async def test_what_calls_nobody_costs_nothing(life: Life) -> None:
    number = (await life.process.commands.declare("Nobody will be on call soon", "P4", ANN)).id
    assert await life.missing(number, timedelta(minutes=5)) is None
