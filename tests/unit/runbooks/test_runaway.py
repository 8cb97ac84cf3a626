"""
Automation can't run away: random days in virtual time, in which everything goes wrong that a runbook can meet.

Whatever happens, what was done to the machines is held against the brakes: nothing is done twice, nothing above the
budgets, nothing that a brake forbids at that moment, and nothing that somebody had to approve and did not.
"""

import random
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest
from sqlalchemy import select

from tests.fakes import FakeClock
from tests.incident_timeline import policy
from tests.runbook_process import Killed, MemoryState, Process
from toban.access.permissions import Role
from toban.answers.executor import AnswerExecutor
from toban.answers.slack import SlackAnswers
from toban.core.actor import Actor
from toban.core.alerts import Alert, AlertStatus
from toban.core.errors import ActionError
from toban.core.labels import Labels
from toban.notify.channels.slack import Slack
from toban.runbooks.action import Action, ActionContext, ActionTools, Plan
from toban.runbooks.brakes import AFTER_DEPLOY, MANY, MAX_FAILURES, WEEK
from toban.runbooks.run import FAILURES, Run, RunState
from toban.runbooks.runbook import Guard, Mode, Runbook
from toban.runbooks.settings import RunbookSettings
from toban.runbooks.situation import STOP_FILE
from toban.state import audit_log, event_log

SEEDS_AT_ONCE = 50
CHUNKS = [
    pytest.param(range(12), id="slice"),
    *(
        pytest.param(range(at, at + SEEDS_AT_ONCE), id=f"{at}", marks=pytest.mark.soak)
        for at in range(0, 1_000, SEEDS_AT_ONCE)
    ),
]
SETTINGS = RunbookSettings()
COOLDOWN = timedelta(minutes=30)
NAMES = ("memory", "down", "slow", "disk")
MACHINES = tuple(f"m{number}" for number in range(1, 8))

BRAKES = {
    "stop switch": "automation is stopped",
    "budget of an hour": "acts in the last hour: the budget is 3",
    "budget of a day": "acts in the last day: the budget is 6",
    "cooldown of a machine": "it cools down",
    "cooldown of an alert": "it ran a short time ago",
    "attempts": "times for this alert",
    "a failure": "its last run for this alert failed",
    "failures of a week": "times in a week",
    "dwell time": "has not fired for long enough",
    "one at a time": " runs",
    "maintenance": "a maintenance window",
    "drill": "a drill of alerts",
    "doubt": "not evaluated in time",
    "deploy": "something was deployed at",
    "many machines": "that is no fault of one machine",
    "resolved": "its alert is resolved",
    "too late": "nobody answered in time",
    "changed state": "what was approved has changed",
    "refused": "refused it",
    "crash": "it is not repeated",
}
"""Each brake, and the words by which it says that it held something back."""


@dataclass(frozen=True)
class Act:
    """Something that was done to a machine: when, by the key of which run, and what was known then."""

    at: datetime
    machine: str
    key: str
    forbidden: str


@dataclass
class World:
    """The machines, and what happens when one is acted on."""

    chance: random.Random
    clock: FakeClock
    trouble: float
    versions: Counter[str] = field(default_factory=Counter)
    acts: list[Act] = field(default_factory=list)
    life: Process | None = None
    done: set[str] = field(default_factory=set)
    """The keys of acts that had an effect."""

    def forbidden(self, name: str) -> str:
        """Return why nothing may act by itself now."""
        life = self.life
        assert life
        now = self.clock.now()
        deployed = life.deployed is not None and now < life.deployed + AFTER_DEPLOY
        many = sum(it.name == name for it in life.alerts if it.status is AlertStatus.FIRING) > MANY
        return " ".join(part for part in (life.doubts, life.maintenance, "deploy" * deployed, "many" * many) if part)


WORLD: list[World] = []
"""The world of the seed that runs: actions are frozen settings."""


