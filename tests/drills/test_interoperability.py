"""amtool, a real Prometheus and a real Alertmanager speak with the whole program."""

import json
import shutil
import subprocess
import time

import pytest
import yaml

from tests.needs import need
from tests.program import eventually, toban
from tests.servers import alertmanager, prometheus
from tests.webhook_receiver import WebhookReceiver

RULES = """
groups:
- name: mine
  rules:
  - alert: shop_away
    expr: up{job="vendure"} == 0
    for: 1s
    labels: {severity: critical}
    annotations: {summary: "{{ $labels.job }} is away"}
"""


@pytest.fixture
def webhook():
    webhook = WebhookReceiver()
    yield webhook
    webhook.close()


@pytest.fixture
def shop(tmp_path, webhook):
    """A toban that judges every second and tells a webhook."""
    (tmp_path / "rules.yaml").write_text(RULES)
    settings = {
        "alerting": {"rules": ["rules.yaml"], "evaluation_interval": "1s", "shipped": False},
        "channels": {"hook": {"kind": "webhook", "url": webhook.url}},
        "notify": {"group_wait": "1s", "group_interval": "1s", "flapping": {"settle": "1s"}},
    }
    (tmp_path / "toban.yaml").write_text(yaml.safe_dump(settings))
    with toban(tmp_path / "data", "--config", str(tmp_path / "toban.yaml")) as program:
        yield program


def run(*command, **options):
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_amtool_works_unmodified(shop, webhook):
    """
    Alerts are added and asked for; silences are made, asked for and ended; what is silenced is told to nobody.
    """
    amtool = str(need("amtool", shutil.which("amtool")))

    def am(*words):
        return run(amtool, f"--alertmanager.url={shop.url}", *words)

    am("alert", "add", "alertname=by_hand", "severity=warning", "node=a", "--annotation=summary=hello")
    assert "by_hand" in am("alert", "query")
    assert json.loads(am("alert", "query", "node=a", "-o", "json"))[0]["annotations"] == {"summary": "hello"}
    assert "by_hand" not in am("alert", "query", "node=b")
    eventually(lambda: webhook.kinds("by_hand"))
    silence = am("silence", "add", "alertname=hushed", "--comment=tea", "--author=ann", "--duration=1h").strip()
    assert "tea" in am("silence", "query")
    am("alert", "add", "alertname=hushed", "severity=warning")
    assert "suppressed" in am("alert", "query", "--silenced", "-o", "extended")
    am("silence", "expire", silence)
    assert silence not in am("silence", "query")
    eventually(lambda: webhook.kinds("hushed"))
    reason = subprocess.run(
        [amtool, f"--alertmanager.url={shop.url}", "silence", "add", "alertname=~.*", "--comment=x"],
        capture_output=True,
        text=True,
    )
    assert "at least one matcher must not match the empty string" in reason.stderr


def test_amtool_updates_a_silence_under_the_id_that_it_has(shop):
    """
    Its end and its comment change in place, as at Alertmanager; other matchers make another silence.
    """
    amtool = str(need("amtool", shutil.which("amtool")))

    def am(*words):
        return run(amtool, f"--alertmanager.url={shop.url}", *words)

    silence = am("silence", "add", "alertname=x", "--comment=tea", "--author=ann", "--duration=1h").strip()
    am("silence", "update", "--duration=3h", "--comment=lunch", silence)
    (found,) = shop.json("/api/v2/silences")
    assert (found["id"], found["comment"], found["status"]["state"]) == (silence, "lunch", "active")
    changed = {**found, "matchers": [{**found["matchers"][0], "value": "y"}]}
    status, text = shop.post("/api/v2/silences", json.dumps(changed).encode())
    assert (status, json.loads(text)["silenceID"] != silence) == (200, True)
    assert sorted(it["status"]["state"] for it in shop.json("/api/v2/silences")) == ["active", "expired"]
    status, text = shop.post("/api/v2/silences", json.dumps({**found, "id": "nobody's"}).encode())
    assert (status, "not found" in text) == (404, True)


