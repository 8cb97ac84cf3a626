"""Looks for better limits of rules when somebody asks for it, in the background."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

import structlog

from toban.core.actor import Actor
from toban.core.errors import ActionError, InvalidCommandError
from toban.core.metric_registry import MetricRegistry
from toban.core.ports import Clock, HealthStatus
from toban.core.samples import gauge
from toban.review.alert_review import EvaluatedRule
from toban.review.proposals import Proposal, Refusal, ThresholdReview

log = structlog.get_logger("toban.review")

PROPOSALS: Final = gauge("toban_review_proposals", "Limits that the last review of thresholds proposes to change.")


@dataclass(frozen=True, slots=True)
class ProposalRun:
    """A run over all rules: who asked for it, how far it is, and what it found."""

    started: datetime
    by: str
    total: int
    done: int = 0
    ended: datetime | None = None
    proposals: Sequence[Proposal] = ()
    refusals: Sequence[Refusal] = ()


class ProposalService:
    """Runs the review of thresholds, one at a time; its results are those of the rules of this configuration."""

    name = "threshold review"

    def __init__(
        self,
        review: ThresholdReview,
        rules: Callable[[], Sequence[EvaluatedRule]],
        clock: Clock,
        meters: MetricRegistry,
    ) -> None:
        self.last: ProposalRun | None = None
        """The run that goes on, or the last one."""
        self._review = review
        self._rules = rules
        self._clock = clock
        self._meters = meters
        self._asked = asyncio.Event()
        self._advanced = asyncio.Event()

    def start(self, actor: Actor) -> ProposalRun:
        """Start a run. Raises ``InvalidCommandError`` while one goes on."""
        if self.last and self.last.ended is None:
            raise InvalidCommandError("a review of thresholds goes on already")
        self.last = ProposalRun(self._clock.now(), actor.name, len(self._rules()))
        self._asked.set()
        return self.last

    async def review(self, actor: Actor, tell: Callable[[str], None]) -> Sequence[Proposal]:
        """
        Run over all rules and return what is proposed; ``tell`` is told how far it is.

        Raises ``InvalidCommandError`` while another run goes on, and ``ActionError`` where a reload ends it.
        """
        run = self.start(actor)
        while run.ended is None:
            tell(f"{run.done} of {run.total} rules")
            await self._advanced.wait()
            self._advanced.clear()
            run = self.last or run
        if run.done < run.total:
            raise ActionError("the configuration was reloaded meanwhile: review it again")
        return run.proposals

    async def run(self) -> None:
        """Run what was asked for until cancelled; what goes on then has ended."""
        try:
            while True:
                await self._asked.wait()
                self._asked.clear()
                if self.last:
                    await self._execute(self.last)
        finally:
            if self.last and self.last.ended is None:
                self._advance(replace(self.last, ended=self._clock.now()))

    async def _execute(self, run: ProposalRun) -> None:
        for rule in self._rules():
            found: Proposal | Refusal
            try:
                found = await self._review.propose(rule, self._clock.now())
            except Exception as error:  # a bug costs one rule
                log.exception("threshold review failed", rule=rule.name)
                found = Refusal(rule.name, f"{type(error).__name__}: {error}")
            if isinstance(found, Proposal):
                run = replace(run, proposals=(*run.proposals, found))
            else:
                run = replace(run, refusals=(*run.refusals, found))
            run = replace(run, done=run.done + 1)
            self._advance(run)
        self._advance(replace(run, ended=self._clock.now()))
        self._meters.set(PROPOSALS, len(run.proposals))
        log.info("thresholds reviewed", rules=run.done, proposals=len(run.proposals))

    def _advance(self, run: ProposalRun) -> None:
        self.last = run
        self._advanced.set()

    def health(self) -> HealthStatus:
        """Return what it does: it is never unhealthy."""
        if self.last and self.last.ended is None:
            return HealthStatus(True, f"{self.last.done} of {self.last.total} rules reviewed")
        return HealthStatus(True, "idle")
