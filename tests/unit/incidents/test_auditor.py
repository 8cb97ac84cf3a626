"""The auditor is made to fail at each step: it says which one was not made, and the heartbeat stops."""

from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import httpx2
import pytest

from tests.alerting_process import RECEIVERS, AlertingProcess, Receiver
from tests.fakes import FakeClock
from tests.incident_timeline import Night, policy
from tests.rule_evaluation import START, load_series
from toban.core.actor import Actor
from toban.core.errors import StateError
from toban.core.metric_registry import MetricRegistry
from toban.incidents import book
from toban.incidents.auditor import overdue
from toban.incidents.book import Suppression
from toban.incidents.lifecycle import Change
from toban.notify.heartbeat import HeartbeatService
from toban.notify.settings import Heartbeat

ANN = Actor("ann", "session")
RULE = """
groups:
  - name: shop
    rules:
      - {alert: application_down, expr: up == 0, labels: {severity: critical}}
      - {alert: slow, expr: up == 2, labels: {severity: warning}}
"""
DOWN, SLOW, SHORT = "up 1x7 0x400", "up 1x7 2x400", "up 1x7 0x12 1x400"
"""Samples each 15 s: all is well until 2:00."""
CHANNELS = ("slack", "phone", "mail")
QUIET = {"quiet": {"from": "00:00", "to": "00:30"}}


class Roster:
    """A duty that changes ten minutes after the beginning."""

    def on_call(self, at: datetime) -> tuple[str, ...]:
        return ("ann",) if at < START + timedelta(minutes=10) else ("ben",)

    def next_on_call(self, at: datetime) -> tuple[str, ...]:
        return ("ben",)

    def next_change(self, at: datetime) -> datetime | None:
        return START + timedelta(minutes=10) if at < START + timedelta(minutes=10) else None


class Watch:
    """A process, the heartbeat that depends on its auditor, and what reached the address outside."""

    def __init__(self, life: AlertingProcess) -> None:
        self.life = life
        self._beats: list[str] = []
        self._http = httpx2.AsyncClient(transport=httpx2.MockTransport(self._beat))
        settings = Heartbeat(url="https://watch.example/ping", interval=timedelta(minutes=1))
        self._heartbeat = HeartbeatService(
            settings, lambda: life.auditor.problem, self._http, life.clock, MetricRegistry()
        )

    def _beat(self, request: httpx2.Request) -> httpx2.Response:
        self._beats.append(str(request.url))
        return httpx2.Response(200)

    async def until(self, minutes: float) -> None:
        await self.life.until(START + timedelta(minutes=minutes), interval=120)

    async def answer(self, how: str) -> None:
        if how == "snooze":
            await self.life.commands.snooze(1, timedelta(minutes=20), ANN)
        else:
            await self.life.commands.acknowledge(1, ANN)

    async def beats(self) -> bool:
        """Audit, let the heart beat, and tell whether that was heard outside."""
        before = len(self._beats)
        await self.life.auditor.once()
        await self._heartbeat.once()
        return len(self._beats) > before

    async def close(self) -> None:
        await self._http.aclose()
        await self.life.close()


@pytest.fixture(autouse=True)
def receivers() -> Iterator[None]:
    RECEIVERS.clear()
    RECEIVERS.update({name: Receiver() for name in CHANNELS})
    yield
    RECEIVERS.clear()


Begin = Callable[[str], Watch]


@pytest.fixture
async def begin(tmp_path: Path) -> AsyncIterator[Begin]:
    begun = []

    def watch(series: str) -> Watch:
        people = {"ann": {"channels": ["phone"], **QUIET}, "ben": {"channels": ["mail"], **QUIET}}
        on_call = policy({"people": people}, duty=Roster(), channels=dict.fromkeys(CHANNELS, False))
        begun.append(Watch(AlertingProcess(RULE, load_series(series), tmp_path, FakeClock(), CHANNELS, on_call)))
        return begun[0]

    yield watch
    await begun[0].close()


def does_nothing(_policy: object, change: Change, **_: object) -> Change:
    return change


