"""The status page in toban's own API."""

from datetime import datetime
from typing import Annotated

from pydantic import Field

from toban.access.permissions import Permission
from toban.core.actor import Actor
from toban.status_page.commands import StatusPage
from toban.status_page.posts import PostStatus, StatusPost
from toban.web.api.api_endpoint import ApiEndpoint, NoParameters, RequestModel, ResponseModel
from toban.web.api.models import Comment, Name
from toban.web.endpoint import Endpoint


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


class StatusPageResponse(ResponseModel):
    """What customers read."""

    enabled: bool
    title: str
    components: dict[str, bool]
    """Whether each component works: no open post names it."""
    posts: list[PostModel]
    """The open ones and those that ended lately, newest first."""


class StatusPageApi:
    """Shows the status page, and forwards commands on it."""

    def __init__(self, status_page: StatusPage) -> None:
        self._status_page = status_page

    def routes(self) -> list[Endpoint]:
        """Return the routes."""
        path, act = "/api/status-page", Permission.ACT
        return [
            ApiEndpoint(path, self.show, Permission.READ, NoParameters, StatusPageResponse),
            ApiEndpoint(f"{path}/publish", self.publish, act, PublishRequest, PostModel, method="POST"),
            ApiEndpoint(f"{path}/update", self.update, act, UpdateRequest, PostModel, method="POST"),
        ]

    async def show(self, _: NoParameters, actor: Actor) -> StatusPageResponse:
        """Return the status page."""
        return await self.content()

    async def content(self) -> StatusPageResponse:
        """Return what customers read."""
        settings, posts = self._status_page.settings, await self._status_page.posts()
        affected = {name for post in posts if post.ends is None for name in post.components}
        return StatusPageResponse(
            enabled=settings.enabled,
            title=settings.title,
            components={name: name not in affected for name in settings.components},
            posts=[_model(it) for it in posts],
        )

    async def publish(self, request: PublishRequest, actor: Actor) -> PostModel:
        """Publish a post."""
        return _model(await self._status_page.publish(request.title, request.text, request.components, actor))

    async def update(self, request: UpdateRequest, actor: Actor) -> PostModel:
        """Add a message to a post; `resolved` ends it."""
        return _model(await self._status_page.update(request.id, request.status, request.text, actor))


def _model(post: StatusPost) -> PostModel:
    return PostModel.model_validate(post)
