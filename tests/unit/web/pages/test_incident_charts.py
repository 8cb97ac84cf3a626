"""The charts of an incident's page."""

import asyncio
from types import SimpleNamespace

from tests.fakes import FakeClock
from toban.web.pages import incident_charts
from toban.web.pages.incident_charts import IncidentChartReader


class Orders:
    """Answers when it is let."""

    def __init__(self) -> None:
        self.may_answer = asyncio.Event()

    async def between(self, start, end):
        await self.may_answer.wait()
        return []


async def test_charts_that_take_too_long_are_said_and_tried_again(monkeypatch):
    monkeypatch.setattr(incident_charts, "TIME_LIMIT", 0.01)
    clock, orders = FakeClock(), Orders()
    reader = IncidentChartReader(None, orders, {}, clock)
    incident = SimpleNamespace(id=1, starts=clock.now(), resolved=None, members=[])
    assert (await reader.of(incident, None)).is_cut
    orders.may_answer.set()
    clock.advance(incident_charts.KEPT.total_seconds())
    assert not (await reader.of(incident, None)).is_cut
