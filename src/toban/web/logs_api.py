"""The newest log lines: `/api/logs`."""

from starlette.requests import Request
from starlette.responses import Response

from toban.core.log_line import LogLevel
from toban.logs.recent_lines import RecentLines, as_json
from toban.web.endpoint import Endpoint, Permission
from toban.web.json_response import JsonResponse


class LogsApi:
    """Shows log lines, newest first."""

    def __init__(self, recent: RecentLines) -> None:
        self._recent = recent

    def routes(self) -> list[Endpoint]:
        """Return the routes."""
        return [Endpoint("/api/logs", self.lines, Permission.READ)]

    async def lines(self, request: Request) -> Response:
        """Answer lines of a `level` or worse, a `context`, a `service`, holding a `text`, at most `limit`."""
        asked = request.query_params
        limit, level = asked.get("limit", "100"), asked.get("level", "debug")
        if not limit.isdecimal() or not 1 <= int(limit[:6]) <= 5_000:
            return JsonResponse({"error": f"limit: {limit[:20]!r} is not a number from 1 to 5000"}, 400)
        if level not in LogLevel.__members__.values():
            return JsonResponse({"error": f"level: {level[:20]!r} is none of {', '.join(LogLevel)}"}, 400)
        found = self._recent.newest(
            int(limit), LogLevel(level), asked.get("context", ""), asked.get("service", ""), asked.get("text", "")
        )
        return JsonResponse({"lines": [as_json(line) for line in found]})
