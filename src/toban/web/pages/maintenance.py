"""Maintenance in the console: tasks with their schedules, runs and findings."""

from starlette.requests import Request
from starlette.responses import Response

from toban.access.permissions import Permission
from toban.core.errors import NotFoundError
from toban.web.api.api_endpoint import NoParameters
from toban.web.api.maintenance import MaintenanceApi
from toban.web.api.maintenance_models import (
    CancelRunRequest,
    MaintenanceRunModel,
    MaintenanceRunRequest,
    StartTaskRequest,
    TaskModel,
    TaskRequest,
)
from toban.web.endpoint import Endpoint, actor
from toban.web.pages.forms import Fields, FormEndpoint, FormState
from toban.web.pages.rendering import page


class MaintenancePages:
    """Shows maintenance tasks and runs, and forwards what somebody starts or ends."""

    def __init__(self, api: MaintenanceApi) -> None:
        self._api = api

    def routes(self) -> list[Endpoint]:
        """Return the routes."""
        api, act = self._api, "/maintenance/act"
        return [
            Endpoint("/maintenance", self.index, Permission.READ),
            Endpoint("/maintenance/runs/{number}", self.show, Permission.READ),
            Endpoint("/maintenance/tasks/{name}", self.task, Permission.READ),
            FormEndpoint(f"{act}/start", api.start, StartTaskRequest, _start, _page_of, self.index),
            FormEndpoint(f"{act}/cancel", api.cancel, CancelRunRequest, _number, _page_of, self._refused),
        ]

    async def index(self, request: Request, form: FormState | None = None) -> Response:
        """Show all tasks: when they ran last and will run next, and what they found."""
        found = await self._api.tasks(NoParameters(), actor(request))
        return page(
            request,
            "maintenance.html",
            form.status if form else 200,
            tasks=[it for it in found.tasks if not it.not_configured],
            others=[it for it in found.tasks if it.not_configured],
            running=[run for it in found.tasks for run in it.runs if run.ended is None],
            zone=found.tasks[0].timezone if found.tasks else "",
            form=form or FormState(),
        )

    async def task(self, request: Request) -> Response:
        """Show one task: what keeps it from working, how long its runs took, what the last one did."""
        name = request.path_params["name"]
        found = await self._api.tasks(NoParameters(), actor(request))
        task = next((it for it in found.tasks if it.name == name), None)
        if task is None:
            return page(request, "not_found.html", 404)
        missing = (await self._api.missing(TaskRequest(task=name), actor(request))).missing
        return page(request, "maintenance_task.html", task=task, missing=missing, trend=_trend(task))

    async def show(self, request: Request, form: FormState | None = None) -> Response:
        """Show one run."""
        try:
            run = await self._api.run(MaintenanceRunRequest(id=request.path_params["number"]), actor(request))
        except (NotFoundError, ValueError):
            return page(request, "not_found.html", 404)
        return page(request, "maintenance_run.html", form.status if form else 200, run=run, form=form or FormState())

    async def _refused(self, request: Request, form: FormState) -> Response:
        """Show the run that could not be ended."""
        request.path_params["number"] = form.fields.get("id", "")
        return await self.show(request, form)


def _trend(task: TaskModel) -> list[float]:
    """Return how long the runs took, in seconds, oldest first."""
    return [it.seconds for it in reversed(task.runs) if it.seconds is not None and not it.dry]


def _page_of(run: MaintenanceRunModel, _: Fields) -> str:
    return f"/maintenance/runs/{run.id}"


def _start(fields: Fields) -> dict[str, object]:
    return {"task": fields.get("task", ""), "dry": "dry" in fields}


def _number(fields: Fields) -> dict[str, object]:
    number = fields.get("id", "")
    return {"id": int(number) if number.isdigit() and len(number) <= 15 else number}
