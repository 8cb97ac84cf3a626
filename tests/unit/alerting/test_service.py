"""Evaluation of rules over time."""

import asyncio
from datetime import timedelta

import pytest

from tests.fakes import FakeClock
from tests.rule_evaluation import DOWN_RULE, load_series, rule_evaluation
from toban.alerting import evaluation
from toban.alerting.acknowledge_commands import AcknowledgeCommands
from toban.alerting.rule_state import RuleHealth
from toban.alerting.templating.template import Template
from toban.core.actor import Actor
from toban.core.alerts import AlertStatus
from toban.core.errors import NotFoundError, QueryError, StateError
from toban.core.ports import HealthStatus
from toban.core.samples import is_stale

ANN = Actor("ann", "local socket")


@pytest.fixture
def clock():
    return FakeClock()


def health(life):
    return [seat.last.health for bench in life.evaluation.groups for seat in bench.rules]


async def test_an_alert_fires_after_for_and_resolves_with_its_cause(tmp_path, clock):
    """
    Each change is told once; what it says stands in its annotations.
    """
    source = load_series('up{job="web"} 1x4 0x8 1x40')
    async with rule_evaluation(DOWN_RULE, source, tmp_path, clock) as life:
        await life.until(75 + 60)
        assert await life.transitions() == []
        await life.until(75 + 90)
        assert await life.transitions() == [("firing", "down")]
        await life.until(400)
        assert await life.transitions() == [("firing", "down"), ("resolved", "down")]
        change = (await life.changes())[0]
    assert change.alert.annotations == {"summary": "web is down"}
    assert change.alert.labels == {"alertname": "down", "job": "web", "severity": "critical"}


async def test_an_alert_about_a_target_has_the_error_of_its_collection(tmp_path, clock):
    """
    The newest error, for as long as there is one; nothing is added to an alert about something else.
    """
    rules = DOWN_RULE + "  - {alert: slow, expr: seconds > 1}\n"
    source = load_series('up{job="web"} 0x40\nseconds{job="web"} 2x40')
    async with rule_evaluation(rules, source, tmp_path, clock) as life:
        life.errors["web"] = "answered 500"
        await life.until(120)
        standing = {it.alert.name: it.alert for _, it in life.alert_store.all()}
        assert standing["down"].annotations == {"summary": "web is down", "error": "answered 500"}
        assert standing["slow"].annotations == {}
        life.errors.clear()
        await life.until(150)
        assert "error" not in {it.alert.name: it.alert for _, it in life.alert_store.all()}["down"].annotations


@pytest.mark.parametrize("lives", [2, 9, 40])
async def test_a_restart_at_any_time_changes_no_alert(tmp_path, lives):
    """
    Pending goes on counting, firing fires no second time, and what ended is told.
    """
    source = load_series('up{job="web"} 1x4 0x8 1x40\nup{job="worker"} 0x60')

    async def changes(folder, lives):
        clock = FakeClock()
        folder.mkdir()
        for part in range(1, lives + 1):
            async with rule_evaluation(DOWN_RULE, source, folder, clock) as life:
                await life.until(600 * part / lives)
                found = await life.changes()
        return found

    assert await changes(tmp_path / "many", lives) == await changes(tmp_path / "one", 1)


async def test_no_data_and_failing_queries_resolve_no_alert(tmp_path, clock):
    """
    What fires goes on firing while nobody knows better, and that nobody knows becomes an alert itself.
    """
    source = load_series('up{job="web"} 0x20')
    async with rule_evaluation(DOWN_RULE, source, tmp_path, clock) as life:
        await life.until(300)
        life.engine.error = QueryError("too many samples")
        await life.until(900)
        assert health(life) == [RuleHealth.FAILED]
        life.engine.error = None
        await life.until(1500)
        assert health(life) == [RuleHealth.NO_DATA]
        transitions = await life.transitions()
    assert ("resolved", "down") not in transitions
    assert transitions[1] == ("firing", "rule_evaluation_failed")


async def test_a_rule_without_data_since_the_start_is_inactive(tmp_path, clock):
    """
    It sleeps until there is something to judge.
    """
    async with rule_evaluation(DOWN_RULE, load_series('other{job="web"} 0x200'), tmp_path, clock) as life:
        await life.until(1200)
        assert health(life) == [RuleHealth.INACTIVE]
        assert await life.transitions() == []


async def test_a_missing_counter_counts_as_no_increase(tmp_path, clock):
    """
    Its rule is well, and its alert is over, though its source is gone.
    """
    rules = "groups:\n- name: g\n  rules:\n  - alert: failing\n    expr: increase(failed_total[5m]) > 0\n"
    async with rule_evaluation(rules, load_series("failed_total 0x19 5x20"), tmp_path, clock) as life:
        await life.until(1800)
        assert health(life) == [RuleHealth.OK]
        assert await life.transitions() == [("firing", "failing"), ("resolved", "failing")]


