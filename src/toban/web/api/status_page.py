"""The status page in toban's own API."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Annotated
from zoneinfo import ZoneInfo

from pydantic import Field

from toban.access.permissions import Permission
from toban.core.actor import Actor
from toban.core.config_types import Zone
from toban.core.ports import Clock
from toban.status_page.commands import StatusPage
from toban.status_page.history import availability, component_days
from toban.status_page.posts import PostStatus, StatusPost
from toban.web.api.api_endpoint import ApiEndpoint, RequestModel, ResponseModel
from toban.web.api.models import Comment, Name
from toban.web.endpoint import Endpoint


class StatusPageRequest(RequestModel):
    """How the status page is shown."""

    timezone: Zone = "UTC"
    """The zone in which days begin."""


class PublishRequest(RequestModel):
    """A post for customers."""

    title: Name
    text: Comment
    components: Annotated[list[Name], Field(max_length=50, default_factory=list)]
    """The components that are affected, as `status_page.components` names them."""


class UpdateRequest(RequestModel):
    """One more message of a post."""

    id: Name
    status: PostStatus
    text: Comment


class PostUpdateModel(ResponseModel):
    """A message of a post."""

    at: datetime
    status: PostStatus
    text: str


class PostModel(ResponseModel):
    """A post, its messages oldest first."""

    id: str
    title: str
    components: list[str]
    status: PostStatus
    starts: datetime
    ends: datetime | None
    updates: list[PostUpdateModel]


class DayModel(ResponseModel):
    """A day of a component."""

    date: date
    disturbed_seconds: int
    """For how long an open post named it."""


class HistoryModel(ResponseModel):
    """How a component worked in the last 90 days, by what was published."""

    availability: float
    """The share of the time in which no open post named it, from 0 to 1."""
    days: list[DayModel]
    """The oldest first, today included."""


class StatusPageResponse(ResponseModel):
    """What customers read."""

    enabled: bool
    title: str
    components: dict[str, bool]
    """Whether each component works: no open post names it."""
    history: dict[str, HistoryModel]
    """The last 90 days of each component."""
    posts: list[PostModel]
    """The open ones and those that ended lately, newest first."""


class StatusPageApi:
    """Shows the status page, and forwards commands on it."""

    def __init__(self, status_page: StatusPage, clock: Clock) -> None:
        self._status_page = status_page
        self._clock = clock

    def routes(self) -> list[Endpoint]:
        """Return the routes."""
        path, act = "/api/status-page", Permission.ACT
        return [
            ApiEndpoint(path, self.show, Permission.READ, StatusPageRequest, StatusPageResponse),
            ApiEndpoint(f"{path}/publish", self.publish, act, PublishRequest, PostModel, method="POST"),
            ApiEndpoint(f"{path}/update", self.update, act, UpdateRequest, PostModel, method="POST"),
        ]

    async def show(self, request: StatusPageRequest, actor: Actor) -> StatusPageResponse:
        """Return the status page."""
        return await self.content(ZoneInfo(request.timezone))

    async def content(self, zone: ZoneInfo) -> StatusPageResponse:
        """Return what customers read; ``zone`` says when days begin."""
        settings, posts = self._status_page.settings, await self._status_page.posts()
        kept, now = await self._status_page.all_posts(), self._clock.now()
        affected = {name for post in posts if post.ends is None for name in post.components}
        return StatusPageResponse(
            enabled=settings.enabled,
            title=settings.title,
            components={name: name not in affected for name in settings.components},
            history={name: _history(kept, name, now, zone) for name in settings.components},
            posts=[_model(it) for it in posts],
        )

    async def publish(self, request: PublishRequest, actor: Actor) -> PostModel:
        """Publish a post."""
        return _model(await self._status_page.publish(request.title, request.text, request.components, actor))

    async def update(self, request: UpdateRequest, actor: Actor) -> PostModel:
        """Add a message to a post; `resolved` ends it."""
        return _model(await self._status_page.update(request.id, request.status, request.text, actor))


def _history(posts: Sequence[StatusPost], component: str, now: datetime, zone: ZoneInfo) -> HistoryModel:
    days = component_days(posts, component, now, zone)
    shown = [DayModel(date=it.date, disturbed_seconds=round(it.disturbed.total_seconds())) for it in days]
    return HistoryModel(availability=availability(days), days=shown)


def _model(post: StatusPost) -> PostModel:
    return PostModel.model_validate(post)
