"""The newest log lines, in toban's own API."""

from toban.access.permissions import Permission
from toban.core.actor import Actor
from toban.logs.recent_lines import RecentLines, as_json
from toban.web.api.api_endpoint import ApiEndpoint
from toban.web.api.models import LogLineModel, LogsRequest, LogsResponse
from toban.web.endpoint import Endpoint


class LogsApi:
    """Shows log lines, newest first."""

    def __init__(self, recent: RecentLines) -> None:
        self._recent = recent

    def routes(self) -> list[Endpoint]:
        """Return the routes."""
        return [ApiEndpoint("/api/logs", self.lines, Permission.LOGS, LogsRequest, LogsResponse)]

    async def lines(self, request: LogsRequest, actor: Actor) -> LogsResponse:
        """Return the newest log lines."""
        found = self._recent.newest(request.limit, request.level, request.context, request.service, request.text)
        return LogsResponse(lines=[LogLineModel(**as_json(line)) for line in found])
