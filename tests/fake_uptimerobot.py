"""
A fake of UptimeRobot's API v3: pages of two monitors, names escaped for HTML, keys with and without permissions.

    async with FakeUptimeRobot() as robot:
        robot.url, robot.key       # what a collector is given
        robot.monitors             # the monitors
        robot.next(busy(30))       # the fault of the next request

Made from its documentation, not recorded.
"""

import html
import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.fake_http import FakeService, ReceivedRequest, Reply

FIELDS = {"friendlyName", "url", "type", "interval", "timeout", "keywordType", "keywordValue"}
PAGE = 2


class FakeUptimeRobot(FakeService):
    """An account with a main key and one that may only read."""

    key, reading = "u1-main", "u1-readonly"

    def __init__(self) -> None:
        super().__init__()
        self.monitors: list[dict[str, Any]] = []

    def add(self, name: str, url: str, status: str = "UP", **more: Any) -> None:
        """Add a monitor."""
        known = {"id": len(self.monitors) + 1, "friendlyName": html.escape(name), "url": url, "status": status}
        self.monitors.append({"type": "HTTP", "interval": 300, **known, **more})

    def respond(self, request: ReceivedRequest) -> Reply:
        """Answer a list or make a monitor."""
        shown = request.headers.get("authorization", "").removeprefix("Bearer ")
        if shown not in {self.key, self.reading}:
            return Reply.json({"message": "Unauthorized"}, 401)
        parts = urlsplit(request.path)
        if parts.path != "/v3/monitors":
            return Reply.json({"message": "Not found"}, 404)
        if request.method == "POST":
            return self._made(request) if shown == self.key else Reply.json({"message": "Forbidden"}, 403)
        start = int(parse_qs(parts.query).get("cursor", ["0"])[0])
        end = start + PAGE
        following = f"{self.url}/v3/monitors?cursor={end}" if end < len(self.monitors) else None
        return Reply.json({"data": self.monitors[start:end], "nextLink": following})

    def _made(self, request: ReceivedRequest) -> Reply:
        fields = json.loads(request.body)
        self.mistakes += [f"unknown field {name}" for name in set(fields) - FIELDS]
        if fields.get("interval", 0) < 300 or not fields.get("friendlyName"):
            return Reply.json({"message": "interval: too short for your plan"}, 400)
        self.add(fields["friendlyName"], fields["url"], "STARTED", type=fields.get("type"))
        return Reply.json(self.monitors[-1], 201)

    def pretended(self, request: ReceivedRequest) -> Reply:
        """Say that a monitor was made."""
        return Reply.json({"id": 999, **json.loads(request.body or b"{}")}, 201)
