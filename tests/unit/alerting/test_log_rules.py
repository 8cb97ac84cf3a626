"""Rules over log lines: their states in virtual time, and what is known of them without running them."""

from contextlib import asynccontextmanager
from datetime import timedelta

import numpy as np
import pytest

from tests.fake_line_store import FakeLineStore
from tests.fakes import FakeClock
from tests.promql_scripts import ScriptSource
from tests.rule_evaluation import START, rule_evaluation
from toban.alerting.prometheus_export import not_exported, rule_file
from toban.alerting.rule_engines import RuleEngineName, RuleEnginePair
from toban.alerting.rule_file import parse_rule_file
from toban.alerting.rule_lint import LintContext, lint_rule, recorded_metrics
from toban.alerting.rule_state import RuleHealth
from toban.core.errors import SettingsError
from toban.core.labels import Labels
from toban.core.log_line import LogLevel, LogLine
from toban.core.samples import is_stale
from toban.logs.logql.engine import LogqlEngine
from toban.logs.logql.rule_engine import LogRuleEngine
from toban.settings import QUERY_PARSERS

ERRORS = """
groups:
- name: lines
  engine: logs
  rules:
  - alert: errors
    expr: sum by (service) (count_over_time({level="error"} [1m])) > 2
    for: 15s
    labels: {severity: warning}
    annotations: {summary: "{{ $value }} errors of {{ $labels.service }}"}
"""

RECORDED = """
groups:
- name: lines
  engine: logs
  rules:
  - {record: "shop:errors", expr: 'sum by (service) (count_over_time({level="error"}[1m]))'}
"""


def lines(second: float, count: int, level: LogLevel = LogLevel.ERROR, **fields: object) -> list[LogLine]:
    return [
        LogLine(START + timedelta(seconds=second), level, f"line {it}", service="api", **fields) for it in range(count)
    ]


@asynccontextmanager
async def process(rules, store, folder, clock):
    async with LogqlEngine(store) as pages, LogqlEngine(store, threads=1) as engine:
        pair = RuleEnginePair(LogRuleEngine(engine), pages)
        async with rule_evaluation(rules, ScriptSource(), folder, clock, engines={RuleEngineName.LOGS: pair}) as found:
            yield found


def health(found):
    return found.evaluation.groups[0].rules[0].last.health


async def test_an_alert_begins_with_its_lines_and_ends_without_them(tmp_path):
    """
    No line in the range is a result like any other: it resolves the alert at once.
    """
    store = FakeLineStore([*lines(1, 3), *lines(200, 1, LogLevel.INFO)])
    async with process(ERRORS, store, tmp_path, FakeClock()) as found:
        await found.until(46)
        (alert,) = found.alert_store.alerts()
        assert (alert.labels, alert.value, alert.annotations["summary"]) == (
            Labels(alertname="errors", service="api", severity="warning"),
            3.0,
            "3 errors of api",
        )
        assert await found.transitions() == [("firing", "errors")]
        await found.until(211)
        assert await found.transitions() == [("firing", "errors"), ("resolved", "errors")]
        assert health(found) is RuleHealth.OK


async def test_an_alert_survives_a_start_before_the_first_lines_arrive(tmp_path):
    """
    Until then nobody knows whether it is over; lines of any stream tell.
    """
    clock, store = FakeClock(), FakeLineStore(lines(1, 3))
    async with process(ERRORS, store, tmp_path, clock) as found:
        await found.until(46)
    clock.advance(300)
    async with process(ERRORS, store, tmp_path, clock) as found:
        await found.until(400)
        assert health(found) is RuleHealth.NO_DATA
        assert await found.transitions() == [("firing", "errors")]
        store.append(lines(400, 1, LogLevel.INFO), {})
        await found.until(430)
        assert health(found) is RuleHealth.OK
        assert await found.transitions() == [("firing", "errors"), ("resolved", "errors")]


async def test_silence_later_than_a_start_resolves(tmp_path):
    """
    A shop at night logs nothing.
    """
    async with process(ERRORS, FakeLineStore(lines(1_000, 3)), tmp_path, FakeClock()) as found:
        await found.until(1_200)
        assert await found.transitions() == [("firing", "errors"), ("resolved", "errors")]
        assert health(found) is RuleHealth.OK


async def test_a_rule_is_inactive_where_no_lines_are_collected(tmp_path):
    store = FakeLineStore()
    async with process(ERRORS, store, tmp_path, FakeClock()) as found:
        await found.until(30)
        assert health(found) is RuleHealth.INACTIVE
        assert found.evaluation.report().rules[0].metrics() == ['{level="error"}']
        store.append(lines(31, 1, LogLevel.INFO), {})
        await found.until(60)
        assert health(found) is RuleHealth.OK


