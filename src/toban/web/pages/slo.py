"""Service levels in the console."""

from starlette.requests import Request
from starlette.responses import Response

from toban.access.permissions import Permission
from toban.web.api.api_endpoint import NoParameters
from toban.web.api.slo import SloApi
from toban.web.endpoint import Endpoint, actor
from toban.web.pages.rendering import page


class SloPage:
    """Shows service levels, and what is left of their error budgets."""

    def __init__(self, api: SloApi) -> None:
        self._api = api

    def routes(self) -> list[Endpoint]:
        """Return the routes."""
        return [Endpoint("/slo", self.index, Permission.READ)]

    async def index(self, request: Request) -> Response:
        """Show all service levels."""
        found = await self._api.budgets(NoParameters(), actor(request))
        return page(request, "slo.html", levels=found.levels)
