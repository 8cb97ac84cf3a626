"""A replay of rules over stored samples has the firings that live evaluation had."""

import asyncio
import random
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from tests.fakes import FakeClock
from tests.rule_evaluation import rule_evaluation
from toban.alerting import replay
from toban.alerting.observed_time import STARTED, observed_time
from toban.alerting.replay_source import ReplaySource
from toban.alerting.rule_file import parse_rule_file
from toban.alerting.rule_replays import RuleReplays
from toban.core.alerts import TOPIC, AlertChange, AlertStatus
from toban.core.errors import InvalidCommandError, NotFoundError
from toban.core.labels import NAME, Labels
from toban.core.matchers import Matcher, MatchOperator
from toban.core.query_result import ResultSeries
from toban.core.replay import RuleChange
from toban.core.samples import STALE, is_stale, milliseconds
from toban.promql.engine import PromqlEngine
from toban.promql.memory_source import MemorySource
from toban.state import event_log

START = FakeClock().now()
STEP = 15

RULES = """
groups:
- name: shop
  interval: 15s
  rules:
  - record: job:load:max
    expr: max by (job) (load)
  - {alert: loaded, expr: load > 5, for: 1m, labels: {severity: warning}}
  - {alert: loaded_at_once, expr: load > 7}
  - {alert: kept, expr: load > 6, for: 30s, keep_firing_for: 2m}
  - {alert: down, expr: up == 0, for: 30s, labels: {severity: critical}}
  - {alert: failing, expr: "increase(failures_total[2m]) > 2"}
  - {alert: gone, expr: absent(load), for: 45s}
  - {alert: level, expr: load > 4, labels: {level: "{{ if gt $value 8.0 }}high{{ else }}low{{ end }}"}}
  - {alert: doubled, expr: load > 3 and on () count(load) > 1}
  - {alert: clashing, expr: load * on () load > 2}
- name: slow
  interval: 1m
  rules:
  - {alert: recorded, expr: "job:load:max > 5", for: 2m}
  - {alert: recorded_for_long, expr: "avg_over_time(job:load:max[3m]) > 4"}
"""


class Samples:
    """All samples, and beside them those that live evaluation may still read: it asks for few, and often."""

    def __init__(self) -> None:
        self.all = MemorySource()
        self.recent = MemorySource()
        self._kept: list[tuple[Labels, int, float]] = []

    def add(self, labels: Labels, at: int, value: float) -> None:
        for source in (self.all, self.recent):
            source.add(labels, [(at, value)])
        self._kept.append((labels, at, value))

    def forget(self, before: int) -> None:
        self._kept = [it for it in self._kept if it[1] >= before]
        self.recent = MemorySource()
        for labels, at, value in self._kept:
            self.recent.add(labels, [(at, value)])


async def live(folder, seed, length, rules=RULES):
    """
    Evaluate rules while series come, go and change, and toban stops and starts again.

    Return the samples, the clock at the end, and each firing.
    """
    chance, clock, samples = random.Random(seed), FakeClock(), Samples()
    end = START + length
    failures = 0.0
    changes, read = [], 0

    def sample(name, value, **labels):
        samples.add(Labels({NAME: name, **labels}), milliseconds(clock.now()), value)

    while clock.now() < end:
        started = clock.now().timestamp()
        stops = min(end, clock.now() + timedelta(seconds=STEP * chance.choice([8, 20, 60, 120])))
        samples.forget(milliseconds(clock.now() - timedelta(minutes=10)))
        async with rule_evaluation(rules, samples.recent, folder, clock) as process:
            while clock.now() < stops:
                now = clock.now()
                sample(STARTED, started, job="toban")
                if chance.random() < 0.9:
                    sample("up", float(chance.random() < 0.8), job="web")
                for job in ("web", "worker"):
                    if chance.random() < (0.95 if now.minute % 20 < 12 else 0.2):
                        sample("load", float(chance.choice([2, 4, 6, 6, 8, 9])), job=job)
                if now.minute > 5 and chance.random() < 0.7:
                    failures += chance.choice([0, 0, 0, 1, 2])
                    sample("failures_total", failures, job="web")
                for group in process.evaluation.groups:
                    if group.group.name == "shop" or turn_of(now) % 4 == 0:
                        await process.evaluation.evaluate(group)
                        keep(samples, process.sink.batches)
                clock.advance(STEP)
            read, found = await process.state.transaction(
                lambda connection, after=read: changes_after(connection, after)
            )
            changes += found
        clock.advance(STEP * chance.choice([1, 2, 9, 45]))
    return samples.all, clock, firings(changes)


def changes_after(connection, after):
    """Return the position of the newest event, and the changes of alerts after a position."""
    query = select(event_log.EVENTS).where(event_log.EVENTS.c.topic == TOPIC, event_log.EVENTS.c.position > after)
    rows = connection.execute(query.order_by(event_log.EVENTS.c.position))
    return event_log.newest_position(connection), [AlertChange.from_dict(row.body) for row in rows]


