"""Requests and responses of the operations on incidents."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints

from toban.core.config_types import Duration
from toban.incidents.incident import Answer, EntryKind, Incident, IncidentState, TimelineEntry
from toban.incidents.incident_report import time_to_acknowledge, time_to_resolve
from toban.incidents.policy import IncidentPolicy
from toban.incidents.stages.escalate import next_call
from toban.incidents.stages.warn import deadlines
from toban.incidents.timeline_text import entry_text
from toban.web.api.api_endpoint import RequestModel, ResponseModel
from toban.web.api.models import AlertModel, AlertName, Comment, Name, OptionalName, Text

Number = Annotated[int, Field(ge=1, le=2**53)]
PriorityText = Literal["P1", "P2", "P3", "P4"]


class IncidentsRequest(RequestModel):
    """Which incidents to list."""

    limit: Annotated[str, StringConstraints(pattern=r"^[0-9]{1,3}$")] = "50"
    """How many at most."""
    before: Annotated[str, StringConstraints(pattern=r"^[0-9]{0,15}$")] = ""
    """List those with lower numbers."""


class IncidentRequest(RequestModel):
    """Which incident."""

    id: Annotated[str, StringConstraints(pattern=r"^[0-9]{1,15}$")]


class ReportRequest(IncidentRequest):
    """Which report, in which language."""

    language: Literal["en", "ja"] = "en"


class IncidentCommand(RequestModel):
    """A command on an incident."""

    id: Number
    by: OptionalName = ""
    """The name of the person that it is done for; default: whoever sends the request."""


class CommentedCommand(IncidentCommand):
    """A command with a comment."""

    comment: Comment = ""


class SnoozeRequest(CommentedCommand):
    """How long nobody is called."""

    duration: Duration


class NoteRequest(IncidentCommand):
    """A note for the timeline."""

    text: Comment


class AssignRequest(IncidentCommand):
    """To whom an incident is assigned."""

    person: Name


class PriorityRequest(IncidentCommand):
    """Another priority."""

    priority: PriorityText


class DeclareRequest(RequestModel):
    """An incident that no alert has seen."""

    title: Annotated[Text, StringConstraints(min_length=1, max_length=200)]
    priority: PriorityText = "P2"
    text: Comment = ""
    """What is known."""
    by: OptionalName = ""


class MergeRequest(IncidentCommand):
    """The incident that another one is merged into."""

    into: Number


class SplitRequest(IncidentCommand):
    """The alerts that get an incident of their own, by name or fingerprint."""

    alert: AlertName


class SummaryRequest(RequestModel):
    """What happened, for the report."""

    id: Number
    text: Annotated[Text, StringConstraints(max_length=20_000)]


class ActionItemRequest(IncidentCommand):
    """Something to do after an incident."""

    text: Comment
    owner: OptionalName = ""


class ActionItemCommand(IncidentCommand):
    """A command on an action item, by its number."""

    item: Number


class EditActionItemRequest(ActionItemCommand):
    """What an action item says from now on; what is left out stays."""

    text: Comment | None = None
    owner: OptionalName | None = None
    """Who does it; empty for nobody."""


class AnswerModel(ResponseModel):
    """Who works on an incident, and until when that counts."""

    by: str
    name: str
    """The name of that person that is shown."""
    at: datetime
    until: datetime
    comment: str
    is_snooze: bool

    @classmethod
    def of(cls, answer: Answer, policy: IncidentPolicy) -> Self:
        """Return the model of an answer."""
        return cls(
            by=answer.by,
            name=policy.name_of(answer.by),
            at=answer.at,
            until=answer.until,
            comment=answer.comment,
            is_snooze=answer.is_snooze,
        )


class DeadlineModel(ResponseModel):
    """A deadline that is not met yet."""

    name: Literal["respond", "resolve"]
    due: datetime
    share: float
    """How much of it has passed: 1 is all."""
    is_running: bool
    """Whether its clock runs now, or stands still outside working hours."""


class ImpactModel(ResponseModel):
    """Revenue and orders that are missing against the same hours of the last four weeks."""

    currency: str
    missing: float
    least: float
    most: float
    per_minute: float
    orders: float
    at: datetime


class ActionItemModel(ResponseModel):
    """Something to do after an incident."""

    number: int
    """Names it in commands."""
    text: str
    owner: str
    done: datetime | None


class IncidentModel(ResponseModel):
    """An incident."""

    id: int
    title: str
    title_ja: str
    """The title in Japanese, where it has another one."""
    priority: str
    state: IncidentState
    component: str
    """The part of the shop: a key, or empty."""
    starts: datetime
    """Since when something is wrong."""
    opened: datetime
    resolved: datetime | None
    resolved_by: str
    answer: AnswerModel | None
    assignee: str
    assignee_name: str
    """The name of that person that is shown."""
    deadlines: list[DeadlineModel]
    alerts: int
    """How many alerts belong to it."""
    firing: int
    """How many of them fire."""
    impact: ImpactModel | None
    merged_into: int
    """The incident that it was merged into; 0 where it was not."""
    open_action_items: int
    timezone: str
    """The clock of the team, on which sentences say times."""
    next_call: datetime | None
    """When the next step of its escalation is due; none while nobody is called, as for a P4 or in a silence."""

    @classmethod
    def of(cls, incident: Incident, policy: IncidentPolicy, now: datetime) -> Self:
        """Return the model of an incident."""
        return cls(**incident_fields(incident, policy, now))


class EntryModel(ResponseModel):
    """An entry of a timeline."""

    at: datetime
    kind: EntryKind
    actor: str
    """Who acted; empty where toban did."""
    text: str
    facts: dict[str, Any]


class IncidentDetailsModel(IncidentModel):
    """An incident with its alerts and its timeline, oldest first."""

    summary: str
    members: list[AlertModel]
    timeline: list[EntryModel]
    action_items: list[ActionItemModel]
    seconds_to_acknowledge: float | None
    seconds_to_resolve: float | None

    @classmethod
    def detailed(
        cls,
        incident: Incident,
        timeline: Sequence[TimelineEntry],
        policy: IncidentPolicy,
        now: datetime,
        language: str = "en",
    ) -> Self:
        """Return the model of an incident and its timeline."""
        return cls(
            **incident_fields(incident, policy, now),
            summary=incident.summary,
            members=[AlertModel.of(it) for it in incident.alerts.values()],
            timeline=[
                EntryModel(
                    at=it.at,
                    kind=it.kind,
                    actor=it.actor,
                    text=entry_text(it, policy, language),
                    facts=dict(it.facts),
                )
                for it in timeline
            ],
            action_items=[ActionItemModel.model_validate(it) for it in incident.action_items],
            seconds_to_acknowledge=_seconds(time_to_acknowledge(incident)),
            seconds_to_resolve=_seconds(time_to_resolve(incident)),
        )


class IncidentsResponse(ResponseModel):
    """Incidents, newest first."""

    incidents: list[IncidentModel]


class IncidentReportResponse(ResponseModel):
    """The report of an incident."""

    id: int
    markdown: str
    html: str
    """The same as one file of HTML."""


def incident_fields(incident: Incident, policy: IncidentPolicy, now: datetime) -> dict[str, Any]:
    """Return the fields that all models of an incident have."""
    return {
        "id": incident.id,
        "title": incident.title,
        "title_ja": incident.title_ja,
        "priority": incident.priority,
        "state": incident.state,
        "component": incident.component,
        "starts": incident.starts,
        "opened": incident.opened,
        "resolved": incident.resolved,
        "resolved_by": incident.resolved_by,
        "answer": AnswerModel.of(incident.answer, policy) if incident.answer and incident.is_open else None,
        "assignee": incident.assignee,
        "assignee_name": policy.name_of(incident.assignee) if incident.assignee else "",
        "deadlines": [DeadlineModel.model_validate(it) for it in deadlines(policy, incident, now)],
        "alerts": len(incident.alerts),
        "firing": len(incident.firing),
        "impact": ImpactModel.model_validate(incident.impact) if incident.impact else None,
        "merged_into": incident.merged_into,
        "open_action_items": sum(it.done is None for it in incident.action_items),
        "timezone": policy.zone.key,
        "next_call": next_call(policy, incident),
    }


def _seconds(length: timedelta | None) -> float | None:
    return length.total_seconds() if length is not None else None
