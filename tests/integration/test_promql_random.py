"""
Random queries to a real Prometheus and to toban's own store, over the same random samples.

Prometheus is fed by remote write, so that series end as they do in life: with a marker. Known differences between its
version here (2.42) and 3, which toban follows, are kept out of reach rather than forgiven:

- Windows and lookbacks are closed on the left in 2: no sample lies where one can begin (times end in .25 and .5 s).
- Near nought a counter is extrapolated otherwise: counters begin at 9,000, resets leave them most of that, and `rate`
  is asked of nothing else.
- `stddev`, `stdvar` and `avg` round otherwise: numbers are equal to nine digits. 2 has a deviation of what is infinite.
- 2.42 moves the window of `predict_linear(x[5m] @ t, …)` from step to step: it is asked without `@`.
- 2.42 keeps metrics' names after `atan2`, and finds a date in NaN.
- Of equals, `topk` takes those that happen to come first: it is asked of what is hardly ever equal.
"""

import json
import math
import random
import urllib.error
import urllib.parse
import urllib.request
from datetime import timedelta

import numpy as np
import pytest

from tests import servers
from tests.fakes import FakeClock
from toban.core.errors import QueryError
from toban.core.labels import Labels
from toban.core.metric_registry import MetricRegistry
from toban.core.samples import ABSENT, STALE, Batch, Layout, milliseconds
from toban.promql.engine import PromqlEngine
from toban.promql.query_limits import QueryLimits
from toban.remote.remote_write_model import HEADERS
from toban.remote.remote_write_protobuf import Encoder
from toban.tsdb.settings import TsdbSettings
from toban.tsdb.store import Store

EVERY, LOOKS = 15_000, 280
END = milliseconds(FakeClock().now()) + LOOKS * EVERY
BEGIN = END - LOOKS * EVERY + 250
START, STOP, STEP = BEGIN + 900_250, END - 299_500, 61_000


class Target:
    """One target: series that have times in common, and come and go together."""

    def __init__(self, chance, job, instance):
        self.chance, self.names = chance, {"job": job, "instance": instance}
        self.kinds = []
        for code in ("200", "404", "500"):
            self.kinds.append((Labels(self.names, __name__="requests_total", code=code), "counter"))
        self.kinds += [(Labels(self.names, __name__=name), "gauge") for name in ("load", "limit")]
        for le in ("0.1", "0.5", "1.0", "+Inf"):
            self.kinds.append((Labels(self.names, __name__="took_bucket", le=le), "counter"))
        self.layout = Layout(labels for labels, _ in self.kinds)
        self.now = [9000.0 + chance.randrange(50) if kind == "counter" else 1.0 for _, kind in self.kinds]
        self.alive = True

    def look(self, at):
        """Return what a look brings, or nothing."""
        chance = self.chance
        if chance.random() < 0.02:
            self.alive = not self.alive
            if not self.alive:
                return Batch(self.layout, at, np.full(len(self.layout), STALE))
        if not self.alive or chance.random() < 0.03:
            return None
        values = []
        for place, (_, kind) in enumerate(self.kinds):
            if kind == "counter":
                reset = chance.random() < 0.01
                self.now[place] = (
                    self.now[place] * 7 // 10 if reset else self.now[place] + chance.choice([0, 0, 1, 2, 7.5])
                )
            else:
                self.now[place] = chance.choice([self.now[place], chance.gauss(0, 100), float(chance.randrange(9))])
            values.append(ABSENT if chance.random() < 0.02 else self.now[place])
        return Batch(self.layout, at, np.array(values))


def all_scrapes(seed):
    """Return all looks at all targets, in order of time."""
    chance = random.Random(seed)
    targets = [Target(chance, job, instance) for job in ("a", "b") for instance in ("1", "2", "3")]
    for number in range(LOOKS):
        for target in targets:
            batch = target.look(BEGIN + number * EVERY + chance.choice([0, 0, 1000, 2000]))
            if batch:
                yield batch


