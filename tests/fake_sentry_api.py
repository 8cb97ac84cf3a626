"""
A fake of Sentry's API: pages of two issues by cursor, a token with a scope and one without.

    async with FakeSentryApi() as sentry:
        sentry.url, sentry.token    # what a collector is given
        sentry.add("shop", "error") # an unresolved issue
        sentry.next(busy(30))       # the fault of the next request

Made from its documentation, not recorded.
"""

from datetime import datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.fake_http import FakeService, ReceivedRequest, Reply

PAGE = 2
PARAMETERS = {"query", "sort", "limit", "statsPeriod", "cursor"}


class FakeSentryApi(FakeService):
    """The organization `acme`."""

    token, without_scope = "sntrys_right", "sntrys_no_scope"

    def __init__(self) -> None:
        super().__init__()
        self.issues: list[dict[str, Any]] = []

    def add(self, project: str, level: str, first_seen: datetime) -> None:
        """Add an issue."""
        seen = first_seen.isoformat().replace("+00:00", "Z")
        number = str(len(self.issues) + 1)
        self.issues.append({"id": number, "level": level, "firstSeen": seen, "project": {"id": "1", "slug": project}})

    def respond(self, request: ReceivedRequest) -> Reply:
        """Answer a list of issues."""
        shown = request.headers.get("authorization", "").removeprefix("Bearer ")
        if shown != self.token:
            is_known = shown == self.without_scope
            return Reply.json({"detail": "You do not have permission"}, 403 if is_known else 401)
        parts = urlsplit(request.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        self.mistakes += [f"unknown parameter {name}" for name in set(query) - PARAMETERS]
        if query.get("query") != "is:unresolved" or int(query.get("limit", "100")) > 100:
            self.mistakes.append(f"query {query}")
        match parts.path.strip("/").split("/"):
            case ["api", "0", "organizations", "acme", "issues"]:
                issues = self.issues
            case ["api", "0", "projects", "acme", project, "issues"]:
                issues = [it for it in self.issues if it["project"]["slug"] == project]
                if query.get("statsPeriod") not in {"24h", "14d"}:
                    return Reply.json({"detail": "Invalid stats_period"}, 400)
            case _:
                return Reply.json({"detail": "The requested resource does not exist"}, 404)
        if not parts.path.endswith("/"):
            return Reply(301)
        issues = sorted(issues, key=lambda it: it["firstSeen"], reverse=query.get("sort") == "new")
        start = int(query.get("cursor", "0:0:0").split(":")[1])
        reply = Reply.json(issues[start : start + PAGE])
        reply.headers["link"] = ", ".join(
            f"<{self.url}{parts.path}?query=is%3Aunresolved&limit=100&sort=new&statsPeriod=14d&cursor=0:{at}:{back}>; "
            f'rel="{name}"; results="{"true" if has_results else "false"}"; cursor="0:{at}:{back}"'
            for name, at, back, has_results in (
                ("previous", max(start - PAGE, 0), 1, start > 0),
                ("next", start + PAGE, 0, start + PAGE < len(issues)),
            )
        )
        return reply
