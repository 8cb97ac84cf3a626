"""Exports to a real Prometheus and Alertmanager: they accept them, and notify of the same alerts."""

import itertools
import json
import shutil
import subprocess
import urllib.request
from contextlib import closing
from pathlib import Path

import pytest
import yaml

from tests.fork_server import base_environment
from tests.needs import need
from tests.page_server import Page, serve_page
from tests.program import TOBAN, eventually, run, toban
from tests.servers import alertmanager, free_port, prometheus
from tests.webhook_receiver import WebhookReceiver
from toban.core.labels import Labels
from toban.notify.routing import Routing
from toban.settings import load_settings

RULES = """
groups:
- name: mine
  interval: 1s
  rules:
  - {record: "load:max", expr: max(load)}
  - {alert: shop_away, expr: 'up{job="vendure"} == 0', for: 1s, labels: {severity: critical}, annotations: {summary: "away: {{ $labels.instance }}"}}
  - {alert: load_high, expr: "load:max > 5", labels: {severity: warning, channels: hook}, annotations: {value: "{{ $value | humanize }}"}}
  - {alert: load_low, expr: "load < 5", labels: {severity: warning}}
"""  # noqa: E501  # a rule each

MANY = """
web: {listen: "127.0.0.1:9119", token: hush}
notify:
  timezone: Asia/Tokyo
  inhibit: [{source_matchers: [alertname=a], target_matchers: [alertname=b], equal: [team]}]
  routes:
    - {matchers: ['team="b"'], channels: [hook], group_by: [team], group_wait: 1m, continue: true}
    - {matchers: ['team=~"b|c"', 'severity=warning'], channels: [email], repeat_interval: 1d}
    - {matchers: ['severity=info'], channels: []}
  maintenance_windows:
    - {name: nightly, cron: "30 23 * * 0", for: 2h}
    - {name: monthly, cron: "0 3,4 1 * *", for: 30m, timezone: Europe/Berlin}
    - {name: odd, cron: "0 3 L * *", for: 2h}
    - {name: some, cron: "0 3 * * *", for: 2h, matchers: [team=c]}
channels:
  slack: {kind: slack, webhook: "https://hooks.slack.com/services/T/B/X"}
  bot: {kind: slack, token: "xoxb-1"}
  email: {kind: email, host: smtp.example.com, username: u, password: "a secret", sender: a@example.com, to: [b@example.com]}
  pager: {kind: pagerduty, key: 0123456789abcdef0123456789abcdef}
  hook: {kind: webhook, url: "https://x.example/", secret: abc}
"""  # noqa: E501  # a channel each


def program(name: str) -> str:
    return str(need(name, shutil.which(name)))


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """A configuration with everything in it."""
    path = tmp_path / "toban.yaml"
    path.write_text(MANY)
    return path


def export(configuration: Path, what: str, *more: str, code: int = 0) -> str:
    """Export beside the configuration and return what was said."""
    arguments = [*TOBAN, "export", what, str(configuration.parent / "out"), "--config", str(configuration), *more]
    done = run(arguments, base_environment(), configuration.parent)
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr


