"""Reload of the configuration over HTTP."""

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response

from toban.access.permissions import Permission
from toban.core.actor import Actor
from toban.web.endpoint import JSON, Endpoint, actor
from toban.web.json_response import JsonResponse
from toban.web.problem_details import problem


class ReloadApi:
    """Responds to `POST /-/reload` as Prometheus does: when the settings are in force, or with the error."""

    def __init__(self, reload: Callable[[Actor], Awaitable[str]]) -> None:
        """``reload`` returns the error, nothing when the settings are in force."""
        self._reload = reload

    def routes(self) -> list[Endpoint]:
        """Return the routes."""
        return [Endpoint("/-/reload", self.respond, Permission.CONFIGURE, methods=["POST"], takes=JSON)]

    async def respond(self, request: Request) -> Response:
        """Reload the configuration, and return the result."""
        error = await self._reload(actor(request))
        return problem(500, error) if error else JsonResponse({"reloaded": True})
