"""Targets in the console."""

from starlette.requests import Request
from starlette.responses import Response

from toban.access.permissions import Permission
from toban.web.api.api_endpoint import NoParameters
from toban.web.api.status import StatusApi
from toban.web.endpoint import Endpoint, actor
from toban.web.pages.rendering import page


class TargetsPage:
    """Shows each target with its last collection."""

    def __init__(self, status: StatusApi) -> None:
        self._status = status

    def routes(self) -> list[Endpoint]:
        """Return the routes."""
        return [Endpoint("/targets", self.show, Permission.READ)]

    async def show(self, request: Request) -> Response:
        """Show all targets."""
        found = await self._status.targets(NoParameters(), actor(request))
        return page(request, "targets.html", targets=sorted(found.targets, key=lambda it: (it.up, it.name)))
