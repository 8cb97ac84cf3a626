"""Rules over time: what is found, kept and told."""

import asyncio
from datetime import timedelta

import pytest

from tests.fakes import FakeClock
from tests.judged import DOWN, judged, loaded
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
    return [seat.last.health for bench in life.evaluating.groups for seat in bench.rules]


async def test_an_alert_fires_after_its_time_and_ends_with_its_cause(tmp_path, clock):
    """
    Each change is told once; what it says stands in its annotations.
    """
    source = loaded('up{job="web"} 1x4 0x8 1x40')
    async with judged(DOWN, source, tmp_path, clock) as life:
        await life.until(75 + 60)
        assert await life.told() == []
        await life.until(75 + 90)
        assert await life.told() == [("firing", "down")]
        await life.until(400)
        assert await life.told() == [("firing", "down"), ("resolved", "down")]
        change = (await life.changes())[0]
    assert change.alert.annotations == {"summary": "web is down"}
    assert change.alert.labels == {"alertname": "down", "job": "web", "severity": "critical"}


async def test_an_alert_about_a_target_says_what_its_collection_failed_with(tmp_path, clock):
    """
    The newest error, for as long as there is one; nothing is added to an alert about something else.
    """
    rules = DOWN + "  - {alert: slow, expr: seconds > 1}\n"
    source = loaded('up{job="web"} 0x40\nseconds{job="web"} 2x40')
    async with judged(rules, source, tmp_path, clock) as life:
        life.errors["web"] = "answered 500"
        await life.until(120)
        standing = {it.alert.name: it.alert for _, it in life.ledger.all()}
        assert standing["down"].annotations == {"summary": "web is down", "error": "answered 500"}
        assert standing["slow"].annotations == {}
        life.errors.clear()
        await life.until(150)
        assert "error" not in {it.alert.name: it.alert for _, it in life.ledger.all()}["down"].annotations


@pytest.mark.parametrize("lives", [2, 9, 40])
async def test_a_restart_at_any_time_changes_nothing(tmp_path, lives):
    """
    Pending goes on counting, firing fires no second time, and what ended is told.
    """
    source = loaded('up{job="web"} 1x4 0x8 1x40\nup{job="worker"} 0x60')

    async def changes(folder, lives):
        clock = FakeClock()
        folder.mkdir()
        for part in range(1, lives + 1):
            async with judged(DOWN, source, folder, clock) as life:
                await life.until(600 * part / lives)
                found = await life.changes()
        return found

    assert await changes(tmp_path / "many", lives) == await changes(tmp_path / "one", 1)


async def test_no_data_and_failing_queries_are_never_well(tmp_path, clock):
    """
    What fires goes on firing while nobody knows better, and that nobody knows becomes an alert itself.
    """
    source = loaded('up{job="web"} 0x20')
    async with judged(DOWN, source, tmp_path, clock) as life:
        await life.until(300)
        life.engine.trouble = QueryError("too many samples")
        await life.until(900)
        assert health(life) == [RuleHealth.FAILED]
        life.engine.trouble = None
        await life.until(1500)
        assert health(life) == [RuleHealth.NO_DATA]
        told = await life.told()
    assert ("resolved", "down") not in told
    assert told[1] == ("firing", "rule_evaluation_failed")


async def test_a_rule_whose_source_was_never_there_is_silent(tmp_path, clock):
    """
    It sleeps until there is something to judge.
    """
    async with judged(DOWN, loaded('other{job="web"} 0x200'), tmp_path, clock) as life:
        await life.until(1200)
        assert health(life) == [RuleHealth.INACTIVE]
        assert await life.told() == []


async def test_a_counter_that_is_not_there_has_counted_nothing(tmp_path, clock):
    """
    Its rule is well, and its alert is over, though its source is gone.
    """
    rules = "groups:\n- name: g\n  rules:\n  - alert: failing\n    expr: increase(failed_total[5m]) > 0\n"
    async with judged(rules, loaded("failed_total 0x19 5x20"), tmp_path, clock) as life:
        await life.until(1800)
        assert health(life) == [RuleHealth.OK]
        assert await life.told() == [("firing", "failing"), ("resolved", "failing")]


async def test_what_left_the_configuration_is_missed_by_nobody(tmp_path, clock):
    """
    Its alerts end, and its rules sleep again.
    """
    source = loaded('up{job="web"} 0x20')
    async with judged(DOWN, source, tmp_path, clock, targets=["web", "redis"]) as life:
        await life.until(300)
    async with judged(DOWN, source, tmp_path, clock, targets=["redis"]) as life:
        await life.until(900)
        assert health(life) == [RuleHealth.INACTIVE]
        assert (await life.changes())[-1].why == "its target is no longer monitored"
        assert await life.told() == [("firing", "down"), ("resolved", "down")]


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        (DOWN.replace("for: 1m", "for: 5m").replace("up == 0", "up < 1").replace("is down", "is away"), []),
        (DOWN.replace("alert: down", "alert: away"), [("resolved", "down"), ("firing", "away")]),
        (DOWN.replace("critical", "warning"), [("resolved", "down"), ("firing", "down")]),
        ("groups: []", [("resolved", "down")]),
        (DOWN.replace("name: shop", "name: moved"), []),
    ],
)
async def test_an_edited_rule_goes_on_and_a_removed_one_resolves_what_it_fired(tmp_path, clock, edit, told):
    """
    Query, time and text may change, and where it stands; with another name or other labels it is another alert.
    """
    source = loaded('up{job="web"} 0x100')
    async with judged(DOWN, source, tmp_path, clock) as life:
        await life.until(300)
    async with judged(edit, source, tmp_path, clock) as life:
        await life.until(600)
        assert await life.told() == [("firing", "down"), *told]


