"""Whoever's shift starts is told once: over restarts, at night after their quiet hours, at once while a P1 is open."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import httpx2
import pytest

from tests.fakes import FakeClock
from tests.incident_timeline import policy
from toban.core.errors import StateError
from toban.core.metric_registry import MetricRegistry
from toban.core.notification import Notification
from toban.oncall.service import OnCallService
from toban.oncall.settings import OnCallSettings
from toban.oncall.shift_notices import ShiftNotices
from toban.state.backends import open_backend
from toban.state.database import State

MONDAY = datetime(2026, 3, 9, 7, 58, tzinfo=UTC)  # 08:58 in Berlin
NIGHT = {"from": "22:00", "to": "07:00"}


class Life:
    """Ann and Ben by turns, each day at a time of Berlin."""

    def __init__(self, state: State, clock: FakeClock, handoff: str, people: dict[str, object]) -> None:
        self.state, self.clock = state, clock
        layer = {"people": ["ann", "ben"], "every": "1d", "from": "2026-03-01", "handoff": handoff}
        self.on_call = {"people": people, "layers": [layer], "timezone": "Europe/Berlin"}
        self.http = httpx2.AsyncClient(transport=httpx2.MockTransport(lambda request: httpx2.Response(404)))
        self.is_urgent = False
        self.sent: list[Notification] = []
        self.restart()

    def restart(self) -> None:
        settings = OnCallSettings.model_validate(self.on_call)
        meters, zone = MetricRegistry(), ZoneInfo("Europe/Berlin")
        service = OnCallService(settings, zone, self.state, self.http, self.clock, meters)
        found = policy(self.on_call, duty=service.duty, zone="Europe/Berlin")
        self.notices = ShiftNotices(
            service, lambda: found, lambda: self.is_urgent, self, self.state, self.clock, meters
        )

    def enqueue_messages(self, connection: object, messages: Sequence[Notification], now: datetime) -> None:
        self.sent += messages

    def wake_channels(self) -> None:
        pass

    async def passes(self, *, minutes: int, restarts: bool = False) -> list[str]:
        """Let minutes pass; return who was told what, when."""
        for _ in range(minutes):
            self.clock.set(self.clock.now() + timedelta(minutes=1))
            if restarts:
                self.restart()
            await self.notices.once()
        sent, self.sent = self.sent, []
        return [f"{it.at.astimezone(ZoneInfo('Europe/Berlin')):%H:%M} {it.receiver}: {it.title}" for it in sent]


@pytest.fixture
async def start(tmp_path):
    clock = FakeClock(MONDAY)
    async with State(open_backend(None, tmp_path), clock, MetricRegistry()) as state:

        def begin(handoff: str = "09:00", **people: object) -> Life:
            both = {"ann": {"channels": ["phone"]}, "ben": {"channels": ["mail", "sms"]}}
            return Life(state, clock, handoff, both | people)

        yield begin


@pytest.mark.parametrize("restarts", [False, True], ids=["", "with restarts"])
async def test_a_person_is_told_once_by_their_first_channel_that_their_shift_starts(start, restarts):
    life = start()
    found = await life.passes(minutes=5, restarts=restarts)
    life.clock.set(MONDAY + timedelta(hours=24))
    found += await life.passes(minutes=70, restarts=restarts)
    assert found == [
        "09:00 phone: Your shift has started: you are on call until 2026-03-10 09:00 CET",
        "09:00 mail: Your shift has started: you are on call until 2026-03-11 09:00 CET",
    ]


async def test_what_starts_at_night_is_told_in_the_morning(start):
    life = start("23:00", ann={"channels": ["phone"], "quiet": NIGHT}, ben={})
    life.clock.set(datetime(2026, 3, 9, 21, 55, tzinfo=UTC))
    found = await life.passes(minutes=10 * 60)
    assert [it.partition(": ")[0] for it in found] == ["07:00 phone"]


async def test_while_a_p1_is_open_what_starts_at_night_is_told_at_once(start):
    life = start("23:00", ann={"channels": ["phone"], "quiet": NIGHT})
    life.clock.set(datetime(2026, 3, 9, 21, 55, tzinfo=UTC))
    life.is_urgent = True
    found = await life.passes(minutes=10 * 60)
    assert [it.partition(": ")[0] for it in found] == ["23:00 phone"]


async def test_quiet_hours_that_hold_back_only_what_is_less_urgent_hold_back_no_shift(start):
    life = start("23:00", ann={"channels": ["phone"], "quiet": [{"when": "outside hours", "priorities": ["P3", "P4"]}]})
    life.clock.set(datetime(2026, 3, 9, 21, 55, tzinfo=UTC))
    found = await life.passes(minutes=10 * 60)
    assert [it.partition(": ")[0] for it in found] == ["23:00 phone"]


async def test_who_does_not_want_it_or_has_no_channel_is_not_told(start):
    life = start(ann={"channels": ["phone"], "shift_notice": False}, ben={})
    assert await life.passes(minutes=30) == []


async def test_who_is_always_on_call_is_never_told(start):
    weekend = {"from": "22:00", "to": "21:00"}  # nearly always quiet
    life = start(ann={"channels": ["phone"], "quiet": weekend})
    life.on_call["layers"] = [{"people": ["ann"]}]
    life.restart()
    assert await life.passes(minutes=12 * 60) == []


async def test_a_shift_that_began_long_before_toban_came_back_is_not_told(start):
    life = start()
    life.clock.set(MONDAY + timedelta(hours=3))
    assert await life.passes(minutes=30) == []


async def test_an_unavailable_state_is_reported_and_made_up_for(start, monkeypatch):
    life = start()

    async def fails(work):
        raise StateError("the disk is full")

    with monkeypatch.context() as broken:
        broken.setattr(life.state, "transaction", fails)
        assert await life.passes(minutes=10) == []
        assert not life.notices.health().ok
    assert [it.partition(": ")[0] for it in await life.passes(minutes=1)] == ["09:09 phone"]
    assert life.notices.health().ok