@dataclass(frozen=True)
class Failure:
    """A stage that does nothing any more after some minutes, and what is said some minutes later."""

    stage: str
    after: float
    found: float
    said: str
    series: str = DOWN
    answer: str = ""


FAILURES = {
    "first call": Failure("escalate", 0, 9, "step 1 of its escalation was due"),
    "reminder": Failure("escalate", 4, 14, "step 2 of its escalation was due"),
    "next person": Failure("escalate", 8, 19, "step 3 of its escalation was due"),
    "everybody": Failure("escalate", 13, 24, "step 4 of its escalation was due"),
    "everybody again": Failure("escalate", 18, 40, "step 4 of its escalation was due"),
    "end of quiet hours": Failure("escalate", 20, 37, "step 1 of its escalation was due", SLOW),
    "deadline 50 %": Failure("warn", 0, 16, "nobody was warned of the deadline: respond 50 %"),
    "deadline 80 %": Failure("warn", 10, 21, "nobody was warned of the deadline: respond 80 %"),
    "deadline": Failure("warn", 15, 24, "nobody was warned of the deadline: respond 100 %"),
    "question": Failure("lapse", 4, 39, "its acknowledgement ended at 00:33:10 UTC and nobody was asked", DOWN, "ack"),
    "no answer": Failure(
        "lapse", 34, 44, "its acknowledgement ended at 00:33:10 UTC and nobody was called", DOWN, "ack"
    ),
    "snooze": Failure(
        "lapse", 4, 29, "its acknowledgement ended at 00:23:10 UTC and nobody was called", DOWN, "snooze"
    ),
    "hand-over": Failure("hand_over", 0, 17, "its shift has changed and nobody was told: ben on call"),
    "end": Failure("settle", 0, 14, "its alerts are resolved, and it is not", SHORT),
}


@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES)
async def test_each_step_that_is_not_made_stops_the_heartbeat_until_it_is(
    begin: Begin, monkeypatch: pytest.MonkeyPatch, failure: Failure
) -> None:
    watch = begin(failure.series)
    if failure.answer:
        await watch.until(3)
        await watch.answer(failure.answer)
    await watch.until(failure.after)
    assert await watch.beats()

    with monkeypatch.context() as patch:
        patch.setattr(book, failure.stage, does_nothing)
        await watch.until(failure.found - 4)
        assert await watch.beats()  # it may be late
        await watch.until(failure.found)
        assert not await watch.beats()
    assert f"incident 1: {failure.said}" in watch.life.auditor.problem
    assert not watch.life.auditor.health().ok

    await watch.until(failure.found + 1)
    assert await watch.beats()


async def test_a_decision_that_is_not_made_and_an_audit_that_is_not_stop_the_heartbeat(begin: Begin) -> None:
    watch = begin(DOWN)
    await watch.until(4)
    assert await watch.beats()
    watch.life.clock.advance(6 * 60)  # nothing runs

    assert "no audit since" in watch.life.auditor.problem
    assert not await watch.beats()
    assert "nothing was decided since" in watch.life.auditor.problem


async def test_the_auditor_goes_on_from_memory_while_state_is_unavailable(
    begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = begin(DOWN)
    await watch.until(4)

    async def fails(work: object) -> None:
        raise StateError("disk is full")

    monkeypatch.setattr(watch.life.state, "transaction", fails)
    await watch.until(6)
    assert await watch.beats()
    monkeypatch.setattr(book, "escalate", does_nothing)
    await watch.until(14)
    assert not await watch.beats()
    assert "step 2 of its escalation was due" in watch.life.auditor.problem


def test_a_silenced_incident_lacks_no_step() -> None:
    night = Night(policy())
    night.at("2:14").fires("application_down").at("2:15")
    [incident] = night.book.open
    night.suppression = Suppression(muted=frozenset(incident.alerts))
    night.at("2:50")
    [incident] = night.book.open
    steps = [it for it in overdue(night.policy, incident, night.now) if "step" in it]
    assert (incident.escalation.held, steps) == ("suppressed", [])
