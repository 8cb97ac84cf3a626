"""Where the configuration is read again when somebody asks for that."""

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response

from toban.web.endpoint import JSON, Endpoint, Permission
from toban.web.json_response import JsonResponse


class ReloadApi:
    """Answers `POST /-/reload` as Prometheus does: when the settings are in force, or with what is wrong."""

    def __init__(self, reload: Callable[[], Awaitable[str]]) -> None:
        """``reload`` returns what is wrong, nothing when the settings are in force."""
        self._reload = reload

    def routes(self) -> list[Endpoint]:
        """Return the routes."""
        return [Endpoint("/-/reload", self.answer, Permission.ACT, methods=["POST"], takes=JSON)]

    async def answer(self, request: Request) -> Response:
        """Read the configuration again, and say what came of it."""
        trouble = await self._reload()
        return JsonResponse({"error": trouble}, 500) if trouble else JsonResponse({"reloaded": True})
