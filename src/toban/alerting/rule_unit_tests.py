"""Runs promtool's unit tests of rules: https://prometheus.io/docs/prometheus/latest/configuration/unit_testing_rules/."""

import asyncio
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Final

from pydantic import BeforeValidator, Field, ValidationError

from toban.alerting import evaluation
from toban.alerting.promql_query import PROMQL_PARSERS, PromqlQuery, QueryParser
from toban.alerting.recorded_series import ALERTS, FOR_STATE, alert_samples
from toban.alerting.rule_engines import RuleEngineName
from toban.alerting.rule_file import AlertRule, Length, RecordingRule, RuleFileSection, RuleGroup, Text, parse_rule_file
from toban.alerting.series_notation import SeriesNotationError, parse_series, parse_values
from toban.alerting.states import ActiveAlerts, step
from toban.alerting.templating.template import External, Template
from toban.core.alerts import ALERTNAME, AlertStatus
from toban.core.config_types import readable_error
from toban.core.errors import QueryError, SettingsError
from toban.core.labels import NAME, Labels
from toban.core.matchers import MatchOperator
from toban.core.paths import read_text
from toban.core.query_result import BatchResult, QueryResult, ResultType
from toban.core.samples import STALE, moment
from toban.core.yaml_loader import load_yaml
from toban.promql.engine import PromqlEngine
from toban.promql.memory_source import MemorySource
from toban.promql.parser import ParseError, parse
from toban.promql.syntax_tree import Node, selectors

ALERT_METRICS: Final = {ALERTS.name, FOR_STATE.name}

MAX_EVALUATIONS: Final = 200_000
"""How many times a test may evaluate its rules."""


def _yaml_number(value: object) -> object:
    """Return a number as Python parses it: YAML writes a dot before infinity."""
    return re.sub(r"^([-+]?)\.(?=inf$|nan$)", r"\1", value, flags=re.IGNORECASE) if isinstance(value, str) else value


class _Series(RuleFileSection):
    series: str
    values: str


class _Alert(RuleFileSection):
    exp_labels: dict[str, Text] = Field(default_factory=dict)
    exp_annotations: dict[str, Text] = Field(default_factory=dict)


class _AlertTest(RuleFileSection):
    eval_time: Length
    alertname: str
    exp_alerts: tuple[_Alert, ...] | None = ()


class _Sample(RuleFileSection):
    labels: str = "{}"
    value: Annotated[float, BeforeValidator(_yaml_number)]


class _ExprTest(RuleFileSection):
    expr: str
    eval_time: Length
    exp_samples: tuple[_Sample, ...] | None = ()


class _Test(RuleFileSection):
    name: str = ""
    interval: Length = timedelta(minutes=1)
    input_series: tuple[_Series, ...] = ()
    alert_rule_test: tuple[_AlertTest, ...] = ()
    promql_expr_test: tuple[_ExprTest, ...] = ()
    external_labels: dict[str, Text] = Field(default_factory=dict)
    external_url: str = ""


class _File(RuleFileSection):
    rule_files: tuple[str, ...] = ()
    evaluation_interval: Length = timedelta(minutes=1)
    group_eval_order: tuple[str, ...] = ()
    fuzzy_compare: bool = False
    tests: tuple[_Test, ...] = ()


@dataclass(frozen=True, slots=True)
class Failure:
    """A difference between an expected and an actual result."""

    test: str
    what: str
    expected: str
    got: str

    def __str__(self) -> str:
        return f"{self.test}: {self.what}\n    expected: {self.expected}\n    got:      {self.got}"


def run(path: Path, parsers: Mapping[RuleEngineName, QueryParser] = PROMQL_PARSERS) -> list[Failure]:
    """
    Run a file of tests and return the failures; ``parsers`` are those of the queries, by the engine of their group.

    Rules that read log lines have no data in such a test: assertions about their alerts fail.
    Raises ``SettingsError`` when the file, or one of its rule files, is missing or invalid.
    """
    try:
        raw = load_yaml(read_text(path))
    except ValueError as error:
        raise SettingsError(f"{path}: can't be read: {error}") from error
    try:
        file = _File.model_validate(raw)
    except ValidationError as error:
        mistakes = [
            ": ".join(filter(None, (str(path), ".".join(map(str, it["loc"])), readable_error(it))))
            for it in error.errors()
        ]
        raise SettingsError("\n".join(mistakes)) from error
    groups = [group for pattern in file.rule_files for group in _rules(path.parent, pattern, parsers)]
    order = {name: place for place, name in enumerate(file.group_eval_order)}
    groups.sort(key=lambda group: order.get(group.name, len(order)))
    failures: list[Failure] = []
    for number, test in enumerate(file.tests, 1):
        try:
            name = test.name or f"test {number}"
            testable, untestable = _split(test, groups, name)
            failures += untestable
            failures += asyncio.run(_Run(testable, groups, file.evaluation_interval, name).run())
        except SeriesNotationError as error:
            raise SettingsError(f"{path}: test {number}: {error}") from error
    return failures


