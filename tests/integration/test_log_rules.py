"""Rules over log lines in the whole program: lines arrive, an alert fires, somebody is notified."""

import json
import re
import urllib.parse
from html import unescape

import pytest

from tests.fork_server import base_environment
from tests.program import TOBAN, eventually, run, toban
from tests.webhook_receiver import WebhookReceiver

LINES = '{service=~".+"} | json | reason="declined"'
DECLINED = f"sum by (service) (count_over_time({LINES} [10s])) > 2"

RULES = f"""
groups:
- name: lines
  engine: logs
  interval: 1s
  rules:
  - record: shop:declined
    expr: sum by (service) (count_over_time({LINES} [1h]))
    labels: {{shop: mine}}
  - alert: declines
    expr: {json.dumps(DECLINED)}
    labels: {{severity: critical}}
    annotations:
      summary: "{{{{ $value }}}} declined payments of {{{{ $labels.service }}}}"
      description: '{{{{ query "sum(count_over_time({{level=\\"error\\"}}[1h]))" | first | value }}}} errors in an hour'
  - alert: many_declines
    expr: sum by (service) (count_over_time({LINES} [1h])) > 2
    labels: {{severity: warning}}
    annotations: {{summary: Many}}
  - alert: worker_silent
    expr: absent_over_time({{service="worker"}}[1m])
    labels: {{severity: info}}
    annotations: {{summary: The worker says nothing}}
  - alert: unreadable
    expr: sum(sum_over_time({{service="shop"}} | json | unwrap reason [1h])) > 0
    labels: {{severity: info}}
    annotations: {{summary: This query fails}}
"""

MORE_RULES = """
groups:
- name: metrics
  rules:
  - alert: declines_recorded
    expr: shop:declined > 5
"""

RULE_TESTS = """
rule_files: [rules.yaml, more.yaml]
tests:
- name: lines
  interval: 1m
  input_series: [{series: 'shop:declined{service="shop"}', values: 9x10}]
  alert_rule_test:
  - {eval_time: 5m, alertname: declines, exp_alerts: [{exp_labels: {severity: critical}}]}
  - {eval_time: 5m, alertname: declines_recorded, exp_alerts: [{exp_labels: {service: shop}}]}
"""


@pytest.fixture
def receiver():
    received = WebhookReceiver()
    yield received
    received.close()


def configure(folder, **settings: object) -> None:
    (folder / "rules.yaml").write_text(RULES)
    document = {"alerting": {"rules": ["rules.yaml"]}, **settings}
    (folder / "toban.yaml").write_text(json.dumps(document))


def command(folder, *arguments: str):
    """Run a command where no toban runs."""
    return run([*TOBAN, *arguments], {**base_environment(), "TOBAN_DATA": str(folder / "data")}, folder)


def push(program, count: int, reason: str = "declined") -> None:
    lines = [
        json.dumps({"level": "error", "message": f"payment {it} failed", "service": "shop", "reason": reason})
        for it in range(count)
    ]
    assert program.post("/api/logs", "\n".join(lines).encode(), "application/x-ndjson")[0] == 200


def alerts(program, name: str):
    return [it for it in program.json("/api/alerts")["alerts"] if it["name"] == name and it["status"] == "firing"]


def test_lines_make_an_alert_and_its_end_is_notified(tmp_path, receiver):
    """
    With its value, its labels, and a link to the lines that it counts.
    """
    configure(
        tmp_path,
        channels={"hook": {"kind": "webhook", "url": receiver.url}},
        notify={"group_wait": "1s", "group_interval": "1s", "flapping": {"settle": "1s"}},
    )
    with toban(tmp_path / "data", "--config", str(tmp_path / "toban.yaml")) as program:
        program.until("Ctrl-C stops it")

        def firing():
            push(program, 3)
            return alerts(program, "declines")

        (alert,) = eventually(firing)
        assert alert["labels"] == {"alertname": "declines", "service": "shop", "severity": "critical"}
        assert eventually(lambda: receiver.kinds("declines"))[0] == "firing"
        sent = next(it for it in receiver.received if it["groupLabels"]["alertname"] == "declines")
        assert re.fullmatch(r"\d+ declined payments of shop", sent["commonAnnotations"]["summary"])
        assert re.fullmatch(r"\d+ errors in an hour", sent["commonAnnotations"]["description"])

        def resolved():
            push(program, 1, "timeout")
            return receiver.kinds("declines")[-1] == "resolved"

        eventually(resolved)


