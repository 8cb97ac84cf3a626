"""A made proposal with all that it may have."""

from datetime import timedelta

from tests.fakes import FakeClock
from toban.core.replay import RuleChange
from toban.review.alert_review import EvaluatedRule
from toban.review.follow_up import AppliedLimit
from toban.review.judgement import Detection, JudgedChange, ListedFiring
from toban.review.proposals import Proposal
from toban.review.true_incident import TrueIncident
from toban.review.value_curve import ValueCurve

NOW = FakeClock().now()
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
INCIDENT = TrueIncident("The disk is full", NOW - 9 * DAY, NOW - 8 * DAY, 7)
MISSED = TrueIncident("Nobody can pay", NOW - 5 * DAY, NOW - 5 * DAY + 20 * MINUTE, 8)


def judged(limit: float = 0.92, for_: timedelta | None = None, missed: tuple[TrueIncident, ...] = ()) -> JudgedChange:
    """Return a judged change."""
    firing = ListedFiring("instance=web-1", NOW - 3 * DAY, NOW - 3 * DAY + 4 * MINUTE, 2)
    found = () if missed else (Detection(INCIDENT, 3 * MINUTE),)
    return JudgedChange(
        RuleChange(limit, for_), "quantile 99.0%", 40, 80, (firing,), found, missed, 3 * MINUTE, 3 * MINUTE, True
    )


def proposal(
    rule: str = "disk_usage_high", expression: str = "x > 0.9", for_: timedelta = 5 * MINUTE, limit: float = 0.9
) -> Proposal:
    """Return a proposal for a rule."""
    curve = ValueCurve(1_760_000_000_000, 10_800_000, (0.5, None, 0.97), (NOW - 9 * DAY,), (NOW - 3 * DAY,))
    others = (judged(0.95, missed=(MISSED,)),)
    return Proposal(
        rule, limit, for_, judged(0.92, 10 * MINUTE), 50, 89.9, expression, others, (INCIDENT, MISSED), curve
    )


def rule_of(it: Proposal) -> EvaluatedRule:
    """Return the rule that a proposal is for, as it is evaluated."""
    return EvaluatedRule(it.rule, "P3", True, (), "x", ">", it.limit, it.for_, expression=it.expression)


def applied_limit(rule: str = "disk_usage_high", days: float = 0.0) -> AppliedLimit:
    """Return a limit that was applied some days later than now."""
    at = NOW + days * DAY
    return AppliedLimit(rule, at, "ann", 0.9, 5 * MINUTE, 0.92, 10 * MINUTE, 50, 40, 1, 89.9, "quantile 99.0%")
