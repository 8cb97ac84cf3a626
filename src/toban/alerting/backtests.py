"""Backtests: replays of rules that somebody asked for, one after the other, with their progress."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Final

import structlog

from toban.alerting.rule_file import RuleGroup, parse_rule_file
from toban.alerting.rule_replays import Progress, RuleReplays
from toban.core.actor import Actor
from toban.core.errors import InvalidCommandError, NotFoundError, SettingsError, TobanError
from toban.core.metric_registry import MetricRegistry
from toban.core.ports import Clock, HealthStatus
from toban.core.replay import RuleReplay
from toban.core.samples import counter, gauge

log = structlog.get_logger("toban.alerting")

MOST_WAITING: Final = 5
MOST_KEPT: Final = 20
"""How many backtests that have ended can be shown."""
MOST_RULES: Final = 200
"""How many alerting rules a file may have."""
FILE: Final = "the rule file"

ENDED: Final = counter("toban_backtests_total", "Backtests of rules that have ended.", labels=("outcome",))
"""``outcome`` is ``done``, ``failed`` or ``canceled``."""
SECONDS: Final = gauge("toban_backtest_duration_seconds", "Duration of the last backtest.", "seconds")


class BacktestState(StrEnum):
    """The state of a backtest."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELED = "canceled"

    @property
    def is_open(self) -> bool:
        """Whether it has not ended."""
        return self in {BacktestState.WAITING, BacktestState.RUNNING}


@dataclass(frozen=True, slots=True)
class Backtest:
    """A backtest of the rules of a name, or of a file's (``rule`` is empty); ``share`` of it is done."""

    id: int
    rule: str
    begins: datetime
    ends: datetime
    by: str
    state: BacktestState = BacktestState.WAITING
    share: float = 0.0
    error: str = ""
    results: Sequence[RuleReplay] = ()


class Backtests:
    """Runs backtests in the background, one at a time; each reads the rules of the configuration in which it begins."""

    name = "backtests"

    def __init__(self, clock: Clock, meters: MetricRegistry) -> None:
        """It is configured before it runs."""
        self._clock = clock
        self._meters = meters
        self._replays: RuleReplays
        self._kept: dict[int, Backtest] = {}
        self._jobs: dict[int, Callable[[RuleReplays, Progress], Awaitable[Sequence[RuleReplay]]]] = {}
        self._queued = asyncio.Event()
        self._running: tuple[int, asyncio.Task[Sequence[RuleReplay]]] | None = None
        self._number = 0
        self.changes = 0
        """How often a backtest has changed since the start."""

    def configure(self, replays: RuleReplays) -> None:
        """Go on with the rules of another configuration."""
        self._replays = replays

    def get(self, number: int) -> Backtest:
        """Return a backtest. Raises ``NotFoundError``."""
        if number not in self._kept:
            raise NotFoundError(f"backtest {number} not found: the last {MOST_KEPT} are kept while toban runs")
        return self._kept[number]

    async def start(
        self, begins: datetime, ends: datetime, actor: Actor, *, rule: str = "", rules: str = ""
    ) -> Backtest:
        """
        Start a backtest of the rules of a name, or of those in the content of a rule file.

        Raises ``InvalidCommandError``, ``NotFoundError``.
        """
        if bool(rule) == bool(rules):
            raise InvalidCommandError("give the name of a rule, or the content of a rule file", "rule")
        if sum(it.state.is_open for it in self._kept.values()) >= MOST_WAITING:
            raise InvalidCommandError(f"{MOST_WAITING} backtests are waiting already: cancel one, or wait")
        groups = await asyncio.to_thread(_parsed, rules) if rules else ()
        if rule and not any(it.name == rule for group in self._replays.groups for it in group.alerts):
            raise NotFoundError(f"no alerting rule {rule[:100]!r}")
        self._number += 1
        self._jobs[self._number] = (
            (lambda replays, progress: replays.replay(rule, begins, ends, progress=progress))
            if rule
            else (lambda replays, progress: replays.replay_groups(groups, begins, ends, progress))
        )
        started = Backtest(self._number, rule, begins, ends, actor.name)
        self._put(started)
        self._queued.set()
        return started

    def cancel(self, number: int) -> Backtest:
        """Cancel a backtest that has not ended. Raises ``NotFoundError``, ``InvalidCommandError``."""
        found = self.get(number)
        if not found.state.is_open:
            raise InvalidCommandError(f"backtest {number} has ended")
        self._jobs.pop(number, None)
        if self._running and self._running[0] == number:
            self._running[1].cancel()
        return self._put(replace(found, state=BacktestState.CANCELED))

    async def run(self) -> None:
        """Run what was asked for until cancelled."""
        while True:
            await self._queued.wait()
            self._queued.clear()
            while self._jobs:
                await self._execute(next(iter(self._jobs)))

    async def _execute(self, number: int) -> None:
        job, began = self._jobs.pop(number), self._clock.monotonic()

        def progress(share: float) -> None:
            self._put(replace(self._kept[number], share=share))

        self._put(replace(self._kept[number], state=BacktestState.RUNNING))
        task = asyncio.ensure_future(job(self._replays, progress))
        self._running = (number, task)
        try:
            await asyncio.wait([task])
            self._finish(number, task)
        finally:
            self._running = None
            if not task.done():
                task.cancel()
        self._meters.set(SECONDS, self._clock.monotonic() - began)

    def _finish(self, number: int, task: "asyncio.Future[Sequence[RuleReplay]]") -> None:
        found = self._kept[number]
        if task.cancelled():
            found = replace(found, state=BacktestState.CANCELED)
        elif isinstance(error := task.exception(), TobanError):
            found = replace(found, state=BacktestState.FAILED, error=str(error))
        elif error:
            log.error("backtest failed unexpectedly", exc_info=error)
            found = replace(found, state=BacktestState.FAILED, error=f"{type(error).__name__}: {error}")
        else:
            found = replace(found, state=BacktestState.DONE, share=1.0, results=tuple(task.result()))
        self._put(found)
        self._meters.add(ENDED, outcome=found.state.value)

    def _put(self, backtest: Backtest) -> Backtest:
        self._kept[backtest.id] = backtest
        ended = [number for number, it in self._kept.items() if not it.state.is_open]
        for number in ended[:-MOST_KEPT]:
            del self._kept[number]
        self.changes += 1
        return backtest

    def health(self) -> HealthStatus:
        """Return what it does: it is never unhealthy."""
        waiting = sum(it.state.is_open for it in self._kept.values())
        return HealthStatus(True, f"{waiting} running or waiting" if waiting else "none")


def _parsed(rules: str) -> Sequence[RuleGroup]:
    try:
        groups = parse_rule_file(rules, FILE)
    except SettingsError as error:
        raise InvalidCommandError(str(error), "rules") from error
    if sum(1 for group in groups for _ in group.alerts) > MOST_RULES:
        raise InvalidCommandError(f"more than {MOST_RULES} alerting rules: replay them in parts", "rules")
    return groups