async def test_a_failing_query_is_an_alert_of_its_own_and_resolves_none(tmp_path):
    clock, store = FakeClock(), FakeLineStore(lines(1, 3))
    async with process(ERRORS, store, tmp_path, clock) as found:
        await found.until(46)
        store.error = "the disk is gone"
        await found.until(500)
        assert health(found) is RuleHealth.FAILED
        assert await found.transitions() == [("firing", "errors"), ("firing", "rule_evaluation_failed")]


async def test_a_recorded_series_ends_with_its_lines(tmp_path):
    store = FakeLineStore([*lines(1, 3), *lines(90, 1, LogLevel.INFO)])
    async with process(RECORDED, store, tmp_path, FakeClock()) as found:
        await found.until(100)
        values = [
            value
            for batch in found.sink.batches
            for labels, value in zip(batch.layout.series, batch.values.tolist(), strict=True)
            if labels == Labels(__name__="shop:errors", service="api")
        ]
    assert values[:4] == [3.0] * 4
    assert is_stale(np.array(values)).tolist() == [False] * 4 + [True]


async def test_a_rule_is_explained_by_its_lines(tmp_path):
    """
    The value of its comparison, and how many streams it reads.
    """
    async with process(ERRORS, FakeLineStore(lines(1, 3)), tmp_path, FakeClock()) as found:
        await found.until(16)
        (why,) = await found.evaluation.explain("errors")
        assert (why.engine, why.log_queries, why.window) == (RuleEngineName.LOGS, ['{level="error"}'], 60)
        (comparison,) = why.comparisons
        assert (comparison.operator, comparison.right) == (">", "2")
        assert [(it.labels, it.value) for it in comparison.value.series] == [({"service": "api"}, "3.0")]
        assert [it.value for it in comparison.limit.series] == ["2.0"]
        assert [(it.selector, it.series) for it in why.selectors] == [('count_over_time({level="error"}[1m])', 1)]


@pytest.mark.parametrize(
    ("expression", "error"),
    [
        ('{level="error"}', "group 'g', rule 1 (a): expr: parse error : only metric queries are supported here"),
        (
            "sum(up) > 0",
            "group 'g', rule 1 (a): expr: parse error at line 1, col 5: syntax error: unexpected IDENTIFIER",
        ),
    ],
)
def test_a_query_that_logs_can_not_answer_is_refused_with_its_place(expression, error):
    rules = f"groups: [{{name: g, engine: logs, rules: [{{alert: a, expr: '{expression}'}}]}}]"
    with pytest.raises(SettingsError) as refused:
        parse_rule_file(rules, "r.yaml", QUERY_PARSERS)
    assert str(refused.value).startswith(f"r.yaml: {error}")


def test_an_unknown_engine_is_refused_with_the_known_ones():
    with pytest.raises(SettingsError, match=r"groups\[0\]\.engine \(g\): must be 'embedded', 'outside' or 'logs'"):
        parse_rule_file("groups: [{name: g, engine: loki, rules: []}]", "r.yaml", QUERY_PARSERS)


def test_shipped_rules_can_not_read_lines():
    """
    Their files are read without the parser of LogQL; the mistake has a place, too.
    """
    with pytest.raises(SettingsError, match="group 'lines': `engine: logs` is not available in this file"):
        parse_rule_file(ERRORS, "shipped.yaml")


def test_doubts_about_a_rule_over_lines_are_those_of_its_labels_and_of_its_language():
    """
    Its labels are no metrics, so none of them is unknown.
    """
    expression = 'count_over_time({service="api"} | json [5m]) > 9'
    (group,) = parse_rule_file(
        f"groups: [{{name: g, engine: logs, rules: [{{alert: a, expr: '{expression}'}}]}}]", "r.yaml", QUERY_PARSERS
    )
    found = lint_rule(group.rules[0], LintContext(set()))
    assert len(found) == 3
    assert "aggregate it" in found[0] and "`severity`" in found[1] and "`summary`" in found[2]


def test_rules_over_lines_are_left_out_of_exports_by_name():
    groups = parse_rule_file(
        ERRORS + RECORDED.partition("groups:\n")[2].replace("name: lines", "name: more"), "r", QUERY_PARSERS
    )
    assert rule_file(groups) == {"groups": []}
    assert [it.partition(":")[0] for it in not_exported(groups)] == ["errors", "shop"]
    assert recorded_metrics(groups) == {"shop:errors"}
