"""Reports in toban's own API."""

from toban.access.permissions import Permission
from toban.core.actor import Actor
from toban.reports.content import write
from toban.reports.mail import as_page
from toban.reports.rendering import as_data, as_markdown, as_text
from toban.reports.report import Report
from toban.reports.service import ReportService
from toban.web.api.api_endpoint import ApiEndpoint
from toban.web.api.report_models import ReportRequest, ReportResponse
from toban.web.endpoint import Endpoint


class ReportsApi:
    """Shows reports."""

    def __init__(self, service: ReportService) -> None:
        self._service = service

    def routes(self) -> list[Endpoint]:
        """Return the routes."""
        return [ApiEndpoint("/api/reports", self.show, Permission.READ, ReportRequest, ReportResponse)]

    async def made(self, request: ReportRequest) -> Report:
        """Return a report. Raises ``InvalidCommandError``, ``ActionError``."""
        return await self._service.report(self._service.span(request.period, request.day), request.audience)

    async def show(self, request: ReportRequest, actor: Actor) -> ReportResponse:
        """Return a report on a day, a week or a month."""
        report = await self.made(request)
        content = write(report, request.language or self._service.language)
        return ReportResponse(
            title=content.title,
            markdown=as_markdown(content),
            text=as_text(content),
            html=as_page(content),
            values=as_data(report),
        )
