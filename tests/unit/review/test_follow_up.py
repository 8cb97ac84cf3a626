"""Whether a limit that was applied has helped."""

from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest

from tests.fakes import FakeClock
from toban.core.errors import QueryError
from toban.core.labels import Labels
from toban.core.replay import ReplayedFiring, RuleChange, RuleReplay
from toban.review.alert_review import EvaluatedRule
from toban.review.firing import Firing, FiringAct
from toban.review.follow_up import AppliedLimit, Verdict, follow_up
from toban.review.proposals import Evidence
from toban.review.true_incident import TrueIncident

UTC = ZoneInfo("UTC")
AT = FakeClock().now()
DAY, HOUR = timedelta(days=1), timedelta(hours=1)
APPLIED = AppliedLimit("slow", AT, "ann", 90.0, HOUR * 0, 95.0, HOUR * 0, 50, 40, 2, 90.0, "quantile 99.0%", 3)
SLOW = Labels(alertname="slow")


def rule(limit=95.0, for_=HOUR * 0):
    return EvaluatedRule("slow", "P3", True, (), "x", ">", limit, for_)


def firing(day, *acts):
    at = AT + day * DAY
    found = tuple(FiringAct(kind, at) for kind in acts)
    return Firing("slow", "1", SLOW, at, at, "2026-01", at + HOUR, acts=found, pages=1)


class OldLimit:
    """Replays the limit of before."""

    def __init__(self, *days, error=None):
        self.days, self.error, self.asked = days, error, []

    async def replay(self, name, begins, ends, change):
        if self.error:
            raise self.error
        self.asked.append((name, begins, ends, change))
        fired = [ReplayedFiring(SLOW, AT + it * DAY, AT + it * DAY) for it in self.days]
        return RuleReplay(name, begins, ends, timedelta(minutes=1), fired)


async def compared(firings, days=28, present=None, old=None, incidents=()):
    async def history(begins, ends, name):
        return [it for it in firings if begins <= it.fired < ends and it.rule == name]

    evidence = Evidence(AT + days * DAY, incidents)
    return await follow_up(APPLIED, present or rule(), evidence, history, old or OldLimit(), UTC)


async def test_the_time_after_it_is_compared_with_as_much_before():
    """
    What is longer ago than that does not count.
    """
    firings = [firing(it / 2) for it in range(-120, 0)] + [firing(it, "note") for it in (3, 9, 15, 20, 27)]
    old = OldLimit()
    found = await compared(firings, old=old)
    assert (found.verdict, found.days, found.applied) == (Verdict.HELPED, 28, 3)
    assert (found.before.fired, found.before.per_week, found.before.acted_on) == (56, 14, 0)
    assert (found.after.fired, found.after.per_week, found.after.acted_on, found.after.pages) == (5, 1.25, 1, 5)
    assert old.asked == [("slow", AT, AT + 28 * DAY, RuleChange(90.0, HOUR * 0))]


async def test_an_incident_that_only_the_limit_before_would_have_found_is_missed():
    incidents = [TrueIncident("disk", AT + it * DAY, AT + it * DAY + HOUR, it) for it in (-5, 5, 10, 15)]
    found = await compared(
        [firing(it) for it in range(-20, 0)] + [firing(5)], old=OldLimit(-5, 5, 10), incidents=incidents
    )
    assert (found.verdict, [it.id for it in found.missed]) == (Verdict.MISSES, [10])


@pytest.mark.parametrize(
    ("days", "present", "verdict"),
    [
        (13, rule(), Verdict.TOO_EARLY),
        (28, rule(90.0), Verdict.CHANGED),
        (28, rule(for_=HOUR), Verdict.CHANGED),
        (14, rule(), Verdict.NO_DIFFERENCE),
    ],
)
async def test_nothing_is_claimed_too_early_or_of_another_limit(days, present, verdict):
    assert (await compared([firing(-1), firing(1)], days, present)).verdict is verdict


async def test_without_a_replay_the_figures_are_shown_and_the_reason():
    found = await compared([firing(-1)], old=OldLimit(error=QueryError("too many samples")))
    assert (found.verdict, found.error, found.before.fired) == (Verdict.UNKNOWN, "too many samples", 1)


async def test_a_rule_that_is_gone_is_compared_with_nothing():
    async def history(begins, ends, name):
        return []

    found = await follow_up(APPLIED, None, Evidence(AT + 30 * DAY, []), history, OldLimit(), UTC)
    assert found.verdict is Verdict.CHANGED
    assert round(APPLIED.saved_per_month, 1) == 13.3