def turn_of(at):
    return round((at - START).total_seconds() / STEP)


def keep(samples, batches):
    """Store what recording rules have made, and not the series about alerts."""
    for batch in batches:
        for labels, value in zip(batch.layout.series, batch.values, strict=True):
            if labels.name not in {"ALERTS", "ALERTS_FOR_STATE"}:
                samples.add(labels, batch.at, float(value))
    batches.clear()


def firings(changes):
    found = {}
    for change in changes:
        alert = change.alert
        found[alert.name, str(alert.labels), alert.fired] = alert.ends if alert.status is AlertStatus.RESOLVED else None
    return sorted((*key, end) for key, end in found.items() if key[0] != "rule_evaluation_failed")


def replayed(replays):
    return sorted((it.rule, str(one.labels), one.fired, one.ended) for it in replays for one in it.firings)


async def agree(folder, seed, length, rules=RULES):
    source, clock, expected = await live(folder, seed, length, rules)
    groups = parse_rule_file(rules, "rules.yaml")
    names = [rule.name for group in groups for rule in group.alerts]
    replays = RuleReplays(source, groups, timedelta(seconds=STEP), clock)
    by_name = [it for name in names for it in await replays.replay(name, START, clock.now())]
    whole = await replays.replay_groups(groups, START, clock.now())
    assert replayed(by_name) == expected
    assert replayed(whole) == expected
    return expected


@pytest.mark.parametrize("seed", range(4))
async def test_a_replay_has_the_firings_of_live_evaluation(tmp_path, seed):
    """
    Over restarts, gaps, series that come and go, counters that appear, rules that fail and rules on recorded series.
    """
    expected = await agree(tmp_path, seed, timedelta(hours=2))
    assert {it[0] for it in expected} >= {"loaded", "down", "kept", "recorded"}


@pytest.mark.soak
@pytest.mark.parametrize("seed", [100, 101])
async def test_a_replay_of_a_week_has_the_firings_of_live_evaluation(tmp_path, seed, monkeypatch):
    """
    Without the rule that fails at every second evaluation: such a replay is given up. Some rules fire more often than a
    replay returns.
    """
    monkeypatch.setattr(replay, "MOST_FIRINGS", 100_000)
    rules = "".join(line for line in RULES.splitlines(keepends=True) if "clashing" not in line)
    assert len(await agree(tmp_path, seed, timedelta(days=7), rules)) > 5_000


def source_of(name="load", values=(), **labels):
    """Return a source with one series, a value for each step from the start of the test."""
    source = MemorySource()
    times = ((milliseconds(START) + it * STEP * 1000, value) for it, value in enumerate(values) if value is not None)
    source.add(Labels({NAME: name, **labels}), times)
    return source


def replays_of(source, rules, length=timedelta(hours=1)):
    clock = FakeClock(START + length)
    return RuleReplays(source, parse_rule_file(rules, "rules.yaml"), timedelta(seconds=STEP), clock), clock.now()


LOADED = "groups: [{name: shop, rules: [{alert: loaded, expr: load > 5, for: 1m}]}]"