def test_valid_alerts_of_a_request_are_accepted_and_others_reported(shop, webhook):
    """
    With 400 and each reason, as Alertmanager does; labels of any name are taken.
    """
    good = [
        {"labels": {"alertname": "good", "service.name": "shop", "チーム": "倉庫"}},
        {"labels": {"alertname": "too"}},
    ]
    bad = [
        {"labels": {}},
        5,
        {"labels": {"alertname": "n", "n": 5}},
        {"labels": {"alertname": "z"}, "startsAt": "2026-01-02T00:00:00Z", "endsAt": "2026-01-01T00:00:00Z"},
        {"labels": {"alertname": "y"}, "endsAt": "9999-12-31T23:59:59.999999-14:00"},
    ]
    status, text = shop.post("/api/v2/alerts", json.dumps([good[0], *bad, good[1]]).encode())
    assert status == 400
    for reason in ("at least one label pair", "object with labels", "with string values", "before end time", "range"):
        assert reason in text
    eventually(lambda: webhook.kinds("good") and webhook.kinds("too"))
    assert {it["labels"]["alertname"] for it in shop.json("/api/v2/alerts", filter='"チーム"="倉庫"')} == {"good"}
    hooked = {"receiver": "x", "alerts": [{**one, "status": "firing"} for one in (*good, bad[0])]}
    status, text = shop.post("/hooks/alertmanager", json.dumps(hooked).encode())
    assert (status, "at least one label pair" in text) == (400, True)
    status, _ = shop.post(
        "/api/v2/alerts", b'[{"labels": {"alertname": "cut"}, "annotations": {"summary": "\\ud83d"}}]'
    )
    assert status == 200


def test_a_real_prometheus_sends_its_alerts_here(shop, webhook):
    """
    Its Alertmanager is here: what it fires is told, and what is over too.
    """
    here = shop.url.removeprefix("http://")  # which waits until toban is up
    # Prometheus discovers Alertmanagers every five seconds, and posts again every minute: it must not fire sooner.
    rule = {"alert": "theirs", "expr": f"vector(time()) > {time.time() + 9} < {time.time() + 15}"}
    rules = {"groups": [{"name": "g", "interval": "1s", "rules": [rule]}]}
    settings = {
        "rule_files": ["rules.yml"],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [here]}]}]},
    }

    def prepare(path):
        (path / "rules.yml").write_text(yaml.safe_dump(rules))

    with prometheus(yaml.safe_dump(settings), prepare):
        eventually(lambda: webhook.kinds("theirs") == ["firing"])
        eventually(lambda: webhook.kinds("theirs") == ["firing", "resolved"])


def test_a_real_alertmanager_forwards_its_alerts(shop, webhook):
    """
    By its webhook, unmodified; what it says is over is over.
    """
    amtool = str(need("amtool", shutil.which("amtool")))
    settings = {
        "route": {"receiver": "toban", "group_wait": "1s", "group_interval": "1s"},
        "receivers": [{"name": "toban", "webhook_configs": [{"url": f"{shop.url}/hooks/alertmanager"}]}],
    }
    with alertmanager(yaml.safe_dump(settings)) as server:
        address = f"--alertmanager.url=http://127.0.0.1:{server.port}"
        run(amtool, address, "alert", "add", "alertname=handed", "severity=info")
        eventually(lambda: webhook.kinds("handed") == ["firing"])
        ended = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        run(amtool, address, "alert", "add", "alertname=handed", "severity=info", f"--end={ended}")
        eventually(lambda: webhook.kinds("handed") == ["firing", "resolved"])


def test_invalid_alerts_are_rejected_as_by_alertmanager(shop):
    """
    With its words; and what a flood or garbage costs is that request.
    """
    for body, kind, status, reason in [
        (b"{}", "application/json", 400, "must be an array"),
        (b"[{}]", "application/json", 400, "object with labels"),
        (b'[{"labels": {}}]', "application/json", 400, "at least one label pair required"),
        (b'[{"labels": {"": "x"}}]', "application/json", 400, 'invalid name \\"\\"'),
        (b"[", "application/json", 400, "because json"),
        (b"[]", "text/plain", 415, "unsupported media type"),
        (b'[{"labels": {"a": "b"}, "endsAt": "tomorrow"}]', "application/json", 400, "is not a valid time"),
        (b" " * 9_000_000, "application/json", 413, "more than 2000000 bytes"),
    ]:
        answered, text = shop.post("/api/v2/alerts", body, kind)
        assert (answered, reason in text) == (status, True), text
