"""Proposals of limits over three months of made history: right ones for bad limits, none for good ones."""

import re
from dataclasses import dataclass, field
from datetime import timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from tests.fakes import FakeClock
from toban.alerting.rule_change import limit_of
from toban.alerting.rule_file import parse_rule_file
from toban.alerting.rule_replays import RuleReplays
from toban.core.labels import NAME, Labels
from toban.core.samples import milliseconds
from toban.promql.engine import PromqlEngine
from toban.promql.executor import QueryExecutor
from toban.promql.memory_source import MemorySource
from toban.review.alert_review import EvaluatedRule
from toban.review.firing import Firing, FiringAct
from toban.review.proposals import LENGTH, Evidence, Proposal, Refusal, ThresholdReview
from toban.review.thresholds import candidates, pot_limit, rounded

UTC = ZoneInfo("UTC")


class NoBook:
    async def true_incidents(self, begins, ends):
        return []


BEGIN = FakeClock().now()
STEP = timedelta(minutes=5)
STEPS = LENGTH // STEP
NOW = BEGIN + LENGTH


@dataclass
class MadeRule:
    """A rule with its samples, and the incidents in which its value was bad, as first and last step."""

    name: str
    limit: float
    values: np.ndarray
    incidents: list[tuple[int, int]]
    for_: str = "0s"
    operator: str = ">"
    is_bad: bool = False
    """Whether another limit or `for` saves firings and misses no incident."""
    firings: list[Firing] = field(default_factory=list)

    @property
    def text(self) -> str:
        return f"{{alert: {self.name}, expr: '{self.name}_value {self.operator} {self.limit}', for: {self.for_}}}"


def noise(chance, mean=50.0, deviation=10.0):
    """Return noise around a mean that is higher by day."""
    day = np.sin(np.arange(STEPS) * 2 * np.pi / 288)
    return mean + 5 * day + chance.normal(0, deviation, STEPS)


def incidents_of(chance, many, length=14):
    starts = np.sort(chance.choice(np.arange(1, STEPS // 600), many, replace=False)) * 600
    return [(int(it), int(it) + length) for it in starts]


def with_incidents(chance, values, incidents, height):
    for first, last in incidents:
        values[first : last + 1] = height + chance.normal(0, 5, last + 1 - first)
    return values


def made(seed):
    """Return rules with known limits: too low, too short, below instead of above; good ones, and hopeless ones."""
    chance = np.random.default_rng(seed)
    rules = []
    for number in range(3):
        spans = incidents_of(chance, 4)
        values = with_incidents(chance, noise(chance), spans, 200)
        limit = float(np.quantile(values, 0.995 - 0.002 * number).round(1))
        rules.append(MadeRule(f"too_low_{number}", min(limit, 85.0), values, spans, is_bad=True))
    for number in range(2):
        spans = incidents_of(chance, 4)
        values = with_incidents(chance, noise(chance), spans, 150)
        values[chance.choice(STEPS, 60, replace=False)] = 300
        values = with_incidents(chance, values, spans, 150)
        rules.append(MadeRule(f"too_short_{number}", 110, values, spans, is_bad=True))
    spans = incidents_of(chance, 3)
    values = with_incidents(chance, noise(chance), spans, -40)
    rules.append(MadeRule("too_high_for_below", 25, values, spans, operator="<", is_bad=True))
    for number in range(4):
        spans = incidents_of(chance, 6 + number)
        rules.append(MadeRule(f"good_{number}", 110, with_incidents(chance, noise(chance), spans, 150), spans))
    for number in range(2):
        # What is noise is as bad, and lasts as long, as the incidents.
        spans = incidents_of(chance, 4)
        values = noise(chance)
        quiet = incidents_of(chance, 12)
        values = with_incidents(chance, values, [(a + 200, b + 200) for a, b in quiet], 160)
        rules.append(MadeRule(f"hopeless_{number}", 110, with_incidents(chance, values, spans, 150), spans))
    return rules


async def record(rules, replays):
    """Let the rules fire, and let people do something about the true incidents."""
    for rule in rules:
        (replay,) = await replays.replay(rule.name, BEGIN, NOW)
        spans = [(BEGIN + first * STEP, BEGIN + last * STEP) for first, last in rule.incidents]
        for it in replay.firings:
            is_true = any(first - STEP <= it.fired <= last for first, last in spans)
            acts = (FiringAct("note", it.fired, "ann"),) if is_true else ()
            rule.firings.append(
                Firing(rule.name, it.fingerprint, it.labels, it.began, it.fired, "2026-01", it.ended or NOW, acts=acts)
            )


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.soak), pytest.param(3, marks=pytest.mark.soak)])
async def test_bad_limits_get_right_proposals_and_good_ones_none(seed, record_property):
    rules = made(seed)
    source = MemorySource()
    times = [milliseconds(BEGIN + it * STEP) for it in range(STEPS)]
    for rule in rules:
        source.add(Labels({NAME: f"{rule.name}_value"}), zip(times, rule.values.tolist(), strict=True))
    text = "groups: [{name: made, interval: 5m, rules: [" + ", ".join(it.text for it in rules) + "]}]"
    groups = parse_rule_file(text, "made.yaml")
    replays = RuleReplays(source, groups, STEP, FakeClock(NOW))
    await record(rules, replays)
    evaluated = {}
    for rule in groups[0].alerts:
        limit = limit_of(rule)
        evaluated[rule.name] = EvaluatedRule(
            rule.name, "P2", True, rule.query.reads(), limit.left, limit.operator, float(limit.right), rule.for_, STEP
        )
    found = {}
    async with QueryExecutor(PromqlEngine(source)) as engine:
        for rule in rules:

            async def history(begins, ends, name, rule=rule):
                return rule.firings

            review = ThresholdReview(replays, engine, history, NoBook(), lambda begins, ends: (), UTC)
            found[rule.name] = await review.propose(evaluated[rule.name], await review.evidence(NOW))

    proposed = {name for name, it in found.items() if isinstance(it, Proposal)}
    bad = {it.name for it in rules if it.is_bad}
    precision = len(proposed & bad) / len(proposed) if proposed else 0.0
    recall = len(proposed & bad) / len(bad)
    print(f"seed {seed}: precision {precision:.2f}, recall {recall:.2f}")
    for name, it in found.items():
        print(f"  {name}: {it.change if isinstance(it, Proposal) else it.reason}")
    record_property("precision", precision)
    record_property("recall", recall)
    assert (precision, recall) == (1.0, 1.0), found
    for rule in rules:
        it = found[rule.name]
        if not rule.is_bad:
            continue
        judged = it.judged
        assert len(judged.found) == len(it.incidents) == len(rule.incidents) and not judged.missed
        assert judged.saved >= 0.5 * (it.fired - len(judged.found)), it
        assert judged.later <= timedelta(minutes=15) and judged.later <= judged.worst
        assert len(it.curve.saved) + len(it.curve.kept) == min(it.fired, 1000)
        assert judged.saved_firings and all(one.fired in it.curve.saved for one in judged.saved_firings)
        if rule.name.startswith("too_short"):
            assert it.change.for_
        elif it.change.limit is not None:
            low, high = sorted((rule.limit, -60 if rule.operator == "<" else 220))
            assert low < it.change.limit < high
    assert "people act on it" in {it.reason for it in found.values() if isinstance(it, Refusal)}


