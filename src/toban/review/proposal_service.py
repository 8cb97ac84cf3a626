"""Looks for better limits of rules when somebody asks for it, in the background."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

import structlog
from sqlalchemy import Connection

from toban.core.actor import Actor
from toban.core.errors import ActionError, InvalidCommandError, StateError
from toban.core.metric_registry import MetricRegistry
from toban.core.ports import Clock, HealthStatus
from toban.core.samples import gauge
from toban.review import limit_repository as repository
from toban.review.alert_review import EvaluatedRule
from toban.review.follow_up import AppliedLimit, FollowUp, follow_up
from toban.review.proposal_run import MOST_INCIDENTS, ProposalRun, is_void, with_proposal, with_refusal
from toban.review.proposals import Evidence, FiringHistory, Proposal, Refusal, ThresholdReview
from toban.state.database import State

log = structlog.get_logger("toban.review")

RETENTION: Final = timedelta(days=761)
"""How long applied limits are kept: 25 months."""

PROPOSALS: Final = gauge("toban_review_proposals", "Limits that the last review of thresholds proposes to change.")
UNNOTICED: Final = gauge(
    "toban_review_unnoticed_incidents", "True incidents of the last 90 days in which nothing fired, by the last review."
)
MISSED: Final = gauge(
    "toban_review_missed_incidents",
    "Incidents that the limits before would have found and applied ones did not, by the last review.",
)


class ProposalService:
    """
    Runs the review of thresholds, one at a time.

    What the last one found is kept in state; a proposal is void once its rule has changed.
    """

    name = "threshold review"

    def __init__(
        self,
        review: ThresholdReview,
        rules: Callable[[], Sequence[EvaluatedRule]],
        history: FiringHistory,
        zone: ZoneInfo,
        state: State,
        clock: Clock,
        meters: MetricRegistry,
    ) -> None:
        self._review = review
        self._rules = rules
        self._history = history
        self._zone = zone
        self._state = state
        self._clock = clock
        self._meters = meters
        self._last: ProposalRun | None = None
        """The run that goes on, or the last one that is not in state."""
        self._asked = asyncio.Event()
        self._advanced = asyncio.Event()
        self.changes = 0
        """How often a run has advanced."""

    @property
    def is_running(self) -> bool:
        """Whether a run goes on."""
        return self._last is not None and self._last.ended is None

    async def last(self) -> ProposalRun | None:
        """Return the run that goes on, or the last one that has ended. Raises ``StateError``."""
        return self._last or await self._state.transaction(repository.last_run)

    async def applied(self) -> list[AppliedLimit]:
        """Return the limits that were applied, newest first. Raises ``StateError``."""
        return await self._state.transaction(repository.applied)

    def void(self, proposals: Sequence[Proposal]) -> frozenset[str]:
        """Return the names of the rules that have changed since something was proposed for them."""
        rules = self._rules()
        return frozenset(it.rule for it in proposals if is_void(it, rules))

    def start(self, actor: Actor) -> ProposalRun:
        """Start a run. Raises ``InvalidCommandError`` while one goes on."""
        if self.is_running:
            raise InvalidCommandError("a review of thresholds goes on already")
        self._last = run = ProposalRun(self._clock.now(), actor.name, len(self._rules()))
        self._asked.set()
        return run

    async def review(self, actor: Actor, tell: Callable[[str], None]) -> ProposalRun:
        """
        Run over all rules and return what is found; ``tell`` is told how far it is.

        Raises ``InvalidCommandError`` while another run goes on, and ``ActionError`` where a reload ends it.
        """
        run = self.start(actor)
        while run.ended is None:
            tell(f"{run.done} of {run.total} rules")
            await self._advanced.wait()
            self._advanced.clear()
            run = self._last or run
        if run.error:
            raise ActionError(run.error)
        return run

    async def run(self) -> None:
        """Run what was asked for until cancelled; what goes on then has ended."""
        try:
            await self._show_last()
            while True:
                await self._asked.wait()
                self._asked.clear()
                if self._last:
                    await self._execute(self._last)
        finally:
            if self._last and self._last.ended is None:
                error = "the configuration was reloaded meanwhile: review it again"
                self._advance(replace(self._last, ended=self._clock.now(), error=error))

    async def _show_last(self) -> None:
        """Set the metrics of the last run."""
        try:
            run = await self._state.transaction(repository.last_run)
        except StateError as error:
            log.debug("last review of thresholds not read", error=str(error))
        else:
            if run:
                self._set_metrics(run)

    async def _execute(self, run: ProposalRun) -> None:
        try:
            evidence = await self._review.evidence(self._clock.now())
            limits = await self.applied()
        except StateError as error:
            log.warning("thresholds not reviewed", error=str(error))
            self._advance(replace(run, ended=self._clock.now(), error=str(error)))
            return
        newest = tuple(evidence.unnoticed[-MOST_INCIDENTS:])
        run = replace(run, incidents=len(evidence.incidents), unnoticed=newest)
        rules = list(self._rules())
        run = replace(run, total=len(rules))
        newest_limits = {it.rule: it for it in reversed(limits)}
        for rule in rules:
            limit = newest_limits.get(rule.name)
            since = limit.at if limit and limit.is_in_force(rule) else None
            found = await self._proposed(rule, evidence, since)
            run = with_proposal(run, found) if isinstance(found, Proposal) else with_refusal(run, found)
            run = replace(run, done=run.done + 1)
            self._advance(run)
        follow_ups = await self._follow_ups(newest_limits.values(), rules, evidence)
        run = replace(run, follow_ups=tuple(follow_ups), ended=self._clock.now())
        await self._save(run)
        self._advance(run)
        self._set_metrics(run)
        log.info("thresholds reviewed", rules=run.done, proposals=len(run.proposals))

    def _set_metrics(self, run: ProposalRun) -> None:
        self._meters.set(PROPOSALS, len(run.proposals))
        self._meters.set(UNNOTICED, len(run.unnoticed))
        self._meters.set(MISSED, sum(len(it.missed) for it in run.follow_ups))

    async def _proposed(self, rule: EvaluatedRule, evidence: Evidence, since: datetime | None) -> Proposal | Refusal:
        try:
            return await self._review.propose(rule, evidence, since)
        except Exception as error:  # a bug costs one rule
            log.exception("threshold review failed", rule=rule.name)
            return Refusal(rule.name, f"{type(error).__name__}: {error}")

    async def _follow_ups(
        self, limits: Iterable[AppliedLimit], rules: Sequence[EvaluatedRule], evidence: Evidence
    ) -> list[FollowUp]:
        """Compare the newest limit of each rule; those before it are in force no longer."""
        found = []
        for it in limits:
            rule = next((one for one in rules if one.name == it.rule), None)
            try:
                found.append(await follow_up(it, rule, evidence, self._history, self._review, self._zone))
            except Exception:  # a bug, or state that fails, costs one comparison
                log.exception("applied limit not compared", rule=it.rule)
        return found

    async def _save(self, run: ProposalRun) -> None:
        ended = run.ended or run.started

        def work(connection: Connection) -> None:
            repository.save_run(connection, run, ended)
            repository.prune(connection, ended - RETENTION)

        try:
            await self._state.transaction(work)
        except StateError as error:
            # It is shown from memory, until the next start or reload.
            log.warning("review of thresholds not saved", error=str(error))

    def _advance(self, run: ProposalRun) -> None:
        self._last = run
        self._advanced.set()
        self.changes += 1

    def health(self) -> HealthStatus:
        """Return what it does: it is never unhealthy."""
        if self._last and self._last.ended is None:
            return HealthStatus(True, f"{self._last.done} of {self._last.total} rules reviewed")
        return HealthStatus(True, "idle")
