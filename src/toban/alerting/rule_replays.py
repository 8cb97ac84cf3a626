"""Replays rules over the stored samples, one replay at a time."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Final

from toban.alerting.observed_time import observed_time
from toban.alerting.replay import Replay, ReplayedRecord, ReplayedRule
from toban.alerting.replay_plan import MOST_EVALUATIONS, alerts_of, records_of
from toban.alerting.replay_source import ReplaySource
from toban.alerting.rule_change import changed_rule
from toban.alerting.rule_file import RuleGroup
from toban.alerting.templating.template import NO_EXTERNAL, External
from toban.core.errors import InvalidCommandError, NotFoundError
from toban.core.ports import Clock, SeriesSource
from toban.core.replay import RuleChange, RuleReplay
from toban.core.samples import milliseconds
from toban.promql.engine import LOOKBACK, PromqlEngine
from toban.promql.executor import QueryExecutor
from toban.promql.query_limits import QueryLimits

LIMITS: Final = QueryLimits(samples=5_000_000)
"""A quarter of what other queries may hold: a replay must not take the memory of the rest."""
WARM_UP: Final = timedelta(minutes=15)
"""How much earlier than asked for a replay begins, beside the rule's `for`: what fires already is not new."""
LONGEST: Final = timedelta(days=92)
NO_CHANGE: Final = RuleChange()

Progress = Callable[[float], None]


class RuleReplays:
    """Replays the rules of a configuration, or others, over the samples of the store; a ``RuleReplayer``."""

    def __init__(
        self,
        store: SeriesSource,
        groups: Sequence[RuleGroup],
        default_interval: timedelta,
        clock: Clock,
        *,
        lookback: timedelta = LOOKBACK,
        external: External = NO_EXTERNAL,
        lock: asyncio.Lock | None = None,
    ) -> None:
        """``lock`` is held by the one replay that runs."""
        self.groups = groups
        self._store = store
        self._default_interval = default_interval
        self._clock = clock
        self._lookback = lookback
        self._external = external
        self._lock = lock or asyncio.Lock()

    async def replay(
        self,
        rule: str,
        begins: datetime,
        ends: datetime,
        change: RuleChange = NO_CHANGE,
        progress: Progress | None = None,
    ) -> list[RuleReplay]:
        """
        Replay the rules of a name, with another limit or ``for``; what they read of recording rules is as it was.

        Raises ``NotFoundError``, ``InvalidCommandError``, ``QueryError`` and ``StoreError``.
        """
        alerts = alerts_of(self.groups, self._default_interval, rule)
        if not alerts:
            raise NotFoundError(f"no alerting rule {rule[:100]!r}")
        for it in alerts:
            it.rule = changed_rule(it.rule, change)
        return await self._run(alerts, (), begins, ends, progress)

    async def replay_groups(
        self, groups: Sequence[RuleGroup], begins: datetime, ends: datetime, progress: Progress | None = None
    ) -> list[RuleReplay]:
        """Replay the alerting rules of other groups, with their recording rules. Raises like `replay`."""
        alerts = alerts_of(groups, self._default_interval)
        if not alerts:
            raise InvalidCommandError("it has no alerting rules", "rules")
        return await self._run(alerts, records_of(groups, alerts, self._default_interval), begins, ends, progress)

    async def _run(
        self,
        alerts: Sequence[ReplayedRule],
        records: Sequence[ReplayedRecord],
        begins: datetime,
        ends: datetime,
        progress: Progress | None,
    ) -> list[RuleReplay]:
        ends = min(ends, self._clock.now())
        if not timedelta() < ends - begins <= LONGEST:
            raise InvalidCommandError("must end after its begin, and be of 92 days at most", "begins")
        shortest = min([*(it.interval for it in alerts), *(it.interval for it in records)])
        if (ends - begins) / shortest > MOST_EVALUATIONS:
            raise InvalidCommandError(f"more than {MOST_EVALUATIONS:,} evaluations: take a shorter time", "begins")
        longest = max(it.rule.for_ + it.rule.keep_firing_for for it in alerts)
        first = begins - WARM_UP - min(longest, LONGEST)
        source = ReplaySource(self._store, sorted({it.rule.name for it in records}))
        async with self._lock:
            observed = await asyncio.to_thread(observed_time, self._store, milliseconds(first), milliseconds(ends))
            engine = PromqlEngine(source, LIMITS, lookback=self._lookback)
            async with QueryExecutor(engine) as executor:
                replay = Replay(alerts, records, executor, source, observed, self._external)
                return await replay.run(first, begins, ends, progress or (lambda share: None))
