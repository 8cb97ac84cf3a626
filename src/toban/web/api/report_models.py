"""Requests and responses of the operations on reports."""

from collections.abc import Mapping
from datetime import date
from typing import Any, Literal

from toban.reports.period import Period
from toban.reports.report import Audience
from toban.web.api.api_endpoint import RequestModel, ResponseModel


class ReportRequest(RequestModel):
    """Which report."""

    period: Period = Period.MONTH
    day: date | None = None
    """A day that it is about; by default the last period that is over."""
    audience: Audience = Audience.OWNER
    language: Literal["", "en", "ja"] = ""
    """The language of the texts; by default that of notifications."""


class ReportResponse(ResponseModel):
    """A report: its values, and the texts that people read."""

    title: str
    markdown: str
    text: str
    """For a terminal."""
    html: str
    """As a mail; its images are in the page."""
    values: Mapping[str, Any]
    """All of its values, by section."""