def _rules(folder: Path, pattern: str, parsers: Mapping[RuleEngineName, QueryParser]) -> Iterator[RuleGroup]:
    found = sorted(folder.glob(pattern)) if not Path(pattern).is_absolute() else [Path(pattern)]
    if not found:
        raise SettingsError(f"{folder / pattern}: no such rule file")
    for path in found:
        yield from parse_rule_file(read_text(path), str(path), parsers)


def _split(test: _Test, groups: Sequence[RuleGroup], name: str) -> tuple[_Test, list[Failure]]:
    """Return a test without its assertions about alerts that read log lines, and a failure for each of these."""
    engines = {rule.name: group.engine for group in groups for rule in group.alerts if not group.engine.reads_metrics}
    testable = [one for one in test.alert_rule_test if one.alertname not in engines]
    failures = [
        Failure(
            name,
            f"alert {one.alertname} at {one.eval_time}",
            "a rule that reads metrics",
            f"a rule of a group with `engine: {engines[one.alertname]}`: it reads log lines, a test has only series",
        )
        for one in test.alert_rule_test
        if one.alertname in engines
    ]
    return test.model_copy(update={"alert_rule_test": tuple(testable)}), failures


def _needed(groups: Sequence[RuleGroup], test: _Test) -> list[RuleGroup]:
    """Return the rules on which the results of a test depend: the alerts that it names, and what those read."""
    rules = [rule for group in groups for rule in group.rules]
    recorded = {rule.name for rule in rules if isinstance(rule, RecordingRule)}
    needed, read = set[str](), {one.alertname for one in test.alert_rule_test}
    with suppress(ParseError):  # its evaluation reports it
        for one in test.promql_expr_test:
            read |= _rules_read(parse(one.expr).root, rules)
    while read - needed:
        needed |= read
        for rule in rules:
            if rule.name in needed and isinstance(rule.query, PromqlQuery):
                read |= _rules_read(rule.query.root, rules)
                # What a template queries is known only when it is expanded.
                if isinstance(rule, AlertRule) and any("query" in text.source for text in _templates(rule)):
                    read |= recorded
    return [
        replace(group, rules=[rule for rule in group.rules if rule.name in needed])
        for group in groups
        if group.engine.reads_metrics
    ]


def _templates(rule: AlertRule) -> Iterator[Template]:
    yield from rule.labels.values()
    yield from rule.annotations.values()


def _rules_read(query: Node, rules: Sequence[AlertRule | RecordingRule]) -> set[str]:
    """Return the names of the rules whose series a query may read; of all where it does not select by name."""
    found = set[str]()
    for selector in selectors(query):
        equal = {it.name: it.value for it in selector.matchers if it.operator is MatchOperator.EQUAL}
        name = equal.get(NAME)
        name = equal.get(ALERTNAME) if name in ALERT_METRICS else name
        if name is None:
            return {rule.name for rule in rules}
        found.add(name)
    return found & {rule.name for rule in rules}


class SynchronousEngine:
    """A ``RuleEngine`` that runs each query at once, without a thread."""

    def __init__(self, source: MemorySource) -> None:
        self._engine = PromqlEngine(source)

    async def instant(self, query: str, at: int, *, time_limit: timedelta | None = None) -> QueryResult:
        """Return the result of a query at one time (milliseconds)."""
        return self._engine.instant(query, at)

    async def run_batch(self, queries: Sequence[str], at: int) -> list[BatchResult]:
        """Run all of these queries."""
        return [self._result(query, at) for query in queries]

    def _result(self, query: str, at: int) -> BatchResult:
        # Whether the data of an empty result is there is no concern of a test, and costs as much as the query.
        try:
            return BatchResult(self._engine.instant(query, at))
        except QueryError as error:
            return BatchResult(error)


