"""Requests and responses of the operations on the on-call schedule."""

from datetime import datetime
from typing import Annotated, Self

from pydantic import StringConstraints

from toban.oncall.report import OnCallReport
from toban.oncall.rotation import Shift
from toban.oncall.schedule import StoredOverride
from toban.web.api.api_endpoint import RequestModel, ResponseModel
from toban.web.api.incident_models import Number
from toban.web.api.models import Comment, Name


class OnCallRequest(RequestModel):
    """Which part of the schedule to show."""

    at: Annotated[str, StringConstraints(max_length=40)] = ""
    """The time, by default now; without a zone it is on the wall clock of the schedule's."""
    days: Annotated[str, StringConstraints(pattern=r"^[0-9]{1,2}$")] = "28"
    """How many days of shifts to show from then on."""


class PeriodRequest(RequestModel):
    """A period; times without a zone are on the wall clock of the schedule's."""

    starts: datetime
    ends: datetime
    comment: Comment = ""


class CoverRequest(PeriodRequest):
    """Somebody is on call in place of a person."""

    person: Name
    """Whose shifts are covered."""
    by: Name
    """Who is on call instead."""


class OverrideRequest(PeriodRequest):
    """One person alone is on call."""

    person: Name


class SwapRequest(PeriodRequest):
    """Shifts that a person offers to others."""

    person: Name


class TakeRequest(RequestModel):
    """Who takes the shifts that somebody offered."""

    id: Number
    by: Name


class CancelRequest(RequestModel):
    """Which override or swap to cancel."""

    id: Number


class FeedRequest(RequestModel):
    """Whose calendar feed to make."""

    person: Name


class FeedResponse(ResponseModel):
    """The address of a calendar feed: whoever has it can read it, and it is shown only once."""

    url: str


class FeedParameters(RequestModel):
    """The secret of a calendar feed."""

    token: Annotated[str, StringConstraints(max_length=100)] = ""
    language: Annotated[str, StringConstraints(pattern="^(en|ja)$")] = "en"


class ShiftModel(ResponseModel):
    """People who are on call together."""

    start: datetime
    end: datetime
    people: list[str]

    @classmethod
    def of(cls, shift: Shift) -> Self:
        """Return the model of a shift."""
        return cls(start=shift.start, end=shift.end, people=list(shift.people))


class LayerModel(ResponseModel):
    """A layer of the schedule; a later one has precedence over an earlier one."""

    name: str
    shifts: list[ShiftModel]


class GapModel(ResponseModel):
    """A period in which nobody is on call."""

    start: datetime
    end: datetime


class OverrideModel(ResponseModel):
    """An override, a cover or a swap that somebody made."""

    id: int
    starts: datetime
    ends: datetime
    person: str
    """Who is on call; empty for a swap that nobody has taken."""
    instead_of: str
    """Whom they replace; empty for everybody."""
    is_swap: bool
    is_open: bool
    """Whether it is a swap that nobody has taken."""
    created_by: str
    comment: str

    @classmethod
    def of(cls, stored: StoredOverride) -> Self:
        """Return the model of an override."""
        return cls.model_validate(stored)


class CalendarModel(ResponseModel):
    """A calendar that is a layer."""

    layer: str
    read: datetime | None
    """When it was read last."""
    error: str
    """Why it was not read since then; empty if it was."""
    warnings: list[str]


class OnCallResponse(ResponseModel):
    """The on-call schedule."""

    at: datetime
    timezone: str
    has_schedule: bool
    """Whether there are layers; without them everybody is always on call."""
    on_call: list[str]
    """Who is on call then, by the names of `on_call.people`."""
    next_on_call: list[str]
    next_change: datetime | None
    """When a shift begins or ends next."""
    people: dict[str, str]
    """The names that are shown."""
    layers: list[LayerModel]
    final: list[ShiftModel]
    """Who is on call, after all layers and overrides."""
    gaps: list[GapModel]
    """When nobody is, in the next 30 days."""
    overrides: list[OverrideModel]
    calendars: list[CalendarModel]
    unreachable: list[str]
    """People without a channel that pages."""

    @classmethod
    def of(cls, report: OnCallReport, people: dict[str, str]) -> Self:
        """Return the model of a report."""
        return cls(
            at=report.at,
            timezone=report.timezone,
            has_schedule=report.has_schedule,
            on_call=list(report.on_call),
            next_on_call=list(report.next_on_call),
            next_change=report.next_change,
            people=people,
            layers=[
                LayerModel(name=name, shifts=[ShiftModel.of(it) for it in shifts]) for name, shifts in report.layers
            ],
            final=[ShiftModel.of(it) for it in report.final],
            gaps=[GapModel(start=start, end=end) for start, end in report.gaps],
            overrides=[OverrideModel.of(it) for it in report.overrides],
            calendars=[CalendarModel.model_validate(it) for it in report.calendars],
            unreachable=list(report.unreachable),
        )