async def test_while_state_is_away_alerts_are_judged_told_and_kept(tmp_path, clock, monkeypatch):
    """
    From memory, to whoever sends what is urgent, and in a file; a new life reads it, and state catches up in order.
    """
    source = loaded('up{job="web"} 1x4 0x20 1x100')

    async def away(work):
        raise StateError("state: the disk is gone")

    async with judged(DOWN, source, tmp_path, clock) as life:
        await life.until(60)
        there = life.state.transaction
        monkeypatch.setattr(life.state, "transaction", away)
        await life.until(300)
        assert [change.alert.name for change in life.urgent] == ["down"]
        assert life.evaluating.health() == HealthStatus(
            False, "2 changes of alerts are not stored yet: state: the disk is gone"
        )
        monkeypatch.setattr(life.state, "transaction", there)
        assert await life.told() == []
    async with judged(DOWN, source, tmp_path, clock) as life:
        await life.until(330)
        assert await life.told() == [("firing", "down")]
        await life.until(900)
        assert await life.told() == [("firing", "down"), ("resolved", "down")]
        assert life.evaluating.health().ok
    assert not (tmp_path / "alerts.jsonl").exists()


async def test_a_line_that_breaks_off_costs_itself_alone(tmp_path, clock, monkeypatch):
    """
    The power went while it was written.
    """
    async with judged(DOWN, loaded('up{job="web"} 0x20'), tmp_path, clock) as life:

        async def away(work):
            raise StateError("away")

        monkeypatch.setattr(life.state, "transaction", away)
        await life.until(120)
    file = tmp_path / "alerts.jsonl"
    file.write_bytes(file.read_bytes() + b'{"number": 9, "rule"')
    async with judged(DOWN, loaded('up{job="web"} 0x20'), tmp_path, clock) as life:
        assert await life.told() == [("firing", "down")]


async def test_an_acknowledgement_lasts_as_long_as_its_alert(tmp_path, clock):
    """
    It survives a restart, is told, and is gone when the alert comes again.
    """
    source = loaded('up{job="web"} 0x20 1x20 0x100')
    async with judged(DOWN, source, tmp_path, clock) as life:
        await life.until(120)
        alert = next(it.alert for _, it in life.ledger.all())
        commands = AcknowledgeCommands(life.ledger, clock)
        assert await commands.acknowledge(alert.fingerprint, ANN, comment="on it") == 1
        with pytest.raises(NotFoundError, match="no firing alert '0000000000000000'"):
            await commands.acknowledge("0" * 16, ANN)
    async with judged(DOWN, source, tmp_path, clock) as life:
        await life.until(240)
        (alert,) = (it.alert for _, it in life.ledger.all())
        assert alert.acknowledged
        assert (alert.acknowledged.by, alert.acknowledged.comment) == ("ann", "on it")
        await life.until(900)
        (alert,) = (it.alert for _, it in life.ledger.all())
        assert (alert.status, alert.acknowledged) == (AlertStatus.FIRING, None)
        assert [change.why for change in await life.changes()] == ["", "acknowledged by ann", "", ""]


async def test_alerts_and_recorded_numbers_are_written_as_series(tmp_path, clock):
    """
    As Prometheus names them; what is over ends with a staleness marker.
    """
    rules = DOWN + "  - record: job:up:sum\n    expr: sum by (job) (up)\n    labels: {team: shop}\n"
    async with judged(rules, loaded('up{job="web"} 0x6 1x20'), tmp_path, clock) as life:
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


async def test_a_part_of_toban_that_is_unwell_is_an_alert_after_five_minutes(tmp_path, clock):
    """
    It needs no numbers.
    """
    async with judged("groups: []", loaded(""), tmp_path, clock) as life:
        life.conditions = [("store", HealthStatus(False, "the disk is full"))]
        await life.until(290)
        assert await life.told() == []
        await life.until(330)
        life.conditions = []
        await life.until(360)
        assert await life.told() == [("firing", "toban_component_unhealthy"), ("resolved", "toban_component_unhealthy")]


async def test_what_one_rule_breaks_costs_that_rule_alone(tmp_path, clock, monkeypatch):
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
    async with judged(rules, loaded('up{job="web"} 0x20'), tmp_path, clock) as life:
        await life.until(30)
        found = {it.name: it for it in life.ledger.alerts()}
        health = {seat.rule.name: seat.last for bench in life.evaluating.groups for seat in bench.rules}
    assert set(found) >= {"texts", "other"}
    assert found["texts"].annotations["good"] == "web"
    assert found["texts"].annotations["bad"] == "<error expanding template: ZeroDivisionError: division by zero>"
    assert (health["broken"].health, health["broken"].error) == (
        RuleHealth.FAILED,
        "ZeroDivisionError: division by zero",
    )


async def test_a_text_may_tell_the_name_of_its_metric(tmp_path, clock):
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
    async with judged(rules, loaded('up{job="web"} 0x20'), tmp_path, clock) as life:
        await life.until(30)
        (found,) = life.ledger.alerts()
    assert dict(found.labels) == {"alertname": "probe", "job": "web", "metric": "up"}
    assert found.annotations == {"summary": "up __name__=up job=web"}


async def test_a_group_that_raises_is_judged_the_next_time(tmp_path, clock):
    """
    And the others all the while.
    """
    async with judged(DOWN, loaded('up{job="web"} 0x20'), tmp_path, clock) as life:
        turns = []

        async def job() -> None:
            turns.append(clock.now())
            if len(turns) == 1:
                raise ZeroDivisionError
            if len(turns) == 3:
                raise asyncio.CancelledError

        with pytest.raises(asyncio.CancelledError):
            await life.evaluating._run_job("g", timedelta(seconds=15), job)
    assert len(turns) == 3
