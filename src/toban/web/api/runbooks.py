"""Runbooks in toban's own API."""

from toban.access.permissions import Permission
from toban.core.actor import Actor
from toban.runbooks.commands import RunbookCommands, RunbookReport
from toban.web.api.api_endpoint import ApiEndpoint, NoParameters
from toban.web.api.incident_models import IncidentDetailsModel
from toban.web.api.runbook_models import (
    AnswerRequest,
    ApproveRequest,
    RunbookModel,
    RunbooksResponse,
    RunModel,
    RunRequest,
    StartRunRequest,
    SwitchModel,
    SwitchRequest,
)
from toban.web.endpoint import Endpoint


class RunbooksApi:
    """Shows runbooks and their runs, and forwards commands on them."""

    def __init__(self, commands: RunbookCommands) -> None:
        self._commands = commands

    def routes(self) -> list[Endpoint]:
        """Return the routes."""
        path, read, act = "/api/runbooks", Permission.READ, Permission.ACT
        return [
            ApiEndpoint(path, self.runbooks, read, NoParameters, RunbooksResponse),
            ApiEndpoint(f"{path}/run", self.run, read, RunRequest, RunModel),
            ApiEndpoint(f"{path}/start", self.start, act, StartRunRequest, RunModel, method="POST"),
            ApiEndpoint(f"{path}/approve", self.approve, act, ApproveRequest, RunModel, method="POST"),
            ApiEndpoint(f"{path}/refuse", self.refuse, act, AnswerRequest, RunModel, method="POST"),
            ApiEndpoint(f"{path}/tick", self.tick, act, AnswerRequest, RunModel, method="POST"),
            ApiEndpoint(f"{path}/stop", self.stop, act, SwitchRequest, SwitchModel, method="POST"),
            ApiEndpoint(f"{path}/resume", self.resume, act, SwitchRequest, SwitchModel, method="POST"),
        ]

    async def runbooks(self, _: NoParameters, actor: Actor) -> RunbooksResponse:
        """Return all runbooks with their newest runs, and the stop switch."""
        reports = await self._commands.runbooks()
        return RunbooksResponse(
            switch=SwitchModel.of(await self._commands.switch(), by_file=self._commands.has_stop_file),
            runbooks=[RunbookModel.of(it) for it in reports],
        )

    async def of_incident(self, incident: IncidentDetailsModel) -> tuple[list[RunbookModel], list[RunModel]]:
        """Return the runbooks for the alerts of an incident that fire, without what they lack, and its runs."""
        fingerprints = {alert.fingerprint for alert in incident.members}
        runbooks, runs = await self._commands.of_alerts(fingerprints, incident.starts, incident.resolved)
        return [RunbookModel.of(RunbookReport(it, (), {}, ())) for it in runbooks], [RunModel.of(it) for it in runs]

    async def run(self, request: RunRequest, actor: Actor) -> RunModel:
        """Return one run."""
        return RunModel.of(await self._commands.run(int(request.id)))

    async def start(self, request: StartRunRequest, actor: Actor) -> RunModel:
        """Start a runbook by hand; it asks before it acts."""
        return RunModel.of(await self._commands.start(request.runbook, actor, request.alert, dry=request.dry))

    async def approve(self, request: ApproveRequest, actor: Actor) -> RunModel:
        """Approve exactly what a run asks for."""
        return RunModel.of(await self._commands.approve(request.id, request.approval, actor))

    async def refuse(self, request: AnswerRequest, actor: Actor) -> RunModel:
        """Refuse what a run asks for; it does not run again for this alert."""
        return RunModel.of(await self._commands.refuse(request.id, actor, request.comment))

    async def tick(self, request: AnswerRequest, actor: Actor) -> RunModel:
        """Tick the step that a run waits for; it goes on."""
        return RunModel.of(await self._commands.tick(request.id, actor, request.comment))

    async def stop(self, request: SwitchRequest, actor: Actor) -> SwitchModel:
        """Stop automation: nothing acts any more until somebody starts it again."""
        switch = await self._commands.stop(actor, request.reason)
        return SwitchModel.of(switch, by_file=self._commands.has_stop_file)

    async def resume(self, request: SwitchRequest, actor: Actor) -> SwitchModel:
        """Start automation again; the file `stop-automation` keeps it stopped."""
        switch = await self._commands.resume(actor, request.reason)
        return SwitchModel.of(switch, by_file=self._commands.has_stop_file)
