"""Incidents in the console: the list, one incident with its timeline, and its report."""

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from toban.access.permissions import Permission
from toban.core.actor import Actor
from toban.core.errors import NotFoundError
from toban.incidents.incident import EntryKind, IncidentState
from toban.reports.mail import as_page
from toban.reports.rendering import as_markdown
from toban.web.api.api_endpoint import RequestModel
from toban.web.api.incident_models import (
    ActionItemCommand,
    ActionItemRequest,
    AssignRequest,
    CommentedCommand,
    DeclareRequest,
    EditActionItemRequest,
    IncidentCommand,
    IncidentModel,
    IncidentsRequest,
    MergeRequest,
    NoteRequest,
    PriorityRequest,
    SnoozeRequest,
    SplitRequest,
    SummaryRequest,
)
from toban.web.api.incidents import IncidentsApi
from toban.web.api.runbooks import RunbooksApi
from toban.web.endpoint import Endpoint, actor
from toban.web.pages.forms import Fields, FormEndpoint, FormState
from toban.web.pages.incident_charts import IncidentChartReader
from toban.web.pages.rendering import language_of, page

SNOOZES: Final = ("15m", "30m", "1h", "2h", "4h", "8h", "1d")
"""The durations to choose from."""

ROUTINE: Final = frozenset({EntryKind.DELIVERED})
"""The entries of a timeline that are folded away."""

NUMBERS: Final = frozenset({"id", "into", "item"})
"""The fields of forms that are numbers."""

Q = TypeVar("Q", bound=RequestModel)


class IncidentsPages:
    """Shows incidents, and forwards commands on them."""

    def __init__(self, api: IncidentsApi, charts: IncidentChartReader, runbooks: RunbooksApi) -> None:
        self._api = api
        self._charts = charts
        self._runbooks = runbooks

    def routes(self) -> list[Endpoint]:
        """Return the routes."""
        api = self._api
        return [
            Endpoint("/incidents", self.index, Permission.READ),
            FormEndpoint(
                "/incidents/declare",
                api.declare,
                DeclareRequest,
                _given,
                lambda it, _: f"/incidents/{it.id}",
                self.index,
            ),
            Endpoint("/incidents/{number}", self.show, Permission.READ),
            Endpoint("/incidents/{number}/report", self.report, Permission.READ),
            self._form("acknowledge", api.acknowledge, CommentedCommand),
            self._form("unacknowledge", api.unacknowledge, IncidentCommand),
            self._form("snooze", api.snooze, SnoozeRequest),
            self._form("note", api.note, NoteRequest),
            self._form("assign", api.assign, AssignRequest),
            self._form("escalate", api.escalate, IncidentCommand),
            self._form("priority", api.set_priority, PriorityRequest),
            self._form("resolve", api.resolve, CommentedCommand),
            self._form("reopen", api.reopen, IncidentCommand),
            self._form("merge", api.merge, MergeRequest),
            self._form("split", api.split, SplitRequest),
            self._form("summary", api.set_summary, SummaryRequest),
            self._form("action-item", api.add_action_item, ActionItemRequest),
            self._form("edit-action-item", api.edit_action_item, EditActionItemRequest),
            self._form("delete-action-item", api.delete_action_item, ActionItemCommand),
            self._form("tick", api.tick, ActionItemCommand),
            self._form("untick", api.untick, ActionItemCommand),
        ]

    def _form(
        self, name: str, operation: Callable[[Q, Actor], Awaitable[IncidentModel]], model: type[Q]
    ) -> FormEndpoint:
        """Return the form of a command, which goes on with the page of its incident."""
        path = f"/incidents/act/{name}"
        return FormEndpoint(path, operation, model, _given, _page_of, self._refused)

    async def index(self, request: Request, form: FormState | None = None) -> Response:
        """Show the open incidents, and those that were resolved lately."""
        before = request.query_params.get("before", "")
        parameters = IncidentsRequest(before=before if before.isdigit() else "")
        found = (await self._api.incidents(parameters, actor(request))).incidents
        return page(
            request,
            "incidents.html",
            form.status if form else 200,
            open_incidents=sorted(
                (it for it in found if it.state is not IncidentState.RESOLVED), key=lambda it: (it.priority, it.opened)
            ),
            resolved=[it for it in found if it.state is IncidentState.RESOLVED],
            oldest=found[-1].id if len(found) == int(parameters.limit) else 0,
            form=form or FormState(),
        )

    async def show(self, request: Request, form: FormState | None = None) -> Response:
        """Show one incident."""
        number = request.path_params["number"]
        try:
            if not (number.isdigit() and len(number) <= 15):
                raise NotFoundError(number)
            incident = await self._api.detailed(int(number), language_of(request))
        except NotFoundError:
            return page(request, "not_found.html", 404)
        policy = self._api.policy()
        runbooks, runs = await self._runbooks.of_incident(incident)
        return page(
            request,
            "incident.html",
            form.status if form else 200,
            it=incident,
            charts=await self._charts.of(incident, actor(request)),
            people=[(name, policy.name_of(name)) for name in policy.on_call.people],
            snoozes=SNOOZES,
            runbooks=runbooks,
            runs=runs,
            entries=[entry for entry in reversed(incident.timeline) if entry.kind not in ROUTINE],
            deliveries=[entry for entry in reversed(incident.timeline) if entry.kind in ROUTINE],
            form=form or FormState(),
        )

    async def report(self, request: Request) -> Response:
        """Return the report of an incident, to be saved: as Markdown, or as HTML with `?format=html`."""
        number = request.path_params["number"]
        try:
            if not (number.isdigit() and len(number) <= 15):
                raise NotFoundError(number)
            content = await self._api.report_content(int(number), language_of(request))
        except NotFoundError:
            return page(request, "not_found.html", 404)
        is_html = request.query_params.get("format") == "html"
        name = f"incident-{number}.{'html' if is_html else 'md'}"
        headers = {"content-disposition": f'attachment; filename="{name}"', "cache-control": "no-store"}
        text = as_page(content) if is_html else as_markdown(content)
        return PlainTextResponse(text, headers=headers, media_type="text/html" if is_html else "text/markdown")

    async def _refused(self, request: Request, form: FormState) -> Response:
        """Show the incident whose command was refused."""
        request.path_params["number"] = form.fields.get("id", "")
        return await self.show(request, form)


def _page_of(incident: IncidentModel, _: Fields) -> str:
    return f"/incidents/{incident.id}"


def _given(fields: Fields) -> dict[str, object]:
    """Return the fields of a form as an operation takes them."""
    return {
        name: int(value) if name in NUMBERS and value.isdigit() and len(value) <= 15 else value
        for name, value in fields.items()
    }
