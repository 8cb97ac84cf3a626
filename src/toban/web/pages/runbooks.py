"""Runbooks in the console: what they do, their runs and questions, and the stop switch."""

from starlette.requests import Request
from starlette.responses import Response

from toban.access.permissions import Permission
from toban.core.errors import NotFoundError
from toban.web.api.api_endpoint import NoParameters
from toban.web.api.runbook_models import (
    AnswerRequest,
    ApproveRequest,
    RunModel,
    RunRequest,
    StartRunRequest,
    SwitchRequest,
)
from toban.web.api.runbooks import RunbooksApi
from toban.web.endpoint import Endpoint, actor
from toban.web.pages.forms import Fields, FormEndpoint, FormState
from toban.web.pages.rendering import page


class RunbooksPages:
    """Shows runbooks and runs, and forwards answers and the stop switch."""

    def __init__(self, api: RunbooksApi) -> None:
        self._api = api

    def routes(self) -> list[Endpoint]:
        """Return the routes."""
        api, act = self._api, "/runbooks/act"
        return [
            Endpoint("/runbooks", self.index, Permission.READ),
            Endpoint("/runbooks/runs/{number}", self.show, Permission.READ),
            FormEndpoint(f"{act}/start", api.start, StartRunRequest, _start, _page_of, self.index),
            FormEndpoint(f"{act}/approve", api.approve, ApproveRequest, _given, _page_of, self._refused),
            FormEndpoint(f"{act}/refuse", api.refuse, AnswerRequest, _given, _page_of, self._refused),
            FormEndpoint(f"{act}/tick", api.tick, AnswerRequest, _given, _page_of, self._refused),
            FormEndpoint(f"{act}/stop", api.stop, SwitchRequest, dict, lambda *_: "/runbooks", self.index),
            FormEndpoint(f"{act}/resume", api.resume, SwitchRequest, dict, lambda *_: "/runbooks", self.index),
        ]

    async def index(self, request: Request, form: FormState | None = None) -> Response:
        """Show all runbooks, and what asks for an answer."""
        found = await self._api.runbooks(NoParameters(), actor(request))
        runs = sorted((run for it in found.runbooks for run in it.runs), key=lambda run: -run.id)
        return page(
            request,
            "runbooks.html",
            form.status if form else 200,
            runbooks=found.runbooks,
            switch=found.switch,
            open_runs=[run for run in runs if run.ended is None],
            runs=[run for run in runs if run.ended is not None][:30],
            form=form or FormState(),
        )

    async def show(self, request: Request, form: FormState | None = None) -> Response:
        """Show one run."""
        number = request.path_params["number"]
        try:
            run = await self._api.run(RunRequest(id=number), actor(request))
        except (NotFoundError, ValueError):
            return page(request, "not_found.html", 404)
        return page(request, "runbook_run.html", form.status if form else 200, run=run, form=form or FormState())

    async def _refused(self, request: Request, form: FormState) -> Response:
        """Show the run whose answer was not accepted."""
        request.path_params["number"] = form.fields.get("id", "")
        return await self.show(request, form)


def _page_of(run: RunModel, _: Fields) -> str:
    return f"/runbooks/runs/{run.id}"


def _start(fields: Fields) -> dict[str, object]:
    return {"runbook": fields.get("runbook", ""), "alert": fields.get("alert", ""), "dry": "dry" in fields}


def _given(fields: Fields) -> dict[str, object]:
    number = fields.get("id", "")
    return {**fields, "id": int(number) if number.isdigit() and len(number) <= 15 else number}
