"""Log lines in the console."""

from collections.abc import Sequence

from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response

from toban.access.permissions import Permission
from toban.core.log_line import LogLevel
from toban.web.api.logs import LogsApi
from toban.web.api.models import LogLineModel, LogsRequest
from toban.web.endpoint import Endpoint, actor
from toban.web.pages.rendering import page
from toban.web.problem_details import readable_fields


class LogsPage:
    """Shows the newest log lines of the shop."""

    def __init__(self, api: LogsApi) -> None:
        self._api = api

    def routes(self) -> list[Endpoint]:
        """Return the routes."""
        return [Endpoint("/logs", self.show, Permission.LOGS)]

    async def show(self, request: Request) -> Response:
        """Show lines of a level or more severe, of a service, with a text."""
        query = request.query_params
        asked = {name: query[name] for name in ("level", "service", "context", "text", "limit") if query.get(name)}
        error = ""
        lines: Sequence[LogLineModel] = ()
        try:
            lines = (await self._api.lines(LogsRequest.model_validate({"limit": 200, **asked}), actor(request))).lines
        except ValidationError as invalid:
            error = readable_fields(invalid)
        return page(request, "logs.html", lines=lines, asked=asked, levels=[it.value for it in LogLevel], error=error)