def test_incidents_are_cut_out_before_a_quantile():
    """
    A month by the minute with two incidents of 50 minutes: the extrapolated limit is near the quiet maximum without
    them.
    """
    chance = np.random.default_rng(7)
    values = 0.5 + chance.normal(0, 0.08, 43_200)
    times = np.arange(43_200, dtype=np.int64) * 60_000
    spoilt = values.copy()
    spoilt[10_000:10_025] = spoilt[30_000:30_025] = 3.0
    quiet, with_incidents = pot_limit(times, values), pot_limit(times, spoilt)
    assert isinstance(quiet, float) and values.max() * 0.9 < quiet < values.max() * 1.2
    assert not isinstance(with_incidents, float) or with_incidents > 1.3 * quiet


@pytest.mark.parametrize(
    ("times", "values", "reason"),
    [
        (np.arange(100) * 60_000, np.arange(100.0), "less than 14 days"),
        (np.arange(43_200) * 60_000, np.ones(43_200), "no excesses"),
        (np.arange(21_600) * 60_000, np.repeat([1.0, 5.0], [21_400, 200]), "no excesses|only"),
    ],
)
def test_nothing_is_extrapolated_from_too_little(times, values, reason):
    found = pot_limit(times.astype(np.int64), values)
    assert isinstance(found, str) and re.search(reason, found), found


def test_a_heavy_tail_is_refused():
    chance = np.random.default_rng(3)
    values = chance.pareto(1.1, 43_200)
    found = pot_limit(np.arange(43_200, dtype=np.int64) * 60_000, values)
    assert isinstance(found, str) and "tail is heavy" in found


@pytest.mark.parametrize(
    ("value", "up", "expected"),
    [
        (84.321, True, 84.4),
        (84.321, False, 84.3),
        (0.00012345, True, 0.000124),
        (-84.321, True, -84.3),
        (0, True, 0),
        (1234567, True, 1240000),
        (85, False, 85),
    ],
)
def test_limits_have_three_digits(value, up, expected):
    assert rounded(value, up=up) == expected


def test_the_highest_limit_that_finds_all_incidents_is_a_candidate():
    times = np.arange(100, dtype=np.int64) * 60_000
    for peak, limit in [(7.123, 7.12), (108.0, 107.0), (0.9, 0.899), (-5.0, -5.01), (0.0, -0.001), (100.0, 99.0)]:
        found = candidates(times, np.linspace(0, 1, 100), np.array([peak, 900.0]))
        assert [it.limit for it in found if "finds all" in it.source] == [limit]


async def test_what_can_not_be_replayed_is_refused_in_words():
    async def history(begins, ends, rule):
        return []

    review = ThresholdReview(None, None, history, NoBook(), lambda begins, ends: (), UTC)
    for rule, reason in [
        (EvaluatedRule("application_down", "P1", True, (), "x", ">", 1.0), "has a meaning"),
        (EvaluatedRule("backup_too_old", "P2", True, (), "x", ">", 1.0), "has a meaning"),
        (EvaluatedRule("certificate_expires", "P3", True, (), "x", ">", 1.0), "has a meaning"),
        (EvaluatedRule("errors_logged", "P3", True, (), engine="logs"), "counts log lines"),
        (EvaluatedRule("disk_outside", "P3", True, (), engine="outside"), "an engine outside of toban"),
        (EvaluatedRule("joined", "P3", True, ()), "no single comparison"),
        (EvaluatedRule("rare", "P3", True, (), "x", ">", 1.0), "fired less than 5 times"),
    ]:
        found = await review.propose(rule, Evidence(NOW, []))
        assert isinstance(found, Refusal) and reason in found.reason
