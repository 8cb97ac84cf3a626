"""Texts from outside are text on every page: no markup, no script, no link that acts."""

import json
import urllib.request

from tests.browser.conftest import Visitor, post_alert

HOSTILE = '"><script>window.pwned=1</script><img src=x onerror="window.pwned=1">'
PATHS = ("/", "/alerts", "/silences", "/silences/new", "/logs", "/audit", "/targets", "/rules", "/slo", "/channels")


def post(url: str, path: str, body: object) -> None:
    """Post JSON."""
    request = urllib.request.Request(url + path, json.dumps(body).encode(), {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=30):
        pass


def log_line(text: str) -> dict:
    """Return a log record of OpenTelemetry."""
    record = {"timeUnixNano": "1767225600000000000", "severityText": "ERROR", "body": {"stringValue": text}}
    service = {"key": "service.name", "value": {"stringValue": text}}
    return {"resourceLogs": [{"resource": {"attributes": [service]}, "scopeLogs": [{"logRecords": [record]}]}]}


def test_hostile_texts_are_shown_as_text(browser, console):
    """
    In alerts, labels, comments, names of people and log lines.
    """
    annotations = {"summary": HOSTILE, "description": HOSTILE, "runbook_url": "javascript:window.pwned=1"}
    post_alert(console.url, HOSTILE, **annotations)
    matchers = [f"alertname={json.dumps(HOSTILE)}"]
    post(console.url, "/api/silences", {"matchers": matchers, "comment": HOSTILE, "created_by": HOSTILE[:60]})
    post(console.url, "/v1/logs", log_line(HOSTILE))
    with urllib.request.urlopen(f"{console.url}/api/alerts", timeout=30) as response:
        (fingerprint,) = [it["fingerprint"] for it in json.load(response)["alerts"] if it["name"] == HOSTILE]

    visitor = Visitor(browser, console.url)
    shown = 0
    for path in (*PATHS, f"/alerts/{fingerprint}"):
        page = visitor.open(path)
        assert page.evaluate("window.pwned === undefined"), path
        assert page.locator("img[src=x]").count() == 0, path
        assert page.locator('a[href^="javascript:"]').count() == 0, path
        shown += page.get_by_text("<img src=x").count()
    assert shown > 5
    assert visitor.complaints == []
    visitor.context.close()
