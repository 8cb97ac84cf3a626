"""The review of thresholds in the background, and what is kept of it."""

import asyncio
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from zoneinfo import ZoneInfo

import pytest

from tests.fakes import FakeClock
from tests.review_fixtures import DAY, INCIDENT, applied_limit, proposal, rule_of
from toban.core.actor import Actor
from toban.core.errors import ActionError, InvalidCommandError, StateError
from toban.core.metric_registry import MetricRegistry
from toban.core.replay import RuleReplay
from toban.review import limit_repository
from toban.review.alert_review import EvaluatedRule
from toban.review.follow_up import Verdict
from toban.review.proposal_run import MOST_JUDGED, MOST_PROPOSALS, ProposalRun, with_proposal, with_refusal
from toban.review.proposal_service import PROPOSALS, UNNOTICED, ProposalService
from toban.review.proposals import Evidence, Refusal
from toban.state.backends import SqliteBackend
from toban.state.database import State

ANN = Actor("ann", "session")
NOISY = rule_of(proposal("noisy"))
RULES = [NOISY, EvaluatedRule("good", "P2", True, ()), EvaluatedRule("broken", "P2", True, ())]


class FixedReview:
    def __init__(self) -> None:
        self.go_on = asyncio.Event()
        self.error = None
        self.since = {}

    async def evidence(self, now):
        if self.error:
            raise self.error
        return Evidence(now, [INCIDENT], [INCIDENT])

    async def propose(self, rule, evidence, since):
        await self.go_on.wait()
        self.since[rule.name] = since
        if rule.name == "broken":
            raise KeyError("x")
        return Refusal("good", "people act on it") if rule.name == "good" else proposal("noisy")

    async def replay(self, rule, begins, ends, change):
        return RuleReplay(rule, begins, ends, DAY)


@pytest.fixture
async def state(tmp_path):
    async with State(SqliteBackend(tmp_path / "toban.db"), FakeClock(), MetricRegistry()) as state:
        yield state


@asynccontextmanager
async def running(state, review=None, rules=RULES, clock=None):
    async def history(begins, ends, rule):
        return []

    meters = MetricRegistry()
    review = review or FixedReview()
    service = ProposalService(review, lambda: rules, history, ZoneInfo("UTC"), state, clock or FakeClock(), meters)
    task = asyncio.create_task(service.run())
    try:
        yield service, review, meters
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def until(condition):
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110  # a transaction of the service has no event
            await asyncio.sleep(0.001)


async def ended(service):
    """Wait for the end of the run."""
    await until(lambda: not service.is_running)
    return await service.last()


async def test_every_rule_gets_a_proposal_or_a_reason(state):
    """
    A bug in one costs that one.
    """
    async with running(state) as (service, review, meters):
        assert await service.last() is None
        started = service.start(ANN)
        assert (started.total, started.done, started.ended) == (3, 0, None)
        with pytest.raises(InvalidCommandError, match="goes on already"):
            service.start(ANN)
        review.go_on.set()
        last = await ended(service)
        assert last.done == 3 and not last.error
        assert last.proposals == (proposal("noisy"),)
        assert last.proposals[0].override == {"limit": "0.92", "for": "10m"}
        assert {it.rule: it.reason for it in last.refusals} == {"good": "people act on it", "broken": "KeyError: 'x'"}
        assert (last.incidents, last.unnoticed) == (1, (INCIDENT,))
        assert (meters.value(PROPOSALS), meters.value(UNNOTICED)) == (1, 1)
        assert service.start(ANN).ended is None


async def test_proposals_outlive_a_restart_and_are_void_once_their_rule_has_changed(state):
    async with running(state) as (service, review, _):
        review.go_on.set()
        service.start(ANN)
        found = await ended(service)
    async with running(state) as (service, _, meters):
        again = await service.last()
        assert again == found
        assert not service.void(again.proposals)
        await until(lambda: meters.value(PROPOSALS) == 1)
    for rules in ([], [NOISY, NOISY], [replace(NOISY, expression="x > 1")], [replace(NOISY, for_=DAY)]):
        async with running(state, rules=rules) as (service, _, _):
            assert service.void((await service.last()).proposals) == {"noisy"}


async def test_applied_limits_are_compared_the_newest_of_each_rule(state):
    old, new, early = applied_limit("noisy", -60), applied_limit("noisy", -30), applied_limit("good", -5)

    def work(connection):
        return [limit_repository.add_applied(connection, it) for it in (old, new, early)]

    _, newest, young = await state.transaction(work)
    rules = [replace(NOISY, limit=0.92, for_=new.for_), replace(NOISY, name="good", limit=0.92, for_=new.for_)]
    async with running(state, rules=rules) as (service, review, _):
        review.go_on.set()
        service.start(ANN)
        found = (await ended(service)).follow_ups
        assert {it.applied: it.verdict for it in found} == {newest: Verdict.NO_DIFFERENCE, young: Verdict.TOO_EARLY}
        assert [it.rule for it in await service.applied()] == ["good", "noisy", "noisy"]
        assert review.since == {"noisy": new.at, "good": early.at}


async def test_who_waits_for_a_review_is_told_how_far_it_is_and_gets_what_is_found(state):
    told = list[str]()
    async with running(state) as (service, review, _):
        review.go_on.set()
        assert [it.rule for it in (await service.review(ANN, told.append)).proposals] == ["noisy"]
        assert told[0] == "0 of 3 rules"


async def test_a_reload_ends_a_review_and_the_one_before_stays(state):
    async with running(state) as (service, review, _):
        review.go_on.set()
        service.start(ANN)
        before = await ended(service)
    async with running(state) as (service, _, _):
        waiting = asyncio.create_task(service.review(ANN, lambda _: None))
        await until(lambda: service.is_running)
        await asyncio.sleep(0)
    with pytest.raises(ActionError, match="the configuration was reloaded meanwhile"):
        await waiting
    async with running(state) as (service, _, _):
        assert await service.last() == before


async def test_a_review_without_state_says_so(state):
    async with running(state) as (service, review, _):
        review.error = StateError("disk full")
        service.start(ANN)
        assert (await ended(service)).error == "disk full"
        with pytest.raises(ActionError, match="disk full"):
            await service.review(ANN, lambda _: None)


def test_what_is_kept_of_a_run_is_bounded():
    """
    Those proposals that save most; of refusals the reasons, and of some the limits that were tried.
    """
    run = ProposalRun(FakeClock().now(), "ann", 500)
    for number in range(100):
        found = proposal(f"rule{number}")
        run = with_proposal(run, replace(found, judged=replace(found.judged, saved=number)))
        run = with_refusal(run, Refusal(f"other{number}", "no", found.others))
    assert [it.judged.saved for it in run.proposals] == list(range(99, 99 - MOST_PROPOSALS, -1))
    assert len(run.refusals) == 100 and sum(bool(it.judged) for it in run.refusals) == MOST_JUDGED