class Author:
    """Writes questions: each method one that comes to a vector, a range or a number."""

    SPANS = ("40s", "2m", "5m", "11m")
    RANGED = ("irate", "idelta", "delta", "deriv", "changes", "resets", "last_over_time")
    OVER_TIME = ("avg", "min", "max", "sum", "count", "stddev", "stdvar", "present")
    PLAIN = ("abs", "ceil", "floor", "sgn", "sqrt", "exp", "ln", "log2", "log10", "timestamp", "sort")
    DATES = ("hour", "minute", "day_of_week", "day_of_month", "days_in_month", "month", "year")
    FOLDS = ("sum", "avg", "min", "max", "count", "group")
    BY = ("", " by (job)", " by (instance)", " without (code)", " by (job, code)", " without (instance, le)")
    COUNTERS, GAUGES = ("requests_total", "took_bucket"), ("load", "limit")
    CONDITIONS = ('job="a"', 'job!="a"', 'instance=~"1|2"', 'instance!~"[3-9]"', 'code=~"5.."', 'code=""', 'none=""')

    def __init__(self, seed):
        self.chance = random.Random(seed)
        self.at = f"{self.pick(START + 600_000, STOP) / 1000:.3f}"

    def question(self):
        return self.vector(self.pick(1, 2, 2, 3))

    def pick(self, *choices):
        return self.chance.choice(choices)

    def selector(self, *names):
        name = self.pick(*(names or self.COUNTERS + self.GAUGES))
        conditions = self.chance.sample(self.CONDITIONS, self.pick(0, 0, 1, 2))
        return f"{name}{{{', '.join(conditions)}}}" if conditions else name

    def placed(self):
        """Return what may stand behind a selector."""
        at = (f" @ {self.at}", " @ start()", " @ end()", f" @ {self.at} offset 1m")
        return self.pick("", "", "", "", " offset 3m", " offset -90s", *at)

    def plain(self, *names):
        return f"{self.selector(*names)}[{self.pick(*self.SPANS)}]"

    def matrix(self, depth):
        if depth and self.chance.random() < 0.25:
            return f"({self.vector(depth - 1)})[{self.pick('4m', '9m')}:{self.pick('31s', '1m')}]{self.placed()}"
        return f"{self.plain()}{self.placed()}"

    def number(self, depth):
        choices = ["2", "0.5", "-3", "time()", "1e3", "Inf", "NaN", "0"]
        return f"scalar({self.vector(depth - 1)})" if depth and self.chance.random() < 0.2 else self.pick(*choices)

    def matching(self):
        on = self.pick("", "on (job, instance)", "ignoring (code, le)", "on (job)", "ignoring (code)", "on ()")
        return f" {on} {self.pick('', '', 'group_left ()', 'group_right ()', 'group_left (code)') if on else ''} "

    def vector(self, depth):
        if not depth:
            return self.selector() + self.placed()
        sorts = [self.over_time] * 5 + [self.fold] * 2 + [self.operation] * 3 + [self.function] * 3 + [self.chosen] * 2
        return self.pick(*sorts)(depth - 1)

    def over_time(self, depth):
        return self.pick(
            f"{self.pick('rate', 'increase')}({self.selector(*self.COUNTERS)}[{self.pick('2m', '7m')}]{self.placed()})",
            f"{self.pick(*self.RANGED)}({self.matrix(depth)})",
            f"{self.pick(*self.OVER_TIME)}_over_time({self.matrix(depth)})",
            f"quantile_over_time(0.4, {self.matrix(depth)})",
            f"predict_linear({self.plain()}, 300)",
            f"absent_over_time({self.matrix(depth)})",
        )

    def fold(self, depth):
        by = self.pick(*self.BY)
        return self.pick(
            *(f"{operator}{by} ({self.vector(depth)})" for operator in self.FOLDS),
            f"{self.pick('stddev', 'stdvar')}{by} ({self.selector()})",
        )

    def chosen(self, depth):
        rate = f"rate(took_bucket[{self.pick('5m', '11m')}])"
        return self.pick(
            f"quantile{self.pick(*self.BY)} ({self.pick('0.3', '0.9', '-1', '2')}, {self.vector(depth)})",
            f"{self.pick('topk', 'bottomk')}{self.pick(*self.BY)} ({self.pick('1', '3')}, avg_over_time(load[11m]))",
            f"histogram_quantile({self.pick('0.5', '0.9', '1', '-1')}, {rate})",
            f"histogram_quantile(0.7, sum by (le, job) ({rate}))",
            f"count_values{self.pick(*self.BY)} ('v', round({self.vector(depth)}))",
        )

    def function(self, depth):
        inner = self.vector(depth)
        return self.pick(
            f"{self.pick(*self.PLAIN)}({inner})",
            f"clamp_min({inner}, {self.pick('3', '0.5', '50')})",
            f"clamp_max({inner}, {self.number(depth)})",
            f"clamp({inner}, -1, 5)",
            f"round({self.selector()}, {self.pick('3', '0.5')})",
            f"label_replace({inner}, 'where', '$1-x', 'job', '(.*)')",
            f"label_join({inner}, 'both', '/', 'job', 'instance')",
            f"absent({self.selector()})",
            f"{self.pick(*self.DATES)}({self.selector()})",
            f"vector({self.number(depth)})",
            f"-{inner}",
        )

    def operation(self, depth):
        left, right = self.vector(depth), self.vector(depth)
        operator = self.pick("+", "-", "*", "/", "%", "^", "==", "!=", ">", "<=", "> bool", "<= bool")
        on = self.pick("", "on (job, instance) ", "ignoring (code, le) ")
        return self.pick(
            f"({left} {self.pick('and', 'or', 'unless')} {on}{right})",
            f"({left} {operator} {self.number(depth)})",
            f"({left} {operator}{self.matching()}{right})",
        )


