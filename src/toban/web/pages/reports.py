"""Reports in the console."""

from datetime import timedelta
from typing import Any

from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response

from toban.access.permissions import Permission
from toban.core.errors import TobanError
from toban.reports.content import write
from toban.reports.period import Period
from toban.reports.report import Audience
from toban.web.api.report_models import ReportRequest
from toban.web.api.reports import ReportsApi
from toban.web.endpoint import Endpoint
from toban.web.pages.preferences import Preferences
from toban.web.pages.rendering import page


class ReportsPage:
    """Shows a report, with the ways to those before and after it."""

    def __init__(self, api: ReportsApi) -> None:
        self._api = api

    def routes(self) -> list[Endpoint]:
        """Return the routes."""
        return [Endpoint("/reports", self.show, Permission.READ)]

    async def show(self, request: Request) -> Response:
        """Show one report; without parameters the last month for owners."""
        problem, asked = "", ReportRequest()
        given = {name: value for name, value in request.query_params.items() if name in ReportRequest.model_fields}
        try:
            asked = ReportRequest.model_validate(given)
            report = await self._api.made(asked)
        except (ValidationError, TobanError) as error:
            problem = str(error) if isinstance(error, TobanError) else "no such report"
            return page(request, "reports.html", 400, problem=problem, content=None, asked=asked, **_choices())
        return page(
            request,
            "reports.html",
            problem="",
            content=write(report, Preferences.of(request).language),
            asked=asked,
            before=report.span.first - timedelta(days=1),
            after=report.span.last + timedelta(days=1) if report.span.ends <= report.made else None,
            day=report.span.first,
            **_choices(),
        )


def _choices() -> dict[str, Any]:
    return {"periods": list(Period), "audiences": list(Audience)}