class Repair(Action):
    """Restart the machine that the alert is about."""

    kind: Literal["repair"] = "repair"

    acts: ClassVar[bool] = True

    async def plan(self, context: ActionContext, tools: ActionTools) -> Plan:
        machine = context.alert.labels["instance"]
        return Plan(f"restart {machine}", str(WORLD[-1].versions[machine]), (machine,))

    async def run(self, plan: Plan, context: ActionContext, tools: ActionTools) -> str:
        world, (machine,) = WORLD[-1], plan.targets
        chance = world.chance.random()
        if chance < world.trouble * 0.3:
            raise Killed  # between the intent and the act
        world.acts.append(Act(tools.clock.now(), machine, context.key, world.forbidden(context.alert.name)))
        if chance < world.trouble * 0.6:
            world.clock.advance(300)
            raise ActionError("it was answered 200, and no event followed within 5 minutes")
        world.versions[machine] += 1
        world.done.add(context.key)
        if chance < world.trouble:
            raise Killed  # between the act and its result
        return f"restarted {machine}"

    async def look(self, plan: Plan, context: ActionContext, tools: ActionTools) -> str | None:
        return "it was restarted" if context.key in WORLD[-1].done else None


class SlackMembers:
    """The part of a Slack channel that finds out who clicked; nobody has an e-mail address."""

    name = "ops"

    def web_api(self, _: Any) -> "SlackMembers":
        return self

    async def team(self) -> str:
        return "T1"

    async def post(self, *_: Any) -> None:
        pass


ANN = Actor("ann", "session")
PEOPLE = {"people": {"ann": {"slack": "U1"}, "ben": {"slack": "U2"}}}


