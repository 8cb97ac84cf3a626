"""An instance of toban in the console: its settings, the audit log, its version and size."""

from collections.abc import Iterator, Sequence
from itertools import groupby

from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response

from toban.access.permissions import Permission
from toban.web.api.api_endpoint import NoParameters
from toban.web.api.instance import AuditEntryModel, AuditRequest, InstanceApi, SettingModel
from toban.web.endpoint import Endpoint, actor
from toban.web.pages.rendering import page
from toban.web.problem_details import readable_fields


class InstancePages:
    """Shows the settings, the audit log, and toban itself."""

    def __init__(self, api: InstanceApi) -> None:
        self._api = api

    def routes(self) -> list[Endpoint]:
        """Return the routes."""
        return [
            Endpoint("/settings", self.settings, Permission.READ),
            Endpoint("/audit", self.audit, Permission.READ),
            Endpoint("/about", self.about, Permission.READ),
        ]

    async def settings(self, request: Request) -> Response:
        """Show the settings that somebody set, or all."""
        found = (await self._api.settings(NoParameters(), actor(request))).settings
        with_defaults = request.query_params.get("defaults") == "1"
        shown = [it for it in found if with_defaults or not it.is_default]
        return page(request, "settings.html", sections=list(_sections(shown)), with_defaults=with_defaults)

    async def audit(self, request: Request) -> Response:
        """Show the newest entries of the audit log, or older ones."""
        query = request.query_params
        asked = {name: query[name] for name in ("before", "actor") if query.get(name)}
        error = ""
        entries: Sequence[AuditEntryModel] = ()
        try:
            entries = (await self._api.audit(AuditRequest.model_validate(asked), actor(request))).entries
        except ValidationError as invalid:
            error = readable_fields(invalid)
        return page(request, "audit.html", entries=entries, actor_filter=asked.get("actor", ""), error=error)

    async def about(self, request: Request) -> Response:
        """Show the version, the sizes and the health of toban."""
        return page(request, "about.html", about=await self._api.about(NoParameters(), actor(request)))


def _sections(settings: Sequence[SettingModel]) -> Iterator[tuple[str, list[SettingModel]]]:
    """Yield settings by their section."""
    for name, found in groupby(settings, lambda it: it.path.partition(".")[0]):
        yield name, list(found)