def test_every_view_shows_such_rules(tmp_path):
    """
    The API of Prometheus, toban's own, the pages, the commands; a recorded series; an error, and no lines at all.
    """
    configure(tmp_path)
    with toban(tmp_path / "data", "--config", str(tmp_path / "toban.yaml")) as program:
        program.until("Ctrl-C stops it")
        assert "no data: {service=~" in eventually(
            lambda: next(it for it in program.run("rules", "list").stdout.splitlines() if " declines " in it),
            lambda line: "no data" in line,
        )
        # What is missing is what this rule asks for.
        (silent,) = eventually(lambda: alerts(program, "worker_silent"))
        assert silent["labels"]["service"] == "worker"
        push(program, 3)
        (alert,) = eventually(lambda: alerts(program, "many_declines"))

        (series,) = eventually(lambda: program.query("shop:declined"))
        assert series["metric"] == {"__name__": "shop:declined", "service": "shop", "shop": "mine"}
        assert series["value"][1] == "3"

        groups = program.json("/api/v1/rules")["data"]["groups"]
        (group,) = [it for it in groups if it["name"] == "lines"]
        rules = {it["name"]: it for it in group["rules"]}
        assert rules["declines"]["query"] == DECLINED
        assert rules["many_declines"]["state"] == "firing"
        unreadable = eventually(
            lambda: next(
                it
                for group in program.json("/api/rules")["groups"]
                for it in group["rules"]
                if it["name"] == "unreadable"
            ),
            lambda rule: rule["health"] == "err",
        )
        assert "SampleExtractionErr" in unreadable["error"]
        assert unreadable["log_queries"] == ['{service="shop"} | json']

        status, page = program.get("/rules/declines")
        assert status == 200 and f"/logs?{urllib.parse.urlencode({'query': LINES})}" in unescape(page)
        assert "/explore?" not in page
        assert "engine: logs" in program.get("/rules")[1]
        status, page = program.get(f"/alerts/{alert['fingerprint']}")
        link = next(it for it in re.findall(r'href="([^"]+)"', unescape(page)) if it.startswith("/logs?"))
        asked = urllib.parse.parse_qs(urllib.parse.urlsplit(link).query)
        assert (asked["query"], asked["service"]) == ([LINES], ["shop"])
        assert "level" not in asked
        assert program.get(link)[1].count("payment") >= 3
        assert '<figure class="threshold">' in page

        why = program.run("why", "many_declines").stdout
        assert "value: 3 (service=shop)   > 2" in why
        assert 'data: count_over_time({service=~".+"}[1h]): 1 series' in why


def test_the_configuration_is_refused_where_a_query_is_none_for_series(tmp_path):
    """
    `toban check` and `toban rules check` say where, in the same words.
    """
    configure(tmp_path)
    rules = tmp_path / "rules.yaml"
    checked = command(tmp_path, "rules", "check", str(rules))
    assert checked.returncode == 0, checked.stdout
    rules.write_text(rules.read_text().replace(json.dumps(DECLINED), '\'{service="shop"} |= "declined"\''))
    place = "group 'lines', rule 2 (declines): expr: parse error : only metric queries are supported here"
    for arguments in (["rules", "check", str(rules)], ["check"]):
        refused = command(tmp_path, *arguments)
        assert refused.returncode != 0
        assert f"{rules}: {place}" in refused.stdout + refused.stderr


def test_exports_name_the_rules_that_they_leave_out(tmp_path):
    """
    Neither Prometheus nor Grafana has toban's lines.
    """
    configure(tmp_path)
    for program, rules in (("prometheus", "rules.yml"), ("grafana", "provisioning/alerting/toban.yaml")):
        folder = tmp_path / program
        exported = command(tmp_path, "export", program, str(folder))
        assert exported.returncode == 0, exported.stderr
        assert "Not exported: declines: it reads toban's log lines (`engine: logs`)." in exported.stdout
        text = (folder / rules).read_text()
        assert "log_error_burst" in text and "declines" not in text


def test_the_unit_tests_of_rules_say_that_they_have_no_lines(tmp_path):
    """
    What a rule records may be given as a series, and rules over metrics are tested as ever.
    """
    configure(tmp_path)
    (tmp_path / "more.yaml").write_text(MORE_RULES)
    (tmp_path / "test.yaml").write_text(RULE_TESTS)
    tested = command(tmp_path, "rules", "test", str(tmp_path / "test.yaml"))
    assert tested.returncode == 1
    assert "1 failed" in tested.stdout
    assert "alert declines at 0:05:00" in tested.stdout
    assert "`engine: logs`: it reads log lines, a test has only series" in tested.stdout
