"""The history of firings and backtests in the whole program."""

import json
import re
from datetime import UTC, datetime, timedelta
from html import unescape

from tests.program import eventually, toban

RULES = """
groups:
- name: shop
  interval: 1s
  rules:
  - {alert: always, expr: "up{job='host'} == 1", labels: {severity: info}}
"""
OTHER = """
groups:
- name: other
  interval: 1s
  rules:
  - {record: "hosts:up:count", expr: count(up)}
  - {alert: hosts, expr: "hosts:up:count > 0"}
  - {alert: none, expr: "hosts:up:count > 100"}
"""


def test_what_fired_is_recorded_and_a_backtest_finds_the_same(tmp_path):
    """
    Of a rule by its name, and of a file with recording rules; by the commands, the API and the pages.
    """
    (tmp_path / "rules.yaml").write_text(RULES)
    (tmp_path / "other.yaml").write_text(OTHER)
    settings = {"alerting": {"rules": ["rules.yaml"]}}
    (tmp_path / "toban.yaml").write_text(json.dumps(settings))
    with toban(tmp_path / "data", "--config", str(tmp_path / "toban.yaml")) as program:
        program.until("Ctrl-C stops it")
        (alert,) = eventually(
            lambda: [it for it in program.json("/api/alerts")["alerts"] if it["name"] == "always"],
        )
        seen = {"alert": alert["fingerprint"], "comment": "seen"}
        assert program.post("/api/alerts/acknowledge", json.dumps(seen).encode())[0] == 200
        silence = {"matchers": ['alertname="always"'], "comment": "the threshold is wrong"}
        assert program.post("/api/silences", json.dumps(silence).encode())[0] == 200
        (firing,) = eventually(
            lambda: program.json("/api/firings", rule="always")["firings"], lambda it: it and it[0]["acts"]
        )
        assert (firing["priority"], firing["ended"]) == ("P3", None)
        assert firing["acknowledged_by"] and [it["kind"] for it in firing["acts"]] == ["silence"]
        listed = program.run("rules", "history", "always").stdout
        reviewed = json.loads(program.run("maintenance", "run", "threshold_review", "--json").stdout)
        assert (reviewed["state"], reviewed["text"]) == ("succeeded", "no limit could be better")
        assert "ACTED ON" in listed and "silence" in listed
        assert program.run("rules", "history", "nothing").stdout == "Nothing has fired.\n"
        assert "silence" in program.get("/rules/always")[1]

        (one,) = json.loads(program.run("rules", "backtest", "always", "--from", "1h", "--json").stdout)["results"]
        assert (one["fired"], one["failed"]) == (1, 0)
        assert one["recorded"] == {"matched": 1, "only_recorded": 0, "only_replayed": 0}
        shown = program.run("rules", "backtest", str(tmp_path / "other.yaml"), "--from", "1h").stdout
        assert "hosts: fired 1 times" in shown and "none: fired 0 times" in shown
        unknown = program.run("rules", "backtest", "nothing")
        assert unknown.returncode == 1 and "no alerting rule 'nothing'" in unknown.stderr

        review = program.json("/api/review")
        assert [(it["rule"], it["fired"], it["precision"]) for it in review["rules"]] == [("always", 1, None)]
        assert "application_down" in [it["rule"] for it in review["without_data"]]
        assert "always" not in [it["rule"] for it in review["quiet"]]
        assert "disk_usage_high" in program.run("review").stdout
        assert "always" in program.get("/review")[1]
        assert program.get("/review?month=2026-13")[0] == 404
        assert "write it like 2026-11" in program.run("review", "--month", "now").stderr

        proposed = program.run("review", "--propose")
        assert proposed.returncode == 0 and "No limit saves firings" in proposed.stdout
        assert re.search(r"fired less than 5 times in 90 days: .*disk_usage_high", proposed.stdout)
        assert "nothing is proposed for 'always'" in program.run("review", "--apply", "always").stderr
        assert program.post("/review/act/propose", b"", "application/x-www-form-urlencoded")[0] == 200

        page = unescape(program.get("/backtests/1")[1])
        assert "1 the same, 0 only recorded" in page
        assert program.get("/backtests/99")[0] == 404
        status, body = program.post("/backtests/act/start", b"rule=always&days=1", "application/x-www-form-urlencoded")
        assert status == 200 and "always" in body
        now = datetime.now(UTC)
        wrong = {"rule": "always", "begins": now.isoformat(), "ends": (now - timedelta(hours=1)).isoformat()}
        started = json.loads(program.post("/api/backtests/start", json.dumps(wrong).encode())[1])
        failed = eventually(
            lambda: program.json("/api/backtests", id=str(started["id"])), lambda it: it["state"] == "failed"
        )
        assert "must end after its begin" in failed["error"]
        assert eventually(lambda: program.query('toban_backtests_total{outcome="done"}'))
