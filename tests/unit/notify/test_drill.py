"""The weekly drill."""

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from tests.fakes import FakeClock
from toban.core.actor import ANONYMOUS
from toban.core.errors import StateError
from toban.core.metric_registry import MetricRegistry
from toban.notify.drill import DUE, LIMIT, OK, TOOK, DrillService
from toban.notify.settings import Drill
from toban.state.backends import SqliteBackend
from toban.state.database import State

SUNDAY = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def clock():
    return FakeClock(SUNDAY)


@pytest.fixture
async def state(tmp_path, clock):
    async with State(SqliteBackend(tmp_path / "toban.db"), clock, MetricRegistry()) as state:
        yield state


class DeliveryTimes:
    """Who hears of a drill, and after how many seconds."""

    def __init__(self, clock, meters, **after):
        self.clock, self.meters, self.after = clock, meters, after
        self.queried_since = []
        self._queried = asyncio.Event()

    async def until(self, many):
        """Wait until it was asked so often whether somebody has heard."""
        while len(self.queried_since) < many:
            self._queried.clear()
            await self._queried.wait()

    async def sent_at(self, alert, channel, since):
        assert alert == "toban_drill"
        assert self.meters.value(DUE, channel=channel) == 1
        self.queried_since.append(since)
        self._queried.set()
        seconds = self.after.get(channel)
        if seconds == "away":
            raise StateError("away")
        return seconds is not None and self.clock.now() - since >= timedelta(seconds=seconds)


def drilling(clock, state, world, *channels, **settings):
    return DrillService(Drill(**settings), channels, ZoneInfo("Asia/Tokyo"), world.sent_at, state, clock, world.meters)


@asynccontextmanager
async def running(one):
    """Let it run while the block lasts."""
    task = asyncio.create_task(one.run())
    yield one
    task.cancel()
    await asyncio.wait([task])


async def test_channels_that_deliver_the_drill_in_time_are_ok(clock, state):
    """
    It waits no longer than it must; the rule's number is lowered in the end, and what came of it outlives the process.
    """
    world = DeliveryTimes(clock, MetricRegistry(), slack=40, email=None)
    one = drilling(clock, state, world, "slack", "email")
    await one.once()
    assert clock.now() - SUNDAY == LIMIT
    assert [world.meters.value(OK, channel=name) for name in ("slack", "email")] == [1, 0]
    assert world.meters.value(TOOK, channel="slack") == 40
    assert [world.meters.value(DUE, channel=name) for name in ("slack", "email")] == [0, 0]
    assert one.health().message == "the last drill did not reach email"

    later = DeliveryTimes(clock, MetricRegistry())
    async with running(drilling(clock, state, later, "slack", "email", "new", enabled=False)) as again:
        while not again.health().message.startswith("the last"):
            await state.transaction(lambda _: None)
        assert again.health().message == "the last drill did not reach email"
    assert later.meters.value(OK, channel="slack") == 1


async def test_the_drill_runs_at_its_time_in_its_zone(clock, state):
    """
    Mondays at ten in Tokyo, which is one in the night in UTC.
    """
    world = DeliveryTimes(clock, MetricRegistry(), slack=0)
    async with running(drilling(clock, state, world, "slack")):
        await world.until(2)
    assert world.queried_since[:2] == [datetime(2026, 3, 2, 1, tzinfo=UTC), datetime(2026, 3, 9, 1, tzinfo=UTC)]


async def test_without_a_schedule_the_drill_runs_on_request(clock, state):
    """
    And only then.
    """
    world = DeliveryTimes(clock, MetricRegistry(), slack=0)
    async with running(drilling(clock, state, world, "slack", enabled=False)) as one:
        await state.transaction(lambda _: None)
        assert (world.queried_since, one.health().message) == ([], "drills are disabled")
        await one.start(ANONYMOUS)
        await world.until(1)
        await state.transaction(lambda _: None)
        assert one.health().message == "the last drill reached slack"


async def test_a_drill_without_state_fails(clock, state):
    """
    It fails, and says so.
    """
    world = DeliveryTimes(clock, MetricRegistry(), slack="away")
    one = drilling(clock, state, world, "slack")
    await one.once()
    assert not one.health().ok
