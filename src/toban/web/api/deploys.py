"""Deploys in toban's own API, and GitHub's webhook that records them."""

import hashlib
import hmac
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Annotated, Any, Final

import orjson
from pydantic import SecretStr, StringConstraints
from starlette.requests import Request
from starlette.responses import Response

from toban.access.permissions import Permission
from toban.core.actor import Actor
from toban.core.deploys import Deploy
from toban.core.errors import InvalidCommandError, StateError
from toban.core.input_limits import Timestamp, parse_time
from toban.core.ports import Clock
from toban.core.untyped_json import as_mapping
from toban.deploys.service import DeployService
from toban.web.api.api_endpoint import ApiEndpoint, RequestModel, ResponseModel
from toban.web.api.models import Comment, Text
from toban.web.endpoint import JSON, Endpoint
from toban.web.problem_details import problem
from toban.web.request_bodies import RETRY_AFTER, read_body

MAX_BYTES: Final = 1_000_000
LATEST: Final = 3
"""How many deploys an overview shows."""
GITHUB: Final = Actor("GitHub", "webhook")
"""Whoever knows the secret of the webhook."""


class RecordDeployRequest(RequestModel):
    """A deploy."""

    version: Annotated[Text, StringConstraints(min_length=1, max_length=200)]
    """What was deployed: a release, a tag, a commit."""
    at: Timestamp | None = None
    """When; default: now."""
    by: Annotated[Text, StringConstraints(max_length=200)] = ""
    """Who deployed it."""
    url: Annotated[Text, StringConstraints(max_length=2_000)] = ""
    """Where to read more."""
    text: Comment = ""
    """What changed."""


class RecordDeployResponse(ResponseModel):
    """Whether the deploy is a new one: several sources may report the same."""

    is_new: bool


class DeploysRequest(RequestModel):
    """Which deploys to list."""

    days: Annotated[str, StringConstraints(pattern=r"^[0-9]{1,3}$")] = "30"
    """Those of so many days."""


class DeployModel(ResponseModel):
    """A deploy."""

    version: str
    at: datetime
    source: str
    """What reported it: `api`, `github`, `fly`."""
    by: str
    url: str
    text: str


class DeploysResponse(ResponseModel):
    """Deploys, newest first."""

    deploys: list[DeployModel]


class DeploysApi:
    """Shows deploys, and records them."""

    def __init__(self, service: DeployService, github_secret: Callable[[], SecretStr | None], clock: Clock) -> None:
        self._service = service
        self._github_secret = github_secret
        self._clock = clock

    def routes(self) -> list[Endpoint]:
        """Return the routes."""
        path = "/api/deploys"
        return [
            ApiEndpoint(path, self.deploys, Permission.READ, DeploysRequest, DeploysResponse),
            ApiEndpoint(path, self.record, Permission.PUSH, RecordDeployRequest, RecordDeployResponse, method="POST"),
            # GitHub has no token of toban's: its signature is checked instead.
            Endpoint(
                "/hooks/github",
                self.github,
                Permission.PUBLIC,
                methods=["POST"],
                takes=JSON,
                largest=MAX_BYTES,
            ),
        ]

    async def deploys(self, request: DeploysRequest, actor: Actor) -> DeploysResponse:
        """Return the deploys of the last days."""
        now = self._clock.now()
        found = await self.between(now - timedelta(days=int(request.days)), now)
        return DeploysResponse(deploys=found)

    async def latest(self) -> list[DeployModel]:
        """Return the latest deploys of a month, as far as they can be read now."""
        now = self._clock.now()
        try:
            return await self.between(now - timedelta(days=30), now, LATEST)
        except StateError:  # the health of state says so
            return []

    async def between(self, since: datetime, until: datetime, limit: int = 100) -> list[DeployModel]:
        """Return the deploys between two times, newest first. Raises ``StateError``."""
        return [DeployModel.model_validate(it) for it in await self._service.deploys(since, until, limit)]

    async def record(self, request: RecordDeployRequest, actor: Actor) -> RecordDeployResponse:
        """Record a deploy: the time after it is compared with the time before."""
        at = request.at or self._clock.now()
        deploy = Deploy(request.version, at, "api", request.by or actor.name, request.url, request.text)
        return RecordDeployResponse(is_new=await self._service.record(deploy, actor))

    async def github(self, request: Request) -> Response:
        """Record what GitHub's webhook reports: a deployment that succeeded, or a published release."""
        secret = self._github_secret()
        body = await read_body(request)
        signature = request.headers.get("x-hub-signature-256", "")
        if secret is None:
            return problem(403, "deploys.github_secret is not set")
        wanted = "sha256=" + hmac.new(secret.get_secret_value().encode(), body, hashlib.sha256).hexdigest()
        if not hmac.compare_digest(wanted, signature):
            return problem(403, "the signature is wrong: is the secret the one of deploys.github_secret?")
        try:
            deploy = _github_deploy(request.headers.get("x-github-event", ""), orjson.loads(body), self._clock.now())
            if deploy:
                await self._service.record(deploy, GITHUB)
        except (ValueError, InvalidCommandError) as error:
            return problem(400, str(error))
        except StateError as error:
            return problem(503, str(error), headers={"retry-after": str(RETRY_AFTER)})
        return Response(status_code=204)


def _github_deploy(event: str, body: Any, now: datetime) -> Deploy | None:
    """Return the deploy that an event reports; nothing for other events. Raises ``ValueError``."""
    found = as_mapping(body)
    who = str(as_mapping(found.get("sender")).get("login", ""))[:200]
    if event == "deployment_status":
        status, deployment = as_mapping(found.get("deployment_status")), as_mapping(found.get("deployment"))
        if status.get("state") != "success":
            return None
        version = str(deployment.get("ref") or deployment.get("sha") or "")[:200]
        url = str(status.get("log_url") or status.get("target_url") or "")
        text = f"{deployment.get('environment', '')} {str(deployment.get('sha', ''))[:12]}".strip()
        at = parse_time(status["created_at"]) if status.get("created_at") else now
        return Deploy(version, at, "github", who, url if url.startswith("https://") else "", text)
    if event == "release" and found.get("action") == "published":
        release = as_mapping(found.get("release"))
        url = str(release.get("html_url") or "")
        return Deploy(
            str(release.get("tag_name", ""))[:200],
            now,
            "github",
            who,
            url if url.startswith("https://") else "",
            str(release.get("name") or "")[:2_000],
        )
    return None