class Day:
    """Some hours of a shop in which the seed decides what happens."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.chance = random.Random(seed)
        self.clock = FakeClock()
        self.folder = folder
        self.state = MemoryState(self.clock)
        self.world = World(self.chance, self.clock, self.chance.choice([0.0, 0.3, 0.8]))
        WORLD.append(self.world)
        modes = ["auto", "auto", "auto", "auto"] if seed % 3 else ["ask", "auto", "ask", "auto"]
        self.books = [
            Runbook(
                name=f"repair_{name}",
                title="Repair it",
                when=(f'alertname="{name}"',),
                guard=Guard.model_validate({"mode": mode, "attempts": 3}),
                steps=(Repair(),),
            )
            for name, mode in zip(NAMES, modes, strict=True)
        ]
        self.alerts: dict[tuple[str, str], Alert] = {}
        self.reasons = Counter[str]()
        self.flapping: tuple[str, str] | None = None
        self.refused = 0
        self.doubts = self.maintenance = ""
        self.deployed: datetime | None = None
        self.approvals: dict[int, datetime] = {}
        self.start()

    def start(self) -> None:
        """Start a toban: after a kill, or for the first time."""
        self.life = Process(self.folder, self.clock, self.books, SETTINGS, self.state)
        self.world.life = self.life
        people = policy(PEOPLE)
        executor = AnswerExecutor(None, self.life.commands, lambda: people, self.clock)  # type: ignore[arg-type]  # only runs are answered
        channel: Slack = SlackMembers()  # type: ignore[assignment]  # who clicked, and nothing else
        self.slack = SlackAnswers(
            channel, lambda: None, people.on_call, lambda _: Role.OPERATOR.permissions, executor, self.state, self.clock
        )  # type: ignore[arg-type,return-value]  # no requests

    async def step(self) -> None:
        """Let a minute or two pass."""
        self.clock.advance(self.chance.choice([30, 60, 90]))
        if self.flapping:
            self.toggle(*self.flapping)
        if self.chance.random() < 0.35:
            self.happen()
        if self.chance.random() < 0.15:
            await self.end_around()
        life = self.life
        life.alerts = list(self.alerts.values())
        life.doubts, life.maintenance, life.deployed = self.doubts, self.maintenance, self.deployed
        await self.life.service.once()
        await self.life.service.settled()
        self.reasons.update(self.life.service.held.values())
        if any(it.state is RunState.RUNNING for it in await self.life.commands.runs(5)):
            self.start()  # it was killed in the middle of a run
        else:
            await self.people()

    def happen(self) -> None:
        """Let something happen to the machines, or around them."""
        chance = self.chance
        name, machine = chance.choice(NAMES), chance.choice(MACHINES)
        what = chance.choices(
            ["fires", "resolves", "flaps", "twice", "many", "changes", "around"], [9, 6, 1, 2, 0.5, 2, 2.3]
        )[0]
        if what == "fires":
            self.fires(name, machine)
        elif what == "resolves" and self.alerts:
            self.alerts.pop(chance.choice(sorted(self.alerts)))
        elif what == "flaps":
            self.flapping = None if self.flapping else (name, machine)
        elif what == "twice":  # two alerts, and two runbooks, for one machine
            for other in chance.sample(NAMES, 2):
                self.fires(other, machine)
        elif what == "many":  # half of the machines fail together
            for other in MACHINES[: len(MACHINES) // 2 + 1]:
                self.fires(name, other)
        elif what == "changes":  # somebody else restarts a machine
            self.world.versions[machine] += 1
        elif what == "around":
            self.happen_around()

    async def end_around(self) -> None:
        """Let what keeps automation from acting end, or it would for most of the day."""
        self.doubts = self.maintenance = ""
        (self.folder / STOP_FILE).unlink(missing_ok=True)
        if (await self.life.commands.switch()).is_stopped:
            await self.life.commands.resume(ANN)

    def happen_around(self) -> None:
        """Let something begin or end that keeps automation from acting."""
        what = self.chance.choice(["file", "deploy", "maintenance", "doubt"])
        path = self.folder / STOP_FILE
        if what == "file":
            path.unlink() if path.exists() else path.touch()
        elif what == "deploy":
            self.deployed = self.clock.now()
        elif what == "maintenance":
            begun = self.chance.choice(["a maintenance window", "a drill of alerts"])
            self.maintenance = "" if self.maintenance else begun
        elif what == "doubt":
            self.doubts = "" if self.doubts else "rules are not evaluated in time"

    def fires(self, name: str, machine: str) -> None:
        now = self.clock.now()
        alert = Alert(Labels(alertname=name, instance=machine), {}, AlertStatus.FIRING, now, now)
        self.alerts.setdefault((name, machine), alert)

    def toggle(self, name: str, machine: str) -> None:
        if self.alerts.pop((name, machine), None) is None:
            self.fires(name, machine)

    async def people(self) -> None:
        """Let people answer what is asked: the right one, the wrong one, twice, too late; and use the stop switch."""
        chance = self.chance
        if chance.random() < 0.01:
            await self.command("stop strange")
        asked = [it for it in await self.life.commands.runs(5) if it.state is RunState.ASKED]
        for run in asked:
            if chance.random() < 0.6:
                continue
            how = chance.choice(["right", "wrong person", "wrong approval", "twice", "late", "refuse"])
            approval = run.approval_digest
            if how == "late":
                self.clock.advance(16 * 60)
            if how == "wrong person":
                before = len(await self.refusals())
                await self.click("U9", approval, run.id)
                assert len(await self.refusals()) == before + 1
                self.refused += 1
            elif how == "wrong approval":
                await self.click("U1", "0" * 16, run.id)
            elif how == "refuse":
                await self.click("U2", approval, run.id, "refuse")
            else:
                for _ in range(2 if how == "twice" else 1):
                    if how != "late":
                        self.approvals[run.id] = self.clock.now()
                    await self.click(chance.choice(["U1", "U2"]), approval, run.id)
            await self.life.service.settled()

    async def click(self, member: str, approval: str, run: int, verb: str = "approve") -> None:
        """Answer with a button, as Slack passes it on."""
        action = {"action_id": f"toban.{verb}", "value": f"r{run}.{approval}"}
        who = {"user": {"id": member}, "team": {"id": "T1"}}
        await self.slack.execute(
            {"type": "block_actions", **who, "actions": [action]}, self.clock.now(), lambda _: None
        )

    async def command(self, text: str) -> None:
        """Answer with a command, as Slack passes it on."""
        body = {"type": "slash_commands", "user_id": "U1", "team_id": "T1", "text": text}
        await self.slack.execute(body, self.clock.now(), lambda _: None)

    async def refusals(self) -> list[Any]:
        entries = await self.state.transaction(lambda connection: audit_log.recent(connection, 1_000))
        return [it for it in entries if it.action == "was refused an answer"]

    async def runs(self) -> dict[int, Run]:
        return {it.id: it for it in await self.life.commands.runs(1_000)}

    async def finish(self) -> None:
        """Start what was killed again, and let it look at what it left."""
        self.world.trouble = 0
        self.alerts.clear()
        for _ in range(3):
            self.start()
            await self.life.service.once()
            await self.life.service.settled()

    async def texts(self) -> list[str]:
        """Return what runs said in the event log."""

        def work(connection: Any) -> list[str]:
            return [row.body["text"] for row in connection.execute(select(event_log.EVENTS))]

        return await self.state.transaction(work)


@contextmanager
def day(folder: Path, seed: int) -> Iterator[Day]:
    it = Day(folder, seed)
    try:
        yield it
    finally:
        WORLD.clear()
        it.state.close()
        (folder / STOP_FILE).unlink(missing_ok=True)


async def held_to_the_brakes(it: Day) -> Counter[str]:
    """Hold what was done against the brakes; return how many acts there were, in which mode."""
    acts, runs = it.world.acts, await it.runs()
    assert len({act.key for act in acts}) == len(acts), "an act was repeated"
    entries = await it.state.transaction(lambda connection: audit_log.recent(connection, 5_000, actor="runbooks"))
    intended = Counter(entry.facts["key"] for entry in entries if entry.action == "begins to act")
    assert not {act.key for act in acts} - set(intended), "an act without an intent in the audit log"
    assert set(intended.values()) <= {1}
    counted = Counter[str]()
    for place, act in enumerate(acts):
        run = runs[int(act.key.removeprefix("run-").partition(".")[0])]
        before = acts[:place]
        counted[run.mode] += 1
        if run.mode != Mode.AUTO:
            assert run.approved_by in {"ann", "ben"}
            assert it.approvals[run.id] <= act.at <= it.approvals[run.id] + timedelta(minutes=1)
            continue
        assert act.forbidden == "", act
        assert sum(other.at > act.at - timedelta(hours=1) for other in before) < SETTINGS.acts_per_hour, act
        assert sum(other.at > act.at - timedelta(days=1) for other in before) < SETTINGS.acts_per_day, act
        same = [other for other in before if other.machine == act.machine]
        assert not [other for other in same if other.at > act.at - COOLDOWN], act
        failed = [
            other
            for other in runs.values()
            if other.runbook == run.runbook
            and other.state in FAILURES
            and other.started > run.started - WEEK
            and other.ended
            and other.ended < run.started
        ]
        assert len(failed) < MAX_FAILURES, act
    for run in runs.values():
        assert run.state is not RunState.RUNNING, run
        assert all(record.ended or run.state is RunState.UNKNOWN for record in run.acts), run
    return counted


@pytest.mark.parametrize("seeds", CHUNKS)
async def test_no_day_lets_automation_run_away(tmp_path: Path, seeds: range, record_property: Any) -> None:
    """Each brake has held something back in these days: what none of them meets is not proved."""
    acts, braked = Counter[str](), Counter[str]()
    for seed in seeds:
        with day(tmp_path, seed) as it:
            for _ in range(3):
                for _ in range(30):
                    await it.step()
                it.clock.advance(it.chance.uniform(0.5, 10) * 3600)
            await it.finish()
            acts += await held_to_the_brakes(it)
            said = [*it.reasons.elements(), *(await it.texts())]
            braked += Counter(name for name, words in BRAKES.items() for text in said if words in text)
            braked["wrong person"] += it.refused
    for mode, many in acts.items():
        record_property(f"acts with mode {mode}, of {len(seeds)} seeds", many)
    for brake, many in braked.items():
        record_property(f"held back by {brake}, of {len(seeds)} seeds", many)
    assert acts["auto"] > len(seeds)
    assert acts["ask"] > 0
    assert {name for name in (*BRAKES, "wrong person") if not braked[name]} == set()