@pytest.fixture(scope="module")
def engines(tmp_path_factory):
    """A Prometheus and a store of toban's that took the same looks."""
    clock, encoder = FakeClock(), Encoder({})
    with servers.prometheus() as server:
        address = f"http://127.0.0.1:{server.port}/api/v1"
        batches = list(all_scrapes(2))
        for first in range(0, len(batches), 6):
            body, _ = encoder.encode(batches[first : first + 6])
            with urllib.request.urlopen(urllib.request.Request(f"{address}/write", body, HEADERS)) as response:
                assert response.status == 204
        folder = tmp_path_factory.mktemp("store")
        window = timedelta(minutes=20)
        with Store(folder, TsdbSettings(), clock, MetricRegistry(), window=window) as store:
            yield address, store, clock, batches


async def filled(store, clock, batches):
    for number, batch in enumerate(batches):
        behind = (batch.at - milliseconds(clock.now())) / 1000
        await clock.sleep(max(0.0, behind))
        await store.append([batch])
        if number % 400 == 399:
            await store.maintain()


def theirs(address, path, form):
    """Return Prometheus' answer, or nothing when it refuses."""
    try:
        with urllib.request.urlopen(f"{address}/{path}", urllib.parse.urlencode(form).encode()) as response:
            data = json.load(response)["data"]
    except urllib.error.HTTPError as error:
        outcome = json.load(error)
        assert outcome["errorType"] in {"bad_data", "execution"}, outcome
        return None
    if data["resultType"] == "scalar":
        return {(): {round(data["result"][0] * 1000): float(data["result"][1])}}
    return {
        tuple(sorted(one["metric"].items())): {
            round(at * 1000): float(value) for at, value in one.get("values") or [one["value"]]
        }
        for one in data["result"]
    }


def ours(ask):
    try:
        answer = ask()
    except QueryError:
        return None
    return {
        tuple(points.labels.items()): dict(zip(points.times.tolist(), points.values.tolist(), strict=True))
        for points in answer.series
    }


def difference(outcome, wanted):
    """Tell how two answers differ."""
    if outcome is None or wanted is None:
        return "" if outcome is wanted else f"ours is {outcome}, theirs is {wanted}"
    if outcome.keys() != wanted.keys():
        return f"series: only ours {list(outcome.keys() - wanted)[:3]}, only theirs {list(wanted.keys() - outcome)[:3]}"
    for labels, points in wanted.items():
        if outcome[labels].keys() != points.keys():
            return f"{labels}: times: {sorted(outcome[labels].keys() ^ points.keys())[:5]}"
        for at, value in points.items():
            one = outcome[labels][at]
            same = one == value or (math.isnan(one) and math.isnan(value))
            if not same and not math.isclose(one, value, rel_tol=1e-9, abs_tol=1e-9):
                return f"{labels} at {at}: {one} and {value}"
    return ""


@pytest.mark.parametrize("many", [60, pytest.param(500, marks=pytest.mark.soak)])
async def test_results_equal_those_of_prometheus(engines, many):
    """
    The same series, times and values, or a refusal by both; at one time and over a range.
    """
    address, store, clock, batches = engines
    if milliseconds(clock.now()) < batches[-1].at:
        await filled(store, clock, batches)
    engine = PromqlEngine(store, QueryLimits(time=timedelta(minutes=5)))
    different, empty = [], 0
    for seed in range(many):
        author = Author(seed)
        query = author.question()
        at = author.pick(START, STOP, START + 20 * STEP)
        form = {"query": query, "time": at / 1000}
        outcome, wanted = ours(lambda query=query, at=at: engine.instant(query, at)), theirs(address, "query", form)
        if told := difference(outcome, wanted):
            different.append(f"{query} at {at}: {told}")
        form = {"query": query, "start": START / 1000, "end": STOP / 1000, "step": STEP / 1000}
        outcome = ours(lambda query=query: engine.range(query, START, STOP, STEP))
        wanted = theirs(address, "query_range", form)
        empty += not wanted
        if told := difference(outcome, wanted):
            different.append(f"{query}: {told}")
    assert different == []
    assert empty < many * 2 // 3
