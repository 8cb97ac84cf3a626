"""Incidents in toban's own API."""

from collections.abc import Awaitable, Callable
from typing import Final

from toban.access.permissions import Permission
from toban.core.actor import Actor
from toban.core.ports import Clock
from toban.incidents.action_items import ActionItemCommands
from toban.incidents.commands import IncidentCommands
from toban.incidents.incident import Incident
from toban.incidents.policy import IncidentPolicy
from toban.reports.blocks import Content
from toban.reports.incident_content import incident_content
from toban.reports.mail import as_page
from toban.reports.rendering import as_markdown
from toban.web.api.api_endpoint import ApiEndpoint
from toban.web.api.incident_models import (
    ActionItemCommand,
    ActionItemRequest,
    AssignRequest,
    CommentedCommand,
    DeclareRequest,
    EditActionItemRequest,
    IncidentCommand,
    IncidentDetailsModel,
    IncidentModel,
    IncidentReportResponse,
    IncidentRequest,
    IncidentsRequest,
    IncidentsResponse,
    MergeRequest,
    NoteRequest,
    PriorityRequest,
    ReportRequest,
    SnoozeRequest,
    SplitRequest,
    SummaryRequest,
)
from toban.web.endpoint import Endpoint

MOST: Final = 500
"""How many incidents one response lists."""


