"""
A fake of Upstash's developer API: one database, its statistics and its backups.

    async with FakeUpstash() as upstash:
        upstash.url, upstash.email, upstash.key, upstash.id    # what a collector is given
        upstash.database, upstash.stats, upstash.backups       # its responses
        upstash.next(busy(30))                                 # the fault of the next request

A client that does not request hidden credentials receives them, and that is a mistake. Made from its documentation, not
recorded.
"""

from base64 import b64encode
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.fake_http import FakeService, ReceivedRequest, Reply


def series(*values: float) -> list[dict[str, Any]]:
    """Return a series as Upstash writes it: one value a minute, with Go's text of the time."""
    return [
        {"x": f"2026-01-01 00:{minute:02}:52.{'799480932'[: minute % 9 + 1]} +0000 UTC", "y": value}
        for minute, value in enumerate(values)
    ]


class FakeUpstash(FakeService):
    """An account with a database on the free plan."""

    email, key, id = "ops@shop.example", "upstash-key", "96ad0856-03b1-4ee7-9666-e81abd0349e1"

    def __init__(self) -> None:
        super().__init__()
        self.database: dict[str, Any] = {
            "database_id": self.id,
            "database_name": "shop",
            "state": "active",
            "tls": True,
            "db_max_clients": 10_000,
            "db_disk_threshold": 268_435_456,
            "db_max_commands_per_second": 10_000,
            "db_request_limit": 500_000,
            "type": "free",
        }
        self.stats: dict[str, Any] = {
            "daily_net_commands": 12_000,
            "total_monthly_requests": 120_000,
            "total_monthly_bandwidth": 5_000_000,
            "current_storage": 1_048_576,
            "total_monthly_billing": 0.25,
            "connection_count": series(3, 4, 7),
            "throughput": series(1, 2),
            "latency_99": series(1.5),
            "days": ["Thursday"],
            "command_counts": [{"metric_identifier": "EVAL", "data_points": series(1)}],
        }
        self.backups: list[dict[str, Any]] = []

    def respond(self, request: ReceivedRequest) -> Reply:
        """Answer a question; nothing can be changed here."""
        shown = b64encode(f"{self.email}:{self.key}".encode()).decode()
        if request.headers.get("authorization") != f"Basic {shown}":
            return Reply.json("Unauthorized", 401)
        parts = urlsplit(request.path)
        _, _, _, kind, name = parts.path.split("/")
        if request.method != "GET":
            self.mistakes.append(f"{request.method} {request.path}")
        if name != self.id:
            return Reply.json("database not found", 404)
        if kind == "database":
            if parse_qs(parts.query).get("credentials") == ["hide"]:
                return Reply.json(self.database)
            self.mistakes.append("credentials were not hidden")
            return Reply.json({**self.database, "password": "secret", "rest_token": "secret"})
        return Reply.json({"stats": self.stats, "list-backup": self.backups}[kind])

    def pretended(self, request: ReceivedRequest) -> Reply:
        """Answer with nothing in it."""
        return Reply.json({})
