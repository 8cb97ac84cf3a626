"""Sentry's webhook with the whole program."""

import hashlib
import hmac
import json
from datetime import UTC, datetime

from tests.program import eventually, toban

SECRET = "0123456789abcdef"


def signed(body, secret=SECRET):
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def issue_alert(number=1, **event):
    now = datetime.now(UTC).isoformat()
    found = {"event_id": str(number), "issue_id": "4711", "title": "wrong", "level": "error", "datetime": now, **event}
    return json.dumps({"action": "triggered", "data": {"event": found, "triggered_rule": "Rule"}}).encode()


def resolved():
    return json.dumps({"action": "resolved", "data": {"issue": {"id": "4711"}}}).encode()


def test_webhooks_become_alerts_and_what_is_wrong_is_refused_and_counted(tmp_path):
    settings = {"errors": {"sentry_client_secret": SECRET}, "collect": [{"kind": "toban", "interval": "1s"}]}
    (tmp_path / "toban.yaml").write_text(json.dumps(settings))
    with toban(tmp_path / "data", "--config", str(tmp_path / "toban.yaml")) as program:

        def post(resource, body, signature=None):
            headers = {"sentry-hook-resource": resource, "sentry-hook-signature": signature or signed(body)}
            return program.post("/hooks/sentry", body, "application/json", **headers)

        def firing():
            return [it["labels"]["issue_id"] for it in program.json("/api/v1/alerts")["data"]["alerts"]]

        first = issue_alert()
        assert post("event_alert", first) == (200, "")
        eventually(firing, lambda found: found == ["4711"])
        assert post("event_alert", issue_alert(2, level="fatal")) == (200, "")
        assert firing() == ["4711"]
        assert post("event_alert", first)[0] == 409
        assert post("event_alert", issue_alert(3, datetime="2026-01-01T00:00:00Z"))[0] == 409
        assert post("event_alert", issue_alert(4), signed(b"x"))[0] == 403
        assert post("event_alert", issue_alert(5), signed(issue_alert(5), "other"))[0] == 403
        assert post("event_alert", issue_alert(6, issue_id=None))[0] == 400
        for garbage in (b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000):
            assert post("issue", garbage)[0] == 400
        assert post("event_alert", b"x" * 2**21)[0] == 413
        assert post("installation", b'{"action": "created", "data": {}}') == (200, "")
        assert post("seer", b'{"action": "x"}') == (200, "")
        assert post("issue", resolved()) == (200, "")
        eventually(firing, lambda found: found == [])
        counted = {"accepted": 3, "replayed": 2, "unsigned": 2, "invalid": 6, "too_large": 1, "ignored": 2}

        def by_outcome():
            found = program.query("sum by (outcome) (toban_sentry_webhooks_total)")
            return {it["metric"]["outcome"]: float(it["value"][1]) for it in found}

        eventually(by_outcome, lambda found: found == counted)


def test_without_a_secret_the_webhook_is_refused(tmp_path):
    with toban(tmp_path / "data") as program:
        code, text = program.post(
            "/hooks/sentry", b"{}", "application/json", **{"sentry-hook-signature": signed(b"{}")}
        )
        assert (code, "errors.sentry_client_secret is not set" in text) == (403, True)