async def test_a_rule_is_replayed_with_another_limit_and_for():
    source = source_of(values=[1.0] * 20 + [6.0] * 20 + [1.0] * 20 + [9.0] * 2 + [1.0] * 100)
    replays, now = replays_of(source, LOADED)

    async def fired(**change):
        (it,) = await replays.replay("loaded", START, now, RuleChange(**change))
        return [(one.fired - START) // timedelta(seconds=STEP) for one in it.firings]

    assert await fired() == [24]
    assert await fired(for_=timedelta()) == [20, 60]
    assert await fired(limit=8, for_=timedelta()) == [60]
    assert await fired(limit=9) == []


async def test_what_fires_when_the_replay_begins_is_not_new():
    replays, now = replays_of(source_of(values=[9.0] * 240), LOADED)
    (it,) = await replays.replay("loaded", START + timedelta(minutes=30), now)
    assert (list(it.firings), it.before) == ([], 1)


async def test_time_in_which_toban_did_not_run_is_blind():
    source = source_of(values=[9.0] * 240)
    runs = [(milliseconds(START) + it * 15_000, 1.0) for it in range(240) if not 100 <= it < 160]
    source.add(Labels({NAME: STARTED, "job": "toban"}), runs)
    replays, now = replays_of(source, LOADED)
    (it,) = await replays.replay("loaded", START, now)
    assert timedelta(minutes=14) < it.blind <= timedelta(minutes=15)
    (one,) = it.firings
    assert one.fired == START + timedelta(minutes=1)
    # What was before the time that is asked about is not counted.
    (it,) = await replays.replay("loaded", START + timedelta(minutes=45), now)
    assert (it.blind, it.evaluations) == (timedelta(), 60)


@pytest.mark.parametrize(
    ("rules", "error"),
    [
        (LOADED.replace("> 5", "> load @ start()"), "`@ start\\(\\)`"),
        (LOADED.replace("rules: [", "engine: outside, rules: ["), "`engine: outside`"),
        ("groups: [{name: shop, rules: [{record: load, expr: up}]}]", "no alerting rules"),
        (
            "groups: [{name: a, rules: [{record: b, expr: c}, {record: c, expr: b}, {alert: d, expr: c}]}]",
            "reads its own series",
        ),
    ],
)
async def test_what_can_not_be_replayed_is_refused(rules, error):
    replays, now = replays_of(source_of(values=[9.0]), rules)
    with pytest.raises(InvalidCommandError, match=error):
        await replays.replay_groups(replays.groups, START, now)


async def test_an_unknown_rule_and_a_time_that_is_too_long_are_refused():
    replays, now = replays_of(source_of(values=[9.0]), LOADED)
    with pytest.raises(NotFoundError, match="no alerting rule 'nothing'"):
        await replays.replay("nothing", START, now)
    for begins, ends in [(now, START), (now - timedelta(days=93), now)]:
        with pytest.raises(InvalidCommandError, match="92 days at most"):
            await replays.replay("loaded", begins, ends)


async def test_a_replay_is_cancelled_at_once():
    replays, now = replays_of(source_of(values=[9.0] * 5000), LOADED, timedelta(days=80))
    task = asyncio.create_task(replays.replay("loaded", START, now))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    (it,) = await replays.replay("loaded", START, START + timedelta(minutes=5))
    assert len(it.firings) == 1


def series_of(name, steps, values):
    kept = [it for it, value in enumerate(values) if value is not None]
    return ResultSeries(Labels({NAME: name}), steps[kept], np.array([it for it in values if it is not None], float))


@given(st.lists(st.one_of(st.none(), st.integers(0, 9)), min_size=1, max_size=30), st.integers(1, 10))
def test_recorded_series_have_stale_markers_where_they_end_however_they_are_sliced(values, size):
    """
    As a writer that records at each step would leave them.
    """
    source, expected = ReplaySource(MemorySource(), ["x"]), MemorySource()
    steps = np.arange(len(values), dtype=np.int64) * 1000
    label, was = Labels({NAME: "x"}), False
    for at, value in enumerate(values):
        if value is not None or was:
            expected.add(label, [(at * 1000, STALE if value is None else float(value))])
        was = value is not None
    for start in range(0, len(values), size):
        part, piece = steps[start : start + size], values[start : start + size]
        one = series_of("x", part, piece)
        source.record(("x", 0), {label: one} if len(one.times) else {}, part)
    matchers = [Matcher(NAME, MatchOperator.EQUAL, "x")]
    found = [
        [(block.times.tolist(), np.where(is_stale(block.values), -1, block.values).tolist()) for block in blocks]
        for blocks in (source.select(matchers, 0, 10**9), expected.select(matchers, 0, 10**9))
    ]
    assert found[0] == found[1]


def test_a_replaced_metric_hides_that_of_the_store():
    """
    Also for a selector that does not name it.
    """
    store = source_of("x", [1.0], job="a")
    store.add(Labels({NAME: "y"}), [(milliseconds(START), 2.0)])
    source = ReplaySource(store, ["x"])
    engine = PromqlEngine(source)
    at = milliseconds(START)
    assert engine.instant("x", at).series == ()
    assert [it.last for it in engine.instant('{__name__=~"x|y"}', at).series] == [2.0]
    assert source.oldest([Matcher(NAME, MatchOperator.EQUAL, "x")]) is None


def test_when_toban_ran_is_read_from_its_start_time():
    """
    A quick restart is two runs; a gap of a suspended machine ends one.
    """
    source, base = MemorySource(), milliseconds(START)
    started = START.timestamp()
    for at in [*range(0, 300, 30), *range(900, 1200, 30)]:
        source.add(Labels({NAME: STARTED, "job": "toban"}), [(base + at * 1000, started)])
    for at in range(1215, 1500, 30):
        source.add(Labels({NAME: STARTED, "job": "toban"}), [(base + at * 1000, started + 1200)])
    observed = observed_time(source, base, base + 10**7)
    seconds = [((it.first - base) // 1000, (it.last - base) // 1000) for it in observed.runs]
    assert seconds == [(0, 270), (900, 1170), (1200, 1485)]
    assert observed.started_within(base + 1_300_000, timedelta(minutes=10))
    assert not observed.started_within(base + 1_100_000, timedelta(minutes=10))
    assert not observed_time(MemorySource(), base, base + 1).known
