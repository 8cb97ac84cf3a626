"""Backtests: one after the other, followed and cancelled."""

import asyncio
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from tests.fakes import FakeClock
from toban.alerting.backtests import MOST_KEPT, MOST_WAITING, Backtests, BacktestState
from toban.alerting.rule_file import parse_rule_file
from toban.core.actor import Actor
from toban.core.errors import InvalidCommandError, NotFoundError, QueryError
from toban.core.metric_registry import MetricRegistry
from toban.core.replay import RuleReplay

ANN = Actor("ann", "session")
NOW = FakeClock().now()
DAY = timedelta(days=1)
RULES = "groups: [{name: shop, rules: [{alert: down, expr: up == 0}]}]"


class HeldReplays:
    """Replays that go on until the test lets them end."""

    def __init__(self) -> None:
        self.groups = parse_rule_file(RULES, "rules.yaml")
        self.begun: list[str] = []
        self.go_on = asyncio.Event()
        self.error: Exception | None = None

    async def replay(self, rule, begins, ends, change=None, progress=None):
        self.begun.append(rule)
        progress(0.5)
        await self.go_on.wait()
        if self.error:
            raise self.error
        return [RuleReplay(rule, begins, ends, timedelta(seconds=15))]

    async def replay_groups(self, groups, begins, ends, progress=None):
        return await self.replay(groups[0].rules[0].name, begins, ends, progress=progress)


@asynccontextmanager
async def running(meters=None):
    backtests, replays = Backtests(FakeClock(), meters or MetricRegistry()), HeldReplays()
    backtests.configure(replays)
    task = asyncio.create_task(backtests.run())
    try:
        yield backtests, replays
    finally:
        task.cancel()
        await asyncio.wait([task])


async def settled():
    for _ in range(10):
        await asyncio.sleep(0)


async def start(backtests, **what):
    return await backtests.start(NOW - DAY, NOW, ANN, **(what or {"rule": "down"}))


async def test_backtests_run_one_after_the_other_and_show_their_progress():
    async with running() as (backtests, replays):
        one, other = await start(backtests), await start(backtests, rules=RULES)
        await settled()
        assert (backtests.get(one.id).state, backtests.get(one.id).share) == (BacktestState.RUNNING, 0.5)
        assert backtests.get(other.id).state is BacktestState.WAITING
        assert backtests.health().message == "2 running or waiting"
        replays.go_on.set()
        await settled()
        assert [backtests.get(it.id).state for it in (one, other)] == [BacktestState.DONE] * 2
        assert [it.rule for it in backtests.get(other.id).results] == ["down"]


async def test_a_cancelled_backtest_makes_place_for_the_next():
    async with running() as (backtests, replays):
        first, second, third = [await start(backtests) for _ in range(3)]
        await settled()
        backtests.cancel(first.id)
        backtests.cancel(third.id)
        replays.go_on.set()
        await settled()
        states = [backtests.get(it.id).state.value for it in (first, second, third)]
        assert states == ["canceled", "done", "canceled"]
        assert len(replays.begun) == 2
        with pytest.raises(InvalidCommandError, match="has ended"):
            backtests.cancel(second.id)


@pytest.mark.parametrize(("error", "text"), [(QueryError("too large"), "too large"), (KeyError("x"), "KeyError: 'x'")])
async def test_a_failed_backtest_says_why_and_the_next_one_runs(error, text):
    async with running() as (backtests, replays):
        replays.error = error
        replays.go_on.set()
        failed = await start(backtests)
        await settled()
        assert (backtests.get(failed.id).state, backtests.get(failed.id).error) == (BacktestState.FAILED, text)
        replays.error = None
        again = await start(backtests)
        await settled()
        assert backtests.get(again.id).state is BacktestState.DONE


@pytest.mark.parametrize(
    ("what", "error", "text"),
    [
        ({"rule": "down", "rules": RULES}, InvalidCommandError, "give the name of a rule"),
        ({"rule": "", "rules": ""}, InvalidCommandError, "give the name of a rule"),
        ({"rule": "nothing"}, NotFoundError, "no alerting rule 'nothing'"),
        ({"rules": "groups: [{name: a, rules: [{alert: b, expr: 'up =='}]}]"}, InvalidCommandError, "parse error"),
    ],
)
async def test_what_can_not_be_started_is_refused(what, error, text):
    async with running() as (backtests, _):
        with pytest.raises(error, match=text):
            await start(backtests, **what)


async def test_few_wait_and_few_are_kept():
    async with running() as (backtests, replays):
        for _ in range(MOST_WAITING):
            await start(backtests)
        with pytest.raises(InvalidCommandError, match="waiting already"):
            await start(backtests)
        replays.go_on.set()
        for _ in range(MOST_KEPT):
            await settled()
            await start(backtests)
        await settled()
        with pytest.raises(NotFoundError, match="backtest 1 not found"):
            backtests.get(1)
        assert backtests.get(MOST_KEPT + MOST_WAITING).state is BacktestState.DONE