class _Run:
    """One test, from time zero to its last assertion."""

    def __init__(self, test: _Test, groups: Sequence[RuleGroup], interval: timedelta, name: str) -> None:
        self.test = test
        self.groups = _needed(groups, test)
        self.interval = interval
        self.name = name
        self.source = MemorySource()
        self.engine = SynchronousEngine(self.source)
        self.alerts: dict[str, ActiveAlerts] = {}
        self.written: dict[str, set[Labels]] = {}
        self.failures: list[Failure] = []

    async def run(self) -> list[Failure]:
        for series in self.test.input_series:
            step_ms = round(self.test.interval / timedelta(milliseconds=1))
            values = parse_values(series.values)
            self.source.add(
                parse_series(series.series), ((place * step_ms, value) for place, value in enumerate(values))
            )
        times = sorted(
            {it.eval_time for it in self.test.alert_rule_test} | {it.eval_time for it in self.test.promql_expr_test}
        )
        last, now = (times or [timedelta()])[-1], timedelta()
        if self.interval <= timedelta() or last / self.interval > MAX_EVALUATIONS:
            raise SettingsError(
                f"{self.name}: evaluation_interval: more than {MAX_EVALUATIONS} evaluations until its last eval_time"
            )
        while now <= last:
            for group in self.groups:
                if not group.interval or not (now % group.interval):
                    await self._evaluate_group(group, now)
            for at in times:
                # An assertion between two evaluations sees the results of the first.
                if now <= at < now + self.interval:
                    await self._check(at)
            now += self.interval
        return self.failures

    async def _evaluate_group(self, group: RuleGroup, now: timedelta) -> None:
        at = round(now / timedelta(milliseconds=1))
        for rule in group.rules:
            (queried,) = await self.engine.run_batch([rule.query.text], at)
            try:
                if isinstance(rule, RecordingRule):
                    values = evaluation.evaluate_recording_rule(rule, queried, group.limit)
                    self._write(f"record {rule.name}", values, at)
                else:
                    await self._evaluate_alert_rule(rule, queried, group, at)
            except QueryError as error:
                self.failures.append(Failure(self.name, f"rule {rule.name} at {now}", "a result", str(error)))

    async def _evaluate_alert_rule(self, rule: AlertRule, queried: BatchResult, group: RuleGroup, at: int) -> None:
        external = External(self.test.external_url, self.test.external_labels)
        results = await evaluation.evaluate_alert_rule(rule, queried, self.engine, at, group.limit, external)
        before = self.alerts.get(rule.key, {})
        self.alerts[rule.key] = step(before, results, moment(at), rule.for_, rule.keep_firing_for).after
        self._write(f"alert {rule.key}", alert_samples(self.alerts[rule.key].values()), at)

    def _write(self, writer: str, values: Mapping[Labels, float], at: int) -> None:
        for labels in self.written.get(writer, set()) - set(values):
            self.source.add(labels, [(at, STALE)])
        for labels, value in values.items():
            self.source.add(labels, [(at, value)])
        self.written[writer] = set(values)

    async def _check(self, at: timedelta) -> None:
        for alert_test in self.test.alert_rule_test:
            if alert_test.eval_time == at:
                self._check_alerts(alert_test)
        for expression_test in self.test.promql_expr_test:
            if expression_test.eval_time == at:
                await self._check_expression(expression_test)

    def _check_alerts(self, test: _AlertTest) -> None:
        expected = sorted(
            _format_alert({**it.exp_labels, ALERTNAME: test.alertname}, it.exp_annotations)
            for it in test.exp_alerts or ()
        )
        got = sorted(
            _format_alert(it.alert.labels, it.alert.annotations)
            for alerts in self.alerts.values()
            for it in alerts.values()
            if it.alert.name == test.alertname and it.alert.status is AlertStatus.FIRING
        )
        if expected != got:
            what = f"alert {test.alertname} at {test.eval_time}"
            self.failures.append(Failure(self.name, what, "; ".join(expected) or "none", "; ".join(got) or "none"))

    async def _check_expression(self, test: _ExprTest) -> None:
        at = round(test.eval_time / timedelta(milliseconds=1))
        what = f"{test.expr} at {test.eval_time}"
        expected = {parse_series(it.labels): it.value for it in test.exp_samples or ()}
        try:
            result = await self.engine.instant(test.expr, at)
        except QueryError as error:
            self.failures.append(Failure(self.name, what, _format_values(expected), str(error)))
            return
        if result.type not in {ResultType.VECTOR, ResultType.SCALAR}:
            self.failures.append(Failure(self.name, what, _format_values(expected), f"a {result.type}"))
            return
        got = {points.labels: points.last for points in result.series}
        if set(got) != set(expected) or any(not _is_close(got[labels], expected[labels]) for labels in got):
            self.failures.append(Failure(self.name, what, _format_values(expected), _format_values(got)))


def _format_alert(labels: Mapping[str, str], annotations: Mapping[str, str]) -> str:
    return f"{Labels(labels)} {dict(sorted(annotations.items()))}"


def _format_values(found: Mapping[Labels, float]) -> str:
    return "; ".join(sorted(f"{labels} {value!r}" for labels, value in found.items())) or "none"


def _is_close(left: float, right: float) -> bool:
    return left == right or (left != left and right != right) or abs(left - right) <= 1e-12 * max(abs(left), abs(right))
