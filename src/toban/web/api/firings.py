"""The history of firing alerts, in toban's own API."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, Self

from pydantic import StringConstraints

from toban.access.permissions import Permission
from toban.core.actor import Actor
from toban.core.ports import Clock
from toban.review.firing import Firing, MonthSum
from toban.review.recorder import FiringRecorder
from toban.web.api.api_endpoint import ApiEndpoint, RequestModel, ResponseModel
from toban.web.endpoint import Endpoint

MOST = 500
"""How many firings a response has."""


class FiringsRequest(RequestModel):
    """Which firings."""

    rule: Annotated[str, StringConstraints(max_length=200)] = ""
    """The name of a rule; empty for all."""
    days: Annotated[str, StringConstraints(pattern=r"^[0-9]{1,3}$")] = "90"
    """Of how many days until now: at most 761."""


class FiringActModel(ResponseModel):
    """Something that was done about a firing."""

    kind: str
    """`runbook`, `silence`, `note` or `deploy`."""
    at: datetime
    by: str


class FiringModel(ResponseModel):
    """An alert from when it fired until it resolved."""

    rule: str
    fingerprint: str
    labels: Mapping[str, str]
    source: str
    priority: str
    began: datetime
    """Since when its condition was met."""
    fired: datetime
    ended: datetime | None
    why: str
    """Why it ended, if not by its condition."""
    seconds: float | None
    acknowledged: datetime | None
    acknowledged_by: str
    first_message: datetime | None
    """When a channel accepted the first message about it."""
    messages: int
    pages: int
    """Messages by channels that wake people."""
    acts: list[FiringActModel]
    """What was done about it until an hour after its end; an acknowledgement is no act."""

    @classmethod
    def of(cls, it: Firing) -> Self:
        """Return the model of a firing."""
        return cls(
            rule=it.rule,
            fingerprint=it.fingerprint,
            labels=dict(it.labels),
            source=it.source,
            priority=it.priority,
            began=it.began,
            fired=it.fired,
            ended=it.ended,
            why=it.why,
            seconds=it.duration.total_seconds() if it.duration is not None else None,
            acknowledged=it.acknowledged,
            acknowledged_by=it.acknowledged_by,
            first_message=it.first_message,
            messages=it.messages,
            pages=it.pages,
            acts=[FiringActModel(kind=act.kind, at=act.at, by=act.by) for act in it.acts],
        )


class FiringMonthModel(ResponseModel):
    """What the firings of a rule in a month come to."""

    month: str
    rule: str
    fired: int
    ended: int
    seconds: float
    """For how long they fired together."""
    acknowledged: int
    acted_on: int
    useless: int
    """Over within five minutes, and acknowledged by nobody."""
    messages: int
    pages: int

    @classmethod
    def of(cls, month: str, rule: str, it: MonthSum) -> Self:
        """Return the model of a sum."""
        return cls(month=month, rule=rule, **it.as_dict())


class FiringsResponse(ResponseModel):
    """Firings, newest first, and sums by month, newest first."""

    firings: list[FiringModel]
    months: list[FiringMonthModel]


class FiringsApi:
    """Shows the history of firing alerts."""

    def __init__(self, recorder: FiringRecorder, clock: Clock) -> None:
        self._recorder = recorder
        self._clock = clock

    def routes(self) -> list[Endpoint]:
        """Return the routes."""
        return [ApiEndpoint("/api/firings", self.firings, Permission.READ, FiringsRequest, FiringsResponse)]

    async def firings(self, request: FiringsRequest, actor: Actor) -> FiringsResponse:
        """Return the newest firings, of one rule if one is named, and the sums of their months."""
        now = self._clock.now()
        begins = now - timedelta(days=min(int(request.days), 761))
        found = await self._recorder.history(begins, now + timedelta(minutes=1), request.rule, MOST)
        return FiringsResponse(
            firings=[FiringModel.of(it) for it in found.firings],
            months=[FiringMonthModel.of(month, rule, it) for month, rule, it in found.months],
        )
