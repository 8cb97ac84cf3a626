"""The audit log in the console."""

from collections.abc import Sequence

from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response

from toban.access.permissions import Permission
from toban.web.api.audit import AuditApi, AuditEntryModel, AuditRequest
from toban.web.endpoint import Endpoint, actor
from toban.web.pages.rendering import page
from toban.web.problem_details import readable_fields


class AuditPage:
    """Shows the audit log."""

    def __init__(self, api: AuditApi) -> None:
        self._api = api

    def routes(self) -> list[Endpoint]:
        """Return the routes."""
        return [Endpoint("/audit", self.audit, Permission.READ)]

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
