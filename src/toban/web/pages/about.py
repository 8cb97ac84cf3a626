"""An instance of toban in the console: its version, its sizes and its health."""

from starlette.requests import Request
from starlette.responses import Response

from toban.access.permissions import Permission
from toban.web.api.about import AboutApi
from toban.web.api.api_endpoint import NoParameters
from toban.web.endpoint import Endpoint, actor
from toban.web.pages.rendering import page


class AboutPage:
    """Shows this instance of toban."""

    def __init__(self, api: AboutApi) -> None:
        self._api = api

    def routes(self) -> list[Endpoint]:
        """Return the routes."""
        return [Endpoint("/about", self.about, Permission.READ)]

    async def about(self, request: Request) -> Response:
        """Show the version, the sizes and the health of toban."""
        return page(request, "about.html", about=await self._api.about(NoParameters(), actor(request)))
