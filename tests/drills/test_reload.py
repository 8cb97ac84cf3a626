"""The configuration is read again while toban runs."""

import json
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import pytest
import yaml

from tests.program import Program, eventually, toban
from tests.webhook_receiver import WebhookReceiver

RULES = """
groups: [{name: mine, rules: [{alert: always, expr: 'up{job="toban"} == 1', labels: {severity: warning}}]}]
"""


class ReloadableProgram:
    """A toban with a configuration that can be changed."""

    def __init__(self, folder: Path, webhook: WebhookReceiver) -> None:
        self.path = folder / "toban.yaml"
        self.rules = folder / "mine.yaml"
        self.rules.write_text(RULES)
        self.settings = {
            "collect": [{"kind": "toban", "interval": "1s"}],
            "alerting": {"shipped": False, "rules": ["mine.yaml"], "evaluation_interval": "1s"},
            "notify": {"group_wait": "1s", "group_interval": "1s", "flapping": {"settle": "1s"}},
            "channels": {"hook": {"kind": "webhook", "url": webhook.url}},
        }
        self.write()

    def write(self, **changed: object) -> None:
        """Write it, with other sections."""
        self.settings = {**self.settings, **changed}
        # In one go, as editors do: half a file may be a configuration too.
        half = self.path.with_suffix(f".{uuid4()}")
        half.write_text(yaml.safe_dump(self.settings))
        half.rename(self.path)


@pytest.fixture
def webhook() -> Iterator[WebhookReceiver]:
    with closing(WebhookReceiver()) as webhook:
        yield webhook


@pytest.fixture
def house(tmp_path, webhook):
    return ReloadableProgram(tmp_path, webhook)


@pytest.fixture
def duty(tmp_path, house) -> Iterator[Program]:
    with toban(tmp_path / "data", "--config", str(house.path)) as duty:
        yield duty


def fires(duty: Program) -> dict[str, str]:
    """Return the alerts that fire, and since when."""
    return {it["labels"]["alertname"]: it["activeAt"] for it in duty.json("/api/v1/alerts")["data"]["alerts"]}


def test_a_reload_keeps_alerts_and_applies_changes(duty, house, webhook):
    """
    A silence, an acknowledgement and the time since an alert fires stay; a new channel hears of a new rule; a rule and
    a collector that are gone end.
    """
    since = eventually(lambda: fires(duty))["always"]
    eventually(lambda: webhook.kinds("always"), lambda kinds: kinds == ["firing"])
    duty.run("silence", "add", 'alertname="other"', "--comment", "x")
    duty.run("alerts", "ack", "always")
    eventually(lambda: webhook.kinds("always"), lambda kinds: kinds == ["firing", "acknowledged"])

    with closing(WebhookReceiver()) as second:
        rule = {"alert": "second", "expr": "vector(1)", "labels": {"severity": "warning", "channels": "new"}}
        other = house.path.with_name("other.yaml")
        other.write_text(yaml.safe_dump({"groups": [{"name": "other", "rules": [rule]}]}))
        house.write(
            alerting={**house.settings["alerting"], "rules": ["mine.yaml", "other.yaml"]},
            channels={**house.settings["channels"], "new": {"kind": "webhook", "url": second.url}},
        )
        done = duty.run("reload")
        assert (done.returncode, done.stdout) == (0, "The configuration was reloaded.\n"), done.stderr
        eventually(lambda: second.kinds("second"), lambda kinds: kinds == ["firing"])
    assert fires(duty)["always"] == since
    assert webhook.kinds("always") == ["firing", "acknowledged"]
    assert "other" in duty.run("silence", "list").stdout

    house.rules.write_text("groups: []")
    house.write(
        collect=[],
        channels={"hook": house.settings["channels"]["hook"]},
        alerting={"shipped": False, "rules": ["mine.yaml"]},
    )
    duty.process.send_signal(signal.SIGHUP)
    eventually(lambda: webhook.kinds("always"), lambda kinds: kinds[-1:] == ["resolved"])
    eventually(lambda: fires(duty), lambda found: found == {})
    eventually(lambda: duty.query('ALERTS{alertname="always"}'), lambda found: found == [])


def test_an_invalid_reload_changes_nothing_and_is_reported(duty, house):
    """
    In the words of `toban check`: by the command, over HTTP, in the log, in toban's health and as a metric.
    """
    since = eventually(lambda: fires(duty))
    house.write(wep={})
    words = "toban.yaml: line 18: wep: unknown setting 'wep': did you mean 'web'?"
    house_words = duty.run("check", "--config", str(house.path)).stderr.strip()
    assert words in house_words

    done = duty.run("reload")
    assert (done.returncode, done.stderr.strip()) == (1, house_words)
    status, body = duty.post("/-/reload", b"")
    assert (status, json.loads(body)["detail"]) == (500, house_words)
    assert any("configuration not reloaded" in line for line in duty.logged)
    assert words in duty.get("/-/healthy")[1]
    eventually(lambda: duty.value("toban_config_last_reload_successful"), lambda value: value == 0)
    at = duty.value("toban_config_last_reload_success_timestamp_seconds")
    assert fires(duty) == since

    del house.settings["wep"]
    house.write()
    assert duty.run("reload").returncode == 0
    eventually(lambda: duty.value("toban_config_last_reload_successful"), lambda value: value == 1)
    assert duty.value("toban_config_last_reload_success_timestamp_seconds") > at
    assert duty.get("/-/healthy")[0] == 200


def test_settings_that_need_a_restart_reject_the_reload(duty, house, tmp_path):
    """
    Also beside other changes, none of which is made then.
    """
    assert duty.url
    house.write(data=str(tmp_path / "elsewhere"), metrics={"retention": "1d"}, channels={})
    done = duty.run("reload", "--data", str(tmp_path / "data"))
    assert done.returncode == 1
    assert "data, metrics.retention: can't be changed while toban runs: restart it" in done.stderr
    assert not (tmp_path / "elsewhere").exists()


def test_a_new_token_applies_after_the_reload(duty, house):
    """
    For whoever asks over the network; commands go on.
    """
    assert duty.get("/api/status")[0] == 200
    house.write(web={"token": "secret"})
    assert duty.run("reload").returncode == 0
    assert duty.get("/api/status")[0] == 401
    assert duty.get("/api/status", authorization="Bearer secret")[0] == 200
    assert duty.post("/-/reload", b"")[0] == 401
    assert json.loads(duty.run("status", "--json").stdout)["pages"]


def test_many_concurrent_reloads_lose_nothing(duty, house, webhook):
    """
    Signals, commands and requests at once, while rules are judged and pages asked: one message, no gap, no end.
    """
    eventually(lambda: webhook.kinds("always"), lambda kinds: kinds == ["firing"])
    since = fires(duty)["always"]

    def ask(number: int) -> int:
        if number % 3 == 0:
            duty.process.send_signal(signal.SIGHUP)
        if number % 5 == 0:
            house.write(notify={"group_wait": f"{number + 1}s"})
        path = "/-/reload" if number % 2 else "/api/status"
        return duty.post(path, b"")[0] if number % 2 else duty.get(path)[0]

    with ThreadPoolExecutor(4) as pool:
        responses = list(pool.map(ask, range(60)))
    assert set(responses) == {200}
    house.write()
    assert duty.run("reload").returncode == 0
    assert fires(duty)["always"] == since
    assert webhook.kinds("always") == ["firing"]
    assert duty.process.poll() is None
