"""Rows of state that can't be read, in toban's own API."""

from toban.access.permissions import Permission
from toban.core.actor import Actor
from toban.state.quarantine import Quarantine
from toban.state.quarantine_commands import QuarantineCommands
from toban.web.api.api_endpoint import ApiEndpoint, NoParameters
from toban.web.api.models import (
    DeleteRowRequest,
    DeleteRowResponse,
    QuarantinedRowModel,
    QuarantineResponse,
)
from toban.web.endpoint import Endpoint


class QuarantineApi:
    """Shows the rows in quarantine, and forwards commands on them."""

    def __init__(self, commands: QuarantineCommands, quarantine: Quarantine) -> None:
        self._commands = commands
        self._quarantine = quarantine

    def routes(self) -> list[Endpoint]:
        """Return the routes."""
        path, read, configure = "/api/quarantine", Permission.READ, Permission.CONFIGURE
        return [
            ApiEndpoint(path, self.rows, read, NoParameters, QuarantineResponse),
            ApiEndpoint(f"{path}/forget", self.forget, configure, DeleteRowRequest, DeleteRowResponse, method="POST"),
        ]

    async def rows(self, _: NoParameters, actor: Actor) -> QuarantineResponse:
        """Return the newest rows in quarantine, and what is skipped."""
        rows = [QuarantinedRowModel.model_validate(row) for row in await self._commands.rows()]
        return QuarantineResponse(rows=rows, message=self._quarantine.health().message)

    async def forget(self, request: DeleteRowRequest, actor: Actor) -> DeleteRowResponse:
        """Delete a row in quarantine for good."""
        await self._commands.forget(request.id, actor)
        return DeleteRowResponse(id=request.id)