async def test_alerts_of_removed_targets_resolve(tmp_path, clock):
    """
    Its alerts end, and its rules sleep again.
    """
    source = load_series('up{job="web"} 0x20')
    async with rule_evaluation(DOWN_RULE, source, tmp_path, clock, targets=["web", "redis"]) as life:
        await life.until(300)
    async with rule_evaluation(DOWN_RULE, source, tmp_path, clock, targets=["redis"]) as life:
        await life.until(900)
        assert health(life) == [RuleHealth.INACTIVE]
        assert (await life.changes())[-1].why == "its target is no longer monitored"
        assert await life.transitions() == [("firing", "down"), ("resolved", "down")]


@pytest.mark.parametrize(
    ("edit", "transitions"),
    [
        (DOWN_RULE.replace("for: 1m", "for: 5m").replace("up == 0", "up < 1").replace("is down", "is away"), []),
        (DOWN_RULE.replace("alert: down", "alert: away"), [("resolved", "down"), ("firing", "away")]),
        (DOWN_RULE.replace("critical", "warning"), [("resolved", "down"), ("firing", "down")]),
        ("groups: []", [("resolved", "down")]),
        (DOWN_RULE.replace("name: shop", "name: moved"), []),
    ],
)
async def test_an_edited_rule_keeps_its_alerts_and_a_removed_one_resolves_them(tmp_path, clock, edit, transitions):
    """
    Query, time and text may change, and where it stands; with another name or other labels it is another alert.
    """
    source = load_series('up{job="web"} 0x100')
    async with rule_evaluation(DOWN_RULE, source, tmp_path, clock) as life:
        await life.until(300)
    async with rule_evaluation(edit, source, tmp_path, clock) as life:
        await life.until(600)
        assert await life.transitions() == [("firing", "down"), *transitions]


async def test_without_state_alerts_are_evaluated_sent_and_stored_in_the_fallback_file(tmp_path, clock, monkeypatch):
    """
    From memory, to whoever sends what is urgent, and in a file; a new life reads it, and state catches up in order.
    """
    source = load_series('up{job="web"} 1x4 0x20 1x100')

    async def away(work):
        raise StateError("state: the disk is gone")

    async with rule_evaluation(DOWN_RULE, source, tmp_path, clock) as life:
        await life.until(60)
        there = life.state.transaction
        monkeypatch.setattr(life.state, "transaction", away)
        await life.until(300)
        assert [change.alert.name for change in life.sent_without_state] == ["down"]
        assert life.evaluation.health() == HealthStatus(
            False, "2 changes of alerts are not stored yet: state: the disk is gone"
        )
        monkeypatch.setattr(life.state, "transaction", there)
        assert await life.transitions() == []
    async with rule_evaluation(DOWN_RULE, source, tmp_path, clock) as life:
        await life.until(330)
        assert await life.transitions() == [("firing", "down")]
        await life.until(900)
        assert await life.transitions() == [("firing", "down"), ("resolved", "down")]
        assert life.evaluation.health().ok
    assert not (tmp_path / "alerts.jsonl").exists()


async def test_a_truncated_line_of_the_fallback_file_loses_itself_alone(tmp_path, clock, monkeypatch):
    """
    The power went while it was written.
    """
    async with rule_evaluation(DOWN_RULE, load_series('up{job="web"} 0x20'), tmp_path, clock) as life:

        async def away(work):
            raise StateError("away")

        monkeypatch.setattr(life.state, "transaction", away)
        await life.until(120)
    file = tmp_path / "alerts.jsonl"
    file.write_bytes(file.read_bytes() + b'{"number": 9, "rule"')
    async with rule_evaluation(DOWN_RULE, load_series('up{job="web"} 0x20'), tmp_path, clock) as life:
        assert await life.transitions() == [("firing", "down")]


async def test_an_acknowledgement_ends_with_its_alert(tmp_path, clock):
    """
    It survives a restart, is told, and is gone when the alert comes again.
    """
    source = load_series('up{job="web"} 0x20 1x20 0x100')
    async with rule_evaluation(DOWN_RULE, source, tmp_path, clock) as life:
        await life.until(120)
        alert = next(it.alert for _, it in life.alert_store.all())
        commands = AcknowledgeCommands(life.alert_store, clock)
        assert await commands.acknowledge(alert.fingerprint, ANN, comment="on it") == 1
        with pytest.raises(NotFoundError, match="no firing alert '0000000000000000'"):
            await commands.acknowledge("0" * 16, ANN)
    async with rule_evaluation(DOWN_RULE, source, tmp_path, clock) as life:
        await life.until(240)
        (alert,) = (it.alert for _, it in life.alert_store.all())
        assert alert.acknowledged
        assert (alert.acknowledged.by, alert.acknowledged.comment) == ("ann", "on it")
        await life.until(900)
        (alert,) = (it.alert for _, it in life.alert_store.all())
        assert (alert.status, alert.acknowledged) == (AlertStatus.FIRING, None)
        assert [change.why for change in await life.changes()] == ["", "acknowledged by ann", "", ""]


