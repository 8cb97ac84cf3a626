"""
A fake of PagerDuty's Events API v2.

    async with FakePagerDuty() as pagerduty:
        pagerduty.url, pagerduty.key        # what a channel is given
        pagerduty.alerts                    # incidents by (key, dedup key)
        pagerduty.changes                   # change events
        pagerduty.next(busy(None), broken)  # the faults of the next two requests

It refuses what PagerDuty refuses, and drops silently what it drops; made from its documentation, not recorded.
"""

import json
import ssl
from dataclasses import dataclass, field
from typing import Any

from tests.fake_http import FakeService, ReceivedRequest, Reply

EVENT = {"routing_key", "event_action", "dedup_key", "payload", "client", "client_url", "links", "images"}
PAYLOAD = {"summary", "source", "severity", "timestamp", "component", "group", "class", "custom_details"}


@dataclass
class Incident:
    """An incident: the payload of each trigger; `paged` counts the pages."""

    status: str
    triggers: list[dict[str, Any]] = field(default_factory=list)
    paged: int = 0


class FakePagerDuty(FakeService):
    """An account with two services, each with a key."""

    key = "0123456789abcdef0123456789abcdef"
    other = "fedcba9876543210fedcba9876543210"

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(tls)
        self.alerts: dict[tuple[str, str], Incident] = {}
        self.changes: list[dict[str, Any]] = []
        self.dropped: list[dict[str, Any]] = []

    def respond(self, request: ReceivedRequest) -> Reply:
        """Take an event."""
        if len(request.body) > 512_000:
            return Reply(413, b"<html>Request Entity Too Large</html>", "text/html")
        try:
            event = json.loads(request.body)
        except ValueError:
            return _refused("JSON parse error", "Unrecognized object")
        wrong = self._wrong(event, changes=request.path == "/v2/change/enqueue")
        if wrong:
            return _refused(*wrong)
        if request.path == "/v2/change/enqueue":
            self.changes.append(event)
            return Reply.json({"status": "success", "message": "Change event processed"}, 202)
        if request.path != "/v2/enqueue":
            return Reply(404, b"<html>not found</html>", "text/html")
        self._take(event)
        return self.pretended(request)

    def pretended(self, request: ReceivedRequest) -> Reply:
        """Say that it was taken."""
        dedup = request.json.get("dedup_key", "made-up")
        return Reply.json({"status": "success", "message": "Event processed", "dedup_key": dedup}, 202)

    def _take(self, event: dict[str, Any]) -> None:
        name = (event["routing_key"], event.get("dedup_key", "made-up"))
        found = self.alerts.get(name)
        if event["event_action"] == "trigger":
            if not found or found.status == "resolved":
                found = self.alerts[name] = Incident("triggered", found.triggers if found else [], 1)
            found.triggers.append(event)
        elif not found or found.status == "resolved":
            self.dropped.append(event)
        else:
            found.status = "acknowledged" if event["event_action"] == "acknowledge" else "resolved"

    def _wrong(self, event: Any, *, changes: bool) -> list[str]:
        if not isinstance(event, dict):
            return ["Event object format is unrecognized"]
        self.mistakes += [f"unknown field {name}" for name in set(event) - EVENT]
        wrong = []
        if len(event.get("routing_key", "")) != 32:
            wrong.append("Length of 'routing_key' is incorrect (should be 32 characters)")
        payload = event.get("payload", {})
        self.mistakes += [f"unknown field payload.{name}" for name in set(payload) - PAYLOAD]
        action = "change" if changes else event.get("event_action")
        if action not in {"change", "trigger", "acknowledge", "resolve"}:
            wrong.append("'event_action' is invalid")
        if action in {"acknowledge", "resolve"}:
            if not event.get("dedup_key"):
                wrong.append("'dedup_key' is missing or blank")
            return wrong
        if len(event.get("dedup_key", "")) > 255:
            wrong.append("'dedup_key' is too long")
        if not payload.get("summary") or len(payload["summary"]) > 1024:
            wrong.append("'payload.summary' is missing, blank or too long")
        if action == "trigger":
            if not payload.get("source"):
                wrong.append("'payload.source' is missing or blank")
            if payload.get("severity") not in {"critical", "error", "warning", "info"}:
                wrong.append("'payload.severity' is invalid (must be one of: critical, error, warning, info)")
        if any(not link.get("href") for link in event.get("links", [])):
            wrong.append("'links.href' is missing")
        return wrong


def _refused(*errors: str, status: str = "invalid event") -> Reply:
    return Reply.json({"status": status, "message": "Event object is invalid", "errors": list(errors)}, 400)
