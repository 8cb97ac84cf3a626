"""The review of thresholds in the background."""

import asyncio
from datetime import timedelta

import pytest

from tests.fakes import FakeClock
from toban.core.actor import Actor
from toban.core.errors import ActionError, InvalidCommandError
from toban.core.metric_registry import MetricRegistry
from toban.core.replay import RuleChange
from toban.review.alert_review import EvaluatedRule
from toban.review.proposal_service import PROPOSALS, ProposalService
from toban.review.proposals import Proposal, Refusal

ANN = Actor("ann", "session")
RULES = [EvaluatedRule(name, "P2", True, ()) for name in ("noisy", "good", "broken")]


class FixedReview:
    def __init__(self) -> None:
        self.go_on = asyncio.Event()

    async def propose(self, rule, now):
        await self.go_on.wait()
        if rule.name == "broken":
            raise KeyError("x")
        if rule.name == "good":
            return Refusal("good", "people act on it")
        nothing = timedelta()
        return Proposal("noisy", 1.0, nothing, RuleChange(2.0), 10, 8, 1, nothing, 90.0, "quantile 99.0%", "x > 1")


async def settled():
    for _ in range(10):
        await asyncio.sleep(0)


async def test_every_rule_gets_a_proposal_or_a_reason():
    """
    A bug in one costs that one.
    """
    review, meters = FixedReview(), MetricRegistry()
    service = ProposalService(review, lambda: RULES, FakeClock(), meters)
    task = asyncio.create_task(service.run())
    started = service.start(ANN)
    assert (started.total, started.done, started.ended) == (3, 0, None)
    with pytest.raises(InvalidCommandError, match="goes on already"):
        service.start(ANN)
    review.go_on.set()
    await settled()
    last = service.last
    assert last.ended and last.done == 3
    assert [it.rule for it in last.proposals] == ["noisy"]
    assert last.proposals[0].override == {"limit": "2"}
    assert {it.rule: it.reason for it in last.refusals} == {"good": "people act on it", "broken": "KeyError: 'x'"}
    assert meters.value(PROPOSALS) == 1
    assert service.start(ANN).ended is None
    task.cancel()
    await asyncio.wait([task])


async def test_who_waits_for_a_review_is_told_how_far_it_is_and_gets_what_is_proposed():
    review, told = FixedReview(), list[str]()
    review.go_on.set()
    service = ProposalService(review, lambda: RULES, FakeClock(), MetricRegistry())
    task = asyncio.create_task(service.run())
    assert [it.rule for it in await service.review(ANN, told.append)] == ["noisy"]
    assert told[0] == "0 of 3 rules"
    task.cancel()


async def test_who_waits_for_a_review_learns_that_a_reload_has_ended_it():
    service = ProposalService(FixedReview(), lambda: RULES, FakeClock(), MetricRegistry())
    task = asyncio.create_task(service.run())
    waiting = asyncio.create_task(service.review(ANN, lambda _: None))
    await settled()
    task.cancel()
    with pytest.raises(ActionError, match="the configuration was reloaded meanwhile"):
        await waiting
    assert service.last.ended
