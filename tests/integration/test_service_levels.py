"""Service levels in the whole program: rules, page, API, commands and export."""

import json
import re
import shutil
import subprocess
from html import unescape

import yaml

from tests.needs import need
from tests.program import eventually, toban

LEVELS = {
    "host": {"target": 99.5, "good": 'up{job="host"} == 1', "interval": "5s"},
    "api": {"target": 99.9, "total": "vendure_api_requests_total", "bad": 'vendure_api_requests_total{status="500"}'},
    "fast": {"target": 95, "histogram": "shop_seconds", "below": 1.5},
}


def configure(folder, **settings):
    path = folder / "toban.yaml"
    path.write_text(json.dumps({"slo": LEVELS, **settings}))
    return path


def test_budgets_are_shown_everywhere(tmp_path):
    """
    One that is observed, and two whose events nobody has counted yet; planned windows and alerts by name.
    """
    windows = [{"name": "night", "cron": "0 * * * *", "for": "30m", "matchers": ["alertname=none"]}]
    config = configure(tmp_path, notify={"maintenance_windows": windows})
    with toban(tmp_path / "data", "--config", str(config)) as program:
        program.until("Ctrl-C stops it")

        def levels():
            return {it["name"]: it for it in program.json("/api/slo")["levels"]}

        host = eventually(lambda: levels()["host"], lambda it: it["events"] > 0)
        assert (host["state"], host["bad"], host["good_percent"], host["left"]) == ("free", 0, 100, 1)
        assert host["planned_seconds"] > 86_400
        assert host["alerts"] == ["host_budget_fast", "host_budget_slow"]
        assert levels()["api"]["state"] == "no data"

        page = unescape(program.get("/slo")[1])
        assert "100.000 % good, target 99.500 %" in page and "burn rate unknown" in page
        listed = program.run("slo").stdout.splitlines()
        assert re.search(r"● +host +100 % +99\.5 % +100 %", "\n".join(listed))
        shown = program.run("slo", "host")
        assert "host_budget_fast" in shown.stdout and shown.returncode == 0
        unknown = program.run("slo", "nothing")
        assert unknown.returncode == 2 and "there are host, api, fast" in unknown.stderr
        assert {it["name"] for it in json.loads(program.run("slo", "--json").stdout)} == set(LEVELS)

        states = {it["name"]: it for group in program.json("/api/rules")["groups"] for it in group["rules"]}
        assert states["slo:observed:bool"]["health"] == "ok"
        assert states["api_budget_fast"]["health"] == "inactive"

        checked = program.run("check", "--config", str(config)).stdout
        assert "●  host  720 events an hour" in checked
        assert "●  api   no events so far" in checked


def test_prometheus_evaluates_the_exported_rules(tmp_path):
    config = configure(tmp_path)
    with toban(tmp_path / "data", "--config", str(config)) as program:
        program.until("Ctrl-C stops it")
        program.run("export", "prometheus", str(tmp_path / "out"), "--config", str(config))
    rules = tmp_path / "out" / "rules.yml"
    names = {rule.get("alert") for group in yaml.safe_load(rules.read_text())["groups"] for rule in group["rules"]}
    assert {f"{name}_budget_{how}" for name in LEVELS for how in ("fast", "slow")} <= names
    promtool = need("promtool", shutil.which("promtool"))
    done = subprocess.run([promtool, "check", "rules", rules], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
