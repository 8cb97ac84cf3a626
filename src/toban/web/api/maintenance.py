"""Maintenance in toban's own API."""

from toban.access.permissions import Permission
from toban.core.actor import Actor
from toban.maintenance.commands import MaintenanceCommands
from toban.web.api.api_endpoint import ApiEndpoint, NoParameters
from toban.web.api.maintenance_models import (
    CancelRunRequest,
    MaintenanceResponse,
    MaintenanceRunModel,
    MaintenanceRunRequest,
    MissingResponse,
    StartTaskRequest,
    TaskModel,
    TaskRequest,
)
from toban.web.endpoint import Endpoint


class MaintenanceApi:
    """Shows maintenance tasks and their runs, and forwards commands on them."""

    def __init__(self, commands: MaintenanceCommands) -> None:
        self._commands = commands

    def routes(self) -> list[Endpoint]:
        """Return the routes."""
        path, read, act = "/api/maintenance", Permission.READ, Permission.ACT
        return [
            ApiEndpoint(path, self.tasks, read, NoParameters, MaintenanceResponse),
            ApiEndpoint(f"{path}/run", self.run, read, MaintenanceRunRequest, MaintenanceRunModel),
            ApiEndpoint(f"{path}/missing", self.missing, read, TaskRequest, MissingResponse),
            ApiEndpoint(f"{path}/start", self.start, act, StartTaskRequest, MaintenanceRunModel, method="POST"),
            ApiEndpoint(f"{path}/cancel", self.cancel, act, CancelRunRequest, MaintenanceRunModel, method="POST"),
        ]

    async def tasks(self, _: NoParameters, actor: Actor) -> MaintenanceResponse:
        """Return all maintenance tasks with their newest runs."""
        reports, zone = await self._commands.tasks(), self._commands.zone
        return MaintenanceResponse(tasks=[TaskModel.of(it, zone) for it in reports])

    async def run(self, request: MaintenanceRunRequest, actor: Actor) -> MaintenanceRunModel:
        """Return one run."""
        return MaintenanceRunModel.of(await self._commands.run(int(request.id)))

    async def missing(self, request: TaskRequest, actor: Actor) -> MissingResponse:
        """Return what keeps a task from working here: it connects to what the task works on."""
        return MissingResponse(missing=await self._commands.missing(request.task))

    async def start(self, request: StartTaskRequest, actor: Actor) -> MaintenanceRunModel:
        """Start a task by hand."""
        return MaintenanceRunModel.of(await self._commands.start(request.task, actor, dry=request.dry))

    async def cancel(self, request: CancelRunRequest, actor: Actor) -> MaintenanceRunModel:
        """End a run that goes on; its step is cancelled within seconds."""
        return MaintenanceRunModel.of(await self._commands.cancel(request.id, actor))