async def test_alerts_and_recording_rules_are_stored_as_series(tmp_path, clock):
    """
    As Prometheus names them; what is over ends with a staleness marker.
    """
    rules = DOWN_RULE + "  - record: job:up:sum\n    expr: sum by (job) (up)\n    labels: {team: shop}\n"
    async with rule_evaluation(rules, load_series('up{job="web"} 0x6 1x20'), tmp_path, clock) as life:
        await life.until(240)
        series = [str(labels) for batch in life.sink.batches for labels in batch.layout.series]
        ended = [
            str(labels)
            for batch in life.sink.batches
            for labels, stale in zip(batch.layout.series, is_stale(batch.values), strict=True)
            if stale
        ]
    for state in ("pending", "firing"):
        name = f'ALERTS{{alertname="down", alertstate="{state}", job="web", severity="critical"}}'
        assert name in series
        assert name in ended
    assert 'ALERTS_FOR_STATE{alertname="down", job="web", severity="critical"}' in series
    assert 'job:up:sum{job="web", team="shop"}' in series


async def test_an_unhealthy_service_is_an_alert_after_five_minutes(tmp_path, clock):
    """
    It needs no numbers.
    """
    async with rule_evaluation("groups: []", load_series(""), tmp_path, clock) as life:
        life.health_statuses = [("store", HealthStatus(False, "the disk is full"))]
        await life.until(290)
        assert await life.transitions() == []
        await life.until(330)
        life.health_statuses = []
        await life.until(360)
        assert await life.transitions() == [
            ("firing", "toban_component_unhealthy"),
            ("resolved", "toban_component_unhealthy"),
        ]


async def test_an_exception_in_one_rule_fails_that_rule_alone(tmp_path, clock, monkeypatch):
    """
    A surprise while it is judged is its failure; a text that raises is that text; the others fire as ever.
    """
    rules = """
groups:
- name: g
  rules:
  - {alert: texts, expr: up == 0, annotations: {good: "{{ $labels.job }}", bad: "{{ printf `%d` 1 }}"}}
  - {alert: broken, expr: up == 0}
  - {alert: other, expr: up == 0}
"""
    original, render = evaluation.evaluate_alert_rule, Template.render

    async def findings(rule, *rest):
        return 1 / 0 if rule.name == "broken" else await original(rule, *rest)

    def raising(self, *rest):
        return 1 / 0 if "printf" in self.source else render(self, *rest)

    monkeypatch.setattr(evaluation, "evaluate_alert_rule", findings)
    monkeypatch.setattr(Template, "render", raising)
    async with rule_evaluation(rules, load_series('up{job="web"} 0x20'), tmp_path, clock) as life:
        await life.until(30)
        found = {it.name: it for it in life.alert_store.alerts()}
        health = {seat.rule.name: seat.last for bench in life.evaluation.groups for seat in bench.rules}
    assert set(found) >= {"texts", "other"}
    assert found["texts"].annotations["good"] == "web"
    assert found["texts"].annotations["bad"] == "<error expanding template: ZeroDivisionError: division by zero>"
    assert (health["broken"].health, health["broken"].error) == (
        RuleHealth.FAILED,
        "ZeroDivisionError: division by zero",
    )


async def test_a_template_may_use_the_metric_name(tmp_path, clock):
    """
    As in Prometheus: the name is no label of the alert, and its texts see it.
    """
    rules = """
groups:
- name: g
  rules:
  - alert: probe
    expr: '{__name__=~"up|probe_success"} == 0'
    labels: {metric: "{{ $labels.__name__ }}"}
    annotations: {summary: "{{ .Labels.__name__ }}{{ range $name, $it := $labels }} {{ $name }}={{ $it }}{{ end }}"}
"""
    async with rule_evaluation(rules, load_series('up{job="web"} 0x20'), tmp_path, clock) as life:
        await life.until(30)
        (found,) = life.alert_store.alerts()
    assert dict(found.labels) == {"alertname": "probe", "job": "web", "metric": "up"}
    assert found.annotations == {"summary": "up __name__=up job=web"}


async def test_a_group_that_raises_is_evaluated_again(tmp_path, clock):
    """
    And the others all the while.
    """
    async with rule_evaluation(DOWN_RULE, load_series('up{job="web"} 0x20'), tmp_path, clock) as life:
        turns = []

        async def job() -> None:
            turns.append(clock.now())
            if len(turns) == 1:
                raise ZeroDivisionError
            if len(turns) == 3:
                raise asyncio.CancelledError

        with pytest.raises(asyncio.CancelledError):
            await life.evaluation._run_job("g", timedelta(seconds=15), job)
    assert len(turns) == 3