def test_prometheus_and_alertmanager_accept_the_export(many):
    """
    Secrets lie in files that only their owner reads; what has no words there is named; nothing is written over.
    """
    output = export(many, "prometheus") + export(many, "alertmanager")
    out = many.parent / "out"
    for command in (
        ("promtool", "check", "config", out / "prometheus.yml"),
        ("promtool", "check", "rules", out / "rules.yml"),
        ("amtool", "check-config", out / "alertmanager.yml"),
    ):
        done = subprocess.run([program(command[0]), *command[1:]], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert not [secret for secret in ("a secret", "xoxb-1", "01234567", "hush") if secret in output]
    assert {path.name: path.stat().st_mode & 0o777 for path in (out / "secrets").iterdir()} == dict.fromkeys(
        ("toban", "slack", "bot", "email", "pager"), 0o600
    )
    for lost in ("hook: the signature", "window odd: ", "window some: ", "flap detection", "toban_component_unhealthy"):
        assert lost in output
    assert "exists already: --force overwrites it" in export(many, "alertmanager", code=2)
    export(many, "alertmanager", "--force")
    times = yaml.safe_load((out / "alertmanager.yml").read_text())["time_intervals"]
    assert times[0]["time_intervals"][1] == {
        "times": [{"start_time": "00:00", "end_time": "01:30"}],
        "location": "Asia/Tokyo",
        "weekdays": ["monday"],
    }
    assert [it["days_of_month"] for it in times[1]["time_intervals"]] == [["1"], ["1"]]


def test_exported_routes_equal_tobans_routes(many):
    """
    For alerts of all sorts: those that go on, nobody's, those with channels of their own, the most urgent.
    """
    export(many, "alertmanager")
    settings = load_settings(many, {})
    routing = Routing(settings.notify, {name: channel.pages for name, channel in settings.channels.items()})
    sorts = {
        "alertname": ("application_down", "disk_usage_high"),
        "severity": ("critical", "warning", "info"),
        "team": ("", "b", "c"),
        "channels": ("", "slack", "slack,email"),
        "priority": ("", "p1", "P3"),
    }
    asked = [program("amtool"), "config", "routes", "test", f"--config.file={many.parent / 'out' / 'alertmanager.yml'}"]
    different = {}
    for values in itertools.product(*sorts.values()):
        labels = Labels({name: value for name, value in zip(sorts, values, strict=True) if value})
        words = [f"{name}={value}" for name, value in labels.items()]
        theirs = subprocess.run([*asked, *words], capture_output=True, text=True, check=True).stdout.strip()
        ours = sorted({name for taken in routing.route(labels) for name in taken.channels})
        if sorted({name for one in theirs.split(",") for name in one.split("+")} - {"nobody"}) != ours:
            different[tuple(words)] = (theirs, ours)
    assert different == {}


def test_prometheus_and_alertmanager_notify_of_the_same_alerts(tmp_path):
    """
    Prometheus judges what toban sees, `up` and what it scraped from others included; its Alertmanager tells whom toban
    tells.
    """
    page = Page('load{n="1"} 9\nload{n="2"} 1\n', media="text/plain; version=0.0.4")
    with serve_page(page) as exporter, closing(WebhookReceiver()) as hook:
        (tmp_path / "mine.yaml").write_text(RULES)
        configuration = tmp_path / "toban.yaml"
        configuration.write_text(
            yaml.safe_dump(
                {
                    "collect": [
                        {
                            "kind": "http",
                            "name": "vendure",
                            "url": f"http://127.0.0.1:{free_port()}/",
                            "interval": "1s",
                        },
                        {"kind": "scrape", "name": "load", "url": exporter.url, "interval": "1s"},
                    ],
                    "alerting": {"shipped": False, "rules": ["mine.yaml"], "evaluation_interval": "1s"},
                    "notify": {"group_wait": "1s"},
                    "channels": {"hook": {"kind": "webhook", "url": hook.url}},
                }
            )
        )
        with toban(tmp_path / "data", "--config", str(configuration)) as duty:
            here = duty.url.removeprefix("http://")
            export(configuration, "alertmanager")
            tree = yaml.safe_load((tmp_path / "out" / "alertmanager.yml").read_text())
            with alertmanager(yaml.safe_dump(tree)) as server:
                places = ("--toban", here, "--alertmanager", f"127.0.0.1:{server.port}")
                export(configuration, "prometheus", *places)
                settings = yaml.safe_load((tmp_path / "out" / "prometheus.yml").read_text())
                settings["global"]["scrape_interval"] = "1s"

                def prepare(path: Path) -> None:
                    shutil.copy(tmp_path / "out" / "rules.yml", path)

                with prometheus(yaml.safe_dump(settings), prepare) as judge:
                    ours = eventually(lambda: firing(duty.json("/api/v1/alerts")), lambda found: len(found) == 3)
                    eventually(lambda: firing(fired(judge.port)), lambda found: found == ours)
                    names = {dict(labels)["alertname"] for labels, _ in ours}
                    assert names == {"shop_away", "load_high", "load_low"}
                    eventually(lambda: notified_alerts(hook, toban=False), lambda found: found == names)
            assert notified_alerts(hook, toban=True) == names


def firing(answer: object) -> set[tuple[tuple[tuple[str, str], ...], tuple[tuple[str, str], ...]]]:
    """Return the alerts that fire, with what they say; what a collection failed with toban alone knows."""
    assert isinstance(answer, dict)
    return {
        (
            tuple(sorted(it["labels"].items())),
            tuple(sorted(pair for pair in it["annotations"].items() if pair[0] != "error")),
        )
        for it in answer["data"]["alerts"]
        if it["state"] == "firing"
    }


def fired(port: int) -> object:
    """Ask a Prometheus for its alerts."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/alerts") as response:
        return json.load(response)


def notified_alerts(hook: WebhookReceiver, *, toban: bool) -> set[str]:
    """Return the alerts that either toban or the Alertmanager told of."""
    return {
        alert["labels"]["alertname"] for body in hook.received if ("toban" in body) is toban for alert in body["alerts"]
    }