class IncidentsApi:
    """Shows incidents, and forwards commands on them."""

    def __init__(self, commands: IncidentCommands, policy: Callable[[], IncidentPolicy], clock: Clock) -> None:
        self._commands = commands
        self._items = ActionItemCommands(commands)
        self._policy = policy
        self._clock = clock

    def routes(self) -> list[Endpoint]:
        """Return the routes."""
        path, read, act = "/api/incidents", Permission.READ, Permission.ACT
        return [
            ApiEndpoint(path, self.incidents, read, IncidentsRequest, IncidentsResponse),
            ApiEndpoint(f"{path}/details", self.details, read, IncidentRequest, IncidentDetailsModel),
            ApiEndpoint(f"{path}/report", self.report, read, ReportRequest, IncidentReportResponse),
            ApiEndpoint(f"{path}/acknowledge", self.acknowledge, act, CommentedCommand, IncidentModel, method="POST"),
            ApiEndpoint(
                f"{path}/unacknowledge", self.unacknowledge, act, IncidentCommand, IncidentModel, method="POST"
            ),
            ApiEndpoint(f"{path}/snooze", self.snooze, act, SnoozeRequest, IncidentModel, method="POST"),
            ApiEndpoint(f"{path}/note", self.note, act, NoteRequest, IncidentModel, method="POST"),
            ApiEndpoint(f"{path}/assign", self.assign, act, AssignRequest, IncidentModel, method="POST"),
            ApiEndpoint(f"{path}/escalate", self.escalate, act, IncidentCommand, IncidentModel, method="POST"),
            ApiEndpoint(f"{path}/priority", self.set_priority, act, PriorityRequest, IncidentModel, method="POST"),
            ApiEndpoint(f"{path}/resolve", self.resolve, act, CommentedCommand, IncidentModel, method="POST"),
            ApiEndpoint(f"{path}/reopen", self.reopen, act, IncidentCommand, IncidentModel, method="POST"),
            ApiEndpoint(f"{path}/declare", self.declare, act, DeclareRequest, IncidentModel, method="POST"),
            ApiEndpoint(f"{path}/merge", self.merge, act, MergeRequest, IncidentModel, method="POST"),
            ApiEndpoint(f"{path}/split", self.split, act, SplitRequest, IncidentModel, method="POST"),
            ApiEndpoint(f"{path}/summary", self.set_summary, act, SummaryRequest, IncidentModel, method="POST"),
            ApiEndpoint(
                f"{path}/action-item", self.add_action_item, act, ActionItemRequest, IncidentModel, method="POST"
            ),
            ApiEndpoint(
                f"{path}/edit-action-item",
                self.edit_action_item,
                act,
                EditActionItemRequest,
                IncidentModel,
                method="POST",
            ),
            ApiEndpoint(
                f"{path}/delete-action-item",
                self.delete_action_item,
                act,
                ActionItemCommand,
                IncidentModel,
                method="POST",
            ),
            ApiEndpoint(f"{path}/tick", self.tick, act, ActionItemCommand, IncidentModel, method="POST"),
            ApiEndpoint(f"{path}/untick", self.untick, act, ActionItemCommand, IncidentModel, method="POST"),
        ]

    def policy(self) -> IncidentPolicy:
        """Return the policy of now."""
        return self._policy()

    async def incidents(self, request: IncidentsRequest, actor: Actor) -> IncidentsResponse:
        """Return the newest incidents."""
        before = int(request.before) if request.before else None
        found = await self._commands.incidents(min(int(request.limit), MOST), before)
        return IncidentsResponse(incidents=[self._model(it) for it in found])

    def open_now(self) -> list[IncidentModel]:
        """Return the open incidents from memory, the most urgent first."""
        found = self._commands.open_now()
        return [self._model(it) for it in sorted(found, key=lambda it: (it.priority, it.opened))]

    async def details(self, request: IncidentRequest, actor: Actor) -> IncidentDetailsModel:
        """Return one incident with its alerts and its timeline."""
        return await self.detailed(int(request.id))

    async def detailed(self, number: int, language: str = "en") -> IncidentDetailsModel:
        """Return one incident with its timeline in a language."""
        found = await self._commands.details(number)
        now = self._clock.now()
        return IncidentDetailsModel.detailed(found.incident, found.timeline, self._policy(), now, language)

    async def report(self, request: ReportRequest, actor: Actor) -> IncidentReportResponse:
        """Return the report of an incident."""
        number = int(request.id)
        content = await self.report_content(number, request.language)
        return IncidentReportResponse(id=number, markdown=as_markdown(content), html=as_page(content))

    async def report_content(self, number: int, language: str) -> Content:
        """Return what the report of an incident says in a language."""
        found = await self._commands.details(number)
        return incident_content(found.incident, found.timeline, self._policy(), language, self._clock.now())

    async def acknowledge(self, request: CommentedCommand, actor: Actor) -> IncidentModel:
        """Acknowledge an incident and its alerts: nobody else is called."""
        return await self._after(self._commands.acknowledge(request.id, actor, request.comment, request.by))

    async def unacknowledge(self, request: IncidentCommand, actor: Actor) -> IncidentModel:
        """Take an acknowledgement back: people are called again."""
        return await self._after(self._commands.unacknowledge(request.id, actor, request.by))

    async def snooze(self, request: SnoozeRequest, actor: Actor) -> IncidentModel:
        """Let nobody be called for a while."""
        return await self._after(
            self._commands.snooze(request.id, request.duration, actor, request.comment, request.by)
        )

    async def note(self, request: NoteRequest, actor: Actor) -> IncidentModel:
        """Add a note to the timeline."""
        return await self._after(self._commands.note(request.id, request.text, actor, request.by))

    async def assign(self, request: AssignRequest, actor: Actor) -> IncidentModel:
        """Assign an incident to a person."""
        return await self._after(self._commands.assign(request.id, request.person, actor, request.by))

    async def escalate(self, request: IncidentCommand, actor: Actor) -> IncidentModel:
        """Call everybody now."""
        return await self._after(self._commands.escalate(request.id, actor, request.by))

    async def set_priority(self, request: PriorityRequest, actor: Actor) -> IncidentModel:
        """Change the priority of an incident."""
        return await self._after(self._commands.set_priority(request.id, request.priority, actor, request.by))

    async def resolve(self, request: CommentedCommand, actor: Actor) -> IncidentModel:
        """Resolve an incident, whatever its alerts do."""
        return await self._after(self._commands.resolve(request.id, actor, request.comment, request.by))

    async def reopen(self, request: IncidentCommand, actor: Actor) -> IncidentModel:
        """Open a resolved incident again."""
        return await self._after(self._commands.reopen(request.id, actor, request.by))

    async def declare(self, request: DeclareRequest, actor: Actor) -> IncidentModel:
        """Declare an incident that no alert has seen."""
        return await self._after(
            self._commands.declare(request.title, request.priority, actor, request.text, request.by)
        )

    async def merge(self, request: MergeRequest, actor: Actor) -> IncidentModel:
        """Merge an incident into another one; return that."""
        return await self._after(self._commands.merge(request.id, request.into, actor, request.by))

    async def split(self, request: SplitRequest, actor: Actor) -> IncidentModel:
        """Take alerts out of an incident, into a new one; return that."""
        return await self._after(self._commands.split(request.id, request.alert, actor, request.by))

    async def set_summary(self, request: SummaryRequest, actor: Actor) -> IncidentModel:
        """Write what happened, for the report."""
        return await self._after(self._commands.set_summary(request.id, request.text, actor))

    async def add_action_item(self, request: ActionItemRequest, actor: Actor) -> IncidentModel:
        """Add something to do after an incident."""
        return await self._after(self._items.add(request.id, request.text, actor, request.owner, request.by))

    async def edit_action_item(self, request: EditActionItemRequest, actor: Actor) -> IncidentModel:
        """Change the text or the owner of an action item."""
        return await self._after(
            self._items.edit(request.id, request.item, actor, request.text, request.owner, request.by)
        )

    async def delete_action_item(self, request: ActionItemCommand, actor: Actor) -> IncidentModel:
        """Delete an action item."""
        return await self._after(self._items.delete(request.id, request.item, actor, request.by))

    async def tick(self, request: ActionItemCommand, actor: Actor) -> IncidentModel:
        """Tick an action item: it is done."""
        return await self._after(self._items.tick(request.id, request.item, actor, request.by))

    async def untick(self, request: ActionItemCommand, actor: Actor) -> IncidentModel:
        """Take the tick of an action item back."""
        return await self._after(self._items.untick(request.id, request.item, actor, request.by))

    async def _after(self, command: Awaitable[Incident]) -> IncidentModel:
        return self._model(await command)

    def _model(self, incident: Incident) -> IncidentModel:
        return IncidentModel.of(incident, self._policy(), self._clock.now())
