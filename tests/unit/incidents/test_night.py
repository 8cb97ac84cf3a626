"""
A night, minute by minute: the database is down, people are called until one answers, a runbook helps, a report is left.

The same night with a restart each minute: what people get, what is written down, and what is done stay the same.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import ClassVar, Literal

import httpx2
import pytest

from tests.alerting_process import RECEIVERS, AlertingProcess, Receiver
from tests.fakes import FakeClock
from tests.incident_timeline import Shifts, policy
from tests.rule_evaluation import START, load_series
from toban.core.actor import Actor
from toban.core.errors import ActionError
from toban.core.metric_registry import MetricRegistry
from toban.incidents.timeline_text import entry_text
from toban.reports.incident_content import incident_content
from toban.reports.rendering import as_markdown
from toban.runbooks.action import Action, ActionContext, ActionTools, Plan
from toban.runbooks.commands import RunbookCommands
from toban.runbooks.runbook import Guard, Mode, Runbook
from toban.runbooks.service import RunbookService
from toban.runbooks.settings import RunbookSettings
from toban.runbooks.situation import RunbookPorts
from toban.shop.connections import ShopConnections
from toban.state import audit_log

RULE = """
groups:
  - name: shop
    rules:
      - alert: database_connection_failed
        expr: up{job="postgres"} == 0
        for: 1m
        labels: {severity: critical}
        annotations: {summary: The database is down}
"""
DOWN_FROM_2_14_TO_2_33 = 'up{job="postgres"} 1x535 0x75 1x400'
"""Samples each 15 s from midnight."""
TEAM = {"people": {"ann": {"name": "Ann", "channels": ["phone"]}, "ben": {"name": "Ben", "channels": ["mail"]}}}
CHANNELS = ("slack", "phone", "mail")
BEN = Actor("ben", "slack")

ACTS: list[str] = []
"""What was done to the database."""


class FixDatabase(Action):
    """Fix the database; the first time it fails."""

    kind: Literal["fix_database"] = "fix_database"

    acts: ClassVar[bool] = True

    async def plan(self, context: ActionContext, tools: ActionTools) -> Plan:
        return Plan("restart the database", "stopped", ("database",))

    async def run(self, plan: Plan, context: ActionContext, tools: ActionTools) -> str:
        ACTS.append(context.key)
        if len(ACTS) == 1:
            raise ActionError("it did not start")
        return "restarted the database"


RUNBOOK = Runbook(
    name="fix",
    title="Restart the database",
    when=('alertname="database_connection_failed"',),
    guard=Guard(mode=Mode.ASK),
    steps=(FixDatabase(),),
)


REPORT = """# Incident 1: The database is down

## Summary

Nobody has written a summary yet: toban incidents summary 1 TEXT.

## Figures

|  |  |
|---|---|
| Priority | P1 |
| Began | 2026-01-01 02:14:00 UTC |
| Ended | 2026-01-01 02:34:30 UTC |
| Time to acknowledge | 11m50s |
| Time to resolve | 19m20s |

## Impact

Not known: there is nothing to compare with.

## Alerts

- The database is down (database\\_connection\\_failed), 2026-01-01 02:14:00 UTC

## Timeline

- 2026-01-01 02:15:10 UTC Opened with priority P1: The database is down
"""
WHAT_HELPED = """## What helped

- Runbook fix failed: fix\\_database: it did not start
- Runbook fix: restarted the database

