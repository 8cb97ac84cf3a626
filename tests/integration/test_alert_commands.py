"""Alerts at a terminal: the commands beside a running toban."""

import os
import pwd
import re
import sqlite3
from contextlib import closing

import pytest
import yaml

from tests.program import eventually, toban
from tests.webhook_receiver import WebhookReceiver

RULES = """
groups:
- name: mine
  rules:
  - alert: always
    expr: up{job="host"} == 1
    labels: {severity: info}
    annotations: {summary: "It is up"}
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "rules.yaml").write_text(RULES)
    settings = {
        "alerting": {"rules": ["rules.yaml"], "evaluation_interval": "1s"},
        "channels": {"hook": {"kind": "webhook", "url": "http://127.0.0.1:9/x"}},
        "notify": {"group_wait": "1s"},
    }
    (tmp_path / "toban.yaml").write_text(yaml.safe_dump(settings))
    return tmp_path


def audited(folder):
    """Return the actions of the audit log that this user took through the socket for commands."""
    with closing(sqlite3.connect(folder / "data" / "toban.db")) as database:
        rows = database.execute("SELECT actor, via, action FROM audit_log").fetchall()
    user = pwd.getpwuid(os.getuid()).pw_name
    return {action for who, via, action in rows if (who, via) == (user, "local socket")}


def test_a_firing_alert_is_listed_explained_acknowledged_and_silenced(folder):
    """
    By the commands; an unknown name is said to be one.
    """
    with toban(folder / "data", "--config", str(folder / "toban.yaml")) as program:
        listed = eventually(lambda: program.run("alerts"), lambda done: "It is up" in done.stdout)
        assert (listed.returncode, "firing" in listed.stdout) == (1, True)
        sleeps = re.compile(r'storefront_down +up\{job="storefront"\}\n')
        eventually(lambda: program.run("alerts").stdout, sleeps.search)
        why = eventually(lambda: program.run("why", "always").stdout, lambda text: "send" in text)
        assert "to hook by its severity info" in why
        eventually(lambda: program.run("alerts").stdout, lambda text: "connection refused" in text)
        assert "acknowledged by" in program.run("alerts", "ack", "always", "--comment", "on it").stdout
        assert "acknowledged by" in program.run("alerts").stdout
        made = program.run("silence", "add", 'alertname="always"', "--for", "2h", "--comment", "tea").stdout
        assert "tea" in program.run("silence", "list").stdout
        assert "has expired" in program.run("silence", "expire", made.split()[0]).stdout
        assert audited(folder) >= {"acknowledged an alert", "created a silence", "expired a silence"}
        wrong = program.run("silence", "add", "nonsense", "--comment", "x")
        assert (wrong.returncode, "invalid matcher" in wrong.stderr) == (1, True)
        assert "no alert and no rule 'other'" in program.run("why", "other").stderr
        assert "unknown channel 'pager': configured are hook" in program.run("alerts", "test", "pager").stderr


def test_check_tests_channels_and_rejects_rules_with_unknown_channels(folder):
    """
    With the words that `up` uses.
    """
    with toban(folder / "data") as program:
        program.until("Ctrl-C stops it")
        done = program.run("check", "--config", str(folder / "toban.yaml"))
        assert (done.returncode, "127.0.0.1 can't be reached" in done.stdout) == (1, True)
        (folder / "rules.yaml").write_text(RULES.replace("severity: info", "channels: pager"))
        done = program.run("check", "--config", str(folder / "toban.yaml"))
        assert (done.returncode, "always: unknown channel 'pager': configured are hook" in done.stderr) == (2, True)


def test_rules_are_checked_and_tested(folder):
    """
    What is doubtful is said; what fails ends with 1.
    """
    test = {
        "rule_files": ["rules.yaml"],
        "tests": [
            {
                "input_series": [{"series": 'up{job="host"}', "values": "1x5"}],
                "alert_rule_test": [{"eval_time": "1m", "alertname": "always", "exp_alerts": []}],
            }
        ],
    }
    (folder / "t.yaml").write_text(yaml.safe_dump(test))
    with toban(folder / "data") as program:
        assert "1 rules" in program.run("rules", "check", str(folder / "rules.yaml")).stdout
        done = program.run("rules", "test", str(folder / "t.yaml"))
        assert (done.returncode, "1 failed" in done.stdout) == (1, True)


def test_a_drill_is_evaluated_notified_and_resolved(tmp_path):
    """
    A number is read, stored, judged, decided about and sent; then the end of it is told too.
    """
    with closing(WebhookReceiver()) as hook:
        settings = {
            "collect": [{"kind": "toban", "interval": "1s"}],
            "alerting": {"evaluation_interval": "1s"},
            "channels": {"hook": {"kind": "webhook", "url": hook.url}},
            "notify": {
                "group_wait": "1s",
                "group_interval": "1s",
                "drill": {"channels": ["hook"]},
                "flapping": {"settle": "1s"},
            },
        }
        (tmp_path / "toban.yaml").write_text(yaml.safe_dump(settings))
        with toban(tmp_path / "data", "--config", str(tmp_path / "toban.yaml")) as program:
            program.until("Ctrl-C stops it")
            assert "it must reach hook" in program.run("alerts", "drill").stdout
            eventually(lambda: hook.kinds("toban_drill") == ["firing", "resolved"])
            eventually(lambda: "the last drill reached hook" in program.run("status").stdout)
            assert program.value("toban_drill_ok") == 1
