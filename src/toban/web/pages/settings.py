"""The settings in the console."""

from collections.abc import Iterator, Sequence
from itertools import groupby

from starlette.requests import Request
from starlette.responses import Response

from toban.access.permissions import Permission
from toban.web.api.api_endpoint import NoParameters
from toban.web.api.settings import SettingModel, SettingsApi
from toban.web.endpoint import Endpoint, actor
from toban.web.pages.rendering import page


class SettingsPage:
    """Shows the settings that are in force."""

    def __init__(self, api: SettingsApi) -> None:
        self._api = api

    def routes(self) -> list[Endpoint]:
        """Return the routes."""
        return [Endpoint("/settings", self.settings, Permission.READ)]

    async def settings(self, request: Request) -> Response:
        """Show the settings that somebody set, or all."""
        found = (await self._api.settings(NoParameters(), actor(request))).settings
        with_defaults = request.query_params.get("defaults") == "1"
        shown = [it for it in found if with_defaults or not it.is_default]
        return page(request, "settings.html", sections=list(_sections(shown)), with_defaults=with_defaults)


def _sections(settings: Sequence[SettingModel]) -> Iterator[tuple[str, list[SettingModel]]]:
    """Yield settings by their section."""
    for name, found in groupby(settings, lambda it: it.path.partition(".")[0]):
        yield name, list(found)