## Action items
"""


class Night:
    """The processes of one night, over a folder and a clock that outlive them."""

    def __init__(self, folder: Path, *, restarts: bool) -> None:
        self._folder = folder
        self._restarts = restarts
        self.clock = FakeClock(at("02:10"))
        folder.mkdir()
        self._start()

    def _start(self) -> None:
        duty = Shifts(("0:00", ("ann",)), ("90d 0:00", ("ben",)))
        people = policy(TEAM, duty=duty, channels=dict.fromkeys(CHANNELS, False))
        source = load_series(DOWN_FROM_2_14_TO_2_33)
        self.life = AlertingProcess(RULE, source, self._folder, self.clock, CHANNELS, people)
        self.runbooks = RunbookService(self._folder, self.life.state, self.clock, MetricRegistry())
        self.commands = RunbookCommands(self.runbooks, self.life.state, self.clock)

        async def nothing(*_: object) -> str:
            return ""

        tools = ActionTools(
            httpx2.AsyncClient(),
            self.clock,
            ShopConnections(),
            None,
            lambda _: True,
            nothing,
            nothing,  # type: ignore[arg-type]  # no queries
        )
        self.runbooks.configure(
            RunbookPorts(RunbookSettings(), [RUNBOOK], tools, self.life.alert_store.alerts, lambda: "", lambda: "")
        )

    async def until(self, text: str) -> None:
        """Let the night pass until then; each half minute toban is started anew, if it is restarted."""
        while self.clock.now() < at(text):
            await self.life.until(min(at(text), self.clock.now() + timedelta(seconds=30)))
            await self.runbooks.once()
            await self.runbooks.settled()
            await self.life.incidents.decide()
            if self._restarts:
                await self.life.close()
                self._start()
                await self.life.evaluation.open()

    async def approve(self, run: int) -> None:
        found = await self.commands.run(run)
        await self.commands.approve(run, found.approval, BEN)
        await self.runbooks.settled()


def at(text: str) -> datetime:
    hours, minutes = map(int, text.split(":"))
    return START + timedelta(hours=hours, minutes=minutes)


@pytest.fixture(autouse=True)
def receivers() -> Iterator[None]:
    ACTS.clear()
    RECEIVERS.clear()
    RECEIVERS.update({name: Receiver() for name in CHANNELS})
    yield
    RECEIVERS.clear()


def messages() -> list[str]:
    """Return what people got: when to the minute, by which channel, and the sentence that says why."""
    found = [
        (when, f"{when:%H:%M} {name} {it.kind.value}: {it.lines[0]}")
        for name, receiver in RECEIVERS.items()
        for when, it in receiver.received
    ]
    return [line for _, line in sorted(found)]


@pytest.mark.parametrize("restarts", [False, True], ids=["straight", "restarted"])
async def test_a_night_from_the_first_call_to_the_report(tmp_path: Path, restarts: bool) -> None:
    night = Night(tmp_path / "toban", restarts=restarts)

    await night.until("02:27")  # nobody answers
    await night.life.commands.acknowledge(1, BEN, "I look")
    await night.until("02:28")
    await night.approve(1)  # it fails
    await night.until("02:30")
    run = await night.commands.start("fix", BEN)
    await night.runbooks.settled()
    await night.approve(run.id)  # it helps
    await night.until("02:40")

    assert messages() == [
        "02:15 phone firing: You are called: please acknowledge within 15m.",
        "02:15 slack firing: Since 2026-01-01 02:14 UTC, for 1 min.",
        "02:16 phone notice: Runbook fix asks whether it may restart the database. Answer on the page, or: toban run"
        " --approve 1",
        "02:20 phone reminder: Nobody has answered for 5m: please acknowledge.",
        "02:22 phone reminder: 50 % of the time to respond have passed: it ends at 01-01 02:30 UTC.",
        "02:25 phone reminder: Nobody has answered for 10m: please acknowledge.",
        "02:27 phone acknowledged: Ben has acknowledged it, until 02:57 UTC.",
        "02:27 slack acknowledged: Acknowledged by Ben at 2026-01-01 02:27 UTC: I look",
        "02:28 mail notice: Runbook fix failed, go on by hand: fix_database: it did not start",
        "02:34 mail resolved: All of its alerts are resolved.",
        "02:34 phone resolved: All of its alerts are resolved.",
        "02:34 slack resolved: Resolved at 2026-01-01 02:33 UTC, after 19 min.",
    ]
    details = await night.life.commands.details(1)
    people = night.life.incidents.policy
    timeline = [f"{it.at:%H:%M} {entry_text(it, people, 'en')}" for it in details.timeline]
    assert [line for line in timeline if "delivered" not in line] == [
        "02:15 Opened with priority P1: The database is down",
        "02:15 The database is down (database_connection_failed) fires",
        "02:15 Step 1: Ann called by phone",
        "02:16 Runbook fix started: Restart the database",
        "02:16 Runbook fix asks whether it may restart the database",
        "02:20 Step 2: Ann called by phone",
        "02:22 50 % of the time to respond have passed; it ends at 01-01 02:30 UTC",
        "02:25 Step 3: Ann called by phone",
        "02:27 Ben acknowledged it, until 01-01 02:57 UTC: I look",
        "02:28 Ben approved runbook fix: restart the database",
        "02:28 Runbook fix begins to restart the database",
        "02:28 Runbook fix failed: fix_database: it did not start",
        "02:30 Runbook fix started: Restart the database",
        "02:30 Runbook fix asks whether it may restart the database",
        "02:30 Ben approved runbook fix: restart the database",
        "02:30 Runbook fix begins to restart the database",
        "02:30 Runbook fix: restarted the database",
        "02:30 Runbook fix succeeded: all of its steps are done",
        "02:33 The database is down (database_connection_failed) is resolved",
        "02:34 Resolved: none of its alerts fires any more",
    ]
    assert len([line for line in timeline if "delivered" in line]) == len(messages())
    rows = await night.life.state.transaction(lambda connection: audit_log.recent(connection, 50))
    assert [f"{row.at:%H:%M} {row.actor.name} {row.action}" for row in reversed(rows)] == [
        "02:27 ben acknowledged an incident",
        "02:27 toban acknowledged an alert",
        "02:28 ben approved a runbook",
        "02:28 runbooks begins to act",
        "02:28 runbooks acted without effect",
        "02:30 ben started a runbook",
        "02:30 ben approved a runbook",
        "02:30 runbooks begins to act",
        "02:30 runbooks acted",
    ]
    report = as_markdown(incident_content(details.incident, details.timeline, people, "en", at("02:40")))
    assert REPORT in report
    assert WHAT_HELPED in report
    assert ACTS == ["run-1.0", "run-2.0"]
    await night.life.close()
