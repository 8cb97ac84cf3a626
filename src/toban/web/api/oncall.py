"""The on-call schedule in toban's own API, and the calendars of people."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response

from toban.access.permissions import Permission
from toban.core.actor import Actor
from toban.core.errors import InvalidCommandError, NotFoundError, StateError
from toban.core.input_limits import checked_time
from toban.core.ports import Clock
from toban.core.wall_clock import first_instant
from toban.incidents.policy import IncidentPolicy
from toban.oncall.commands import OnCallCommands
from toban.oncall.report import OnCallReport, on_call_report
from toban.oncall.service import OnCallService
from toban.web.api.api_endpoint import ApiEndpoint
from toban.web.api.oncall_models import (
    CancelRequest,
    CoverRequest,
    FeedParameters,
    FeedRequest,
    FeedResponse,
    OnCallRequest,
    OnCallResponse,
    OverrideModel,
    OverrideRequest,
    SwapRequest,
    TakeRequest,
)
from toban.web.endpoint import Endpoint
from toban.web.problem_details import invalid_request, problem
from toban.web.request_bodies import RETRY_AFTER

FEED: Final = "/api/oncall.ics"


class OnCallApi:
    """Shows the on-call schedule, and forwards commands on it."""

    def __init__(
        self,
        service: OnCallService,
        commands: OnCallCommands,
        policy: Callable[[], IncidentPolicy],
        address: str,
        clock: Clock,
    ) -> None:
        """``address`` is where people reach toban."""
        self._service = service
        self._commands = commands
        self._policy = policy
        self._address = address
        self._clock = clock

    def routes(self) -> list[Endpoint]:
        """Return the routes."""
        path, read, act = "/api/oncall", Permission.READ, Permission.ACT
        return [
            ApiEndpoint(path, self.show, read, OnCallRequest, OnCallResponse),
            ApiEndpoint(f"{path}/cover", self.cover, act, CoverRequest, OverrideModel, method="POST"),
            ApiEndpoint(f"{path}/override", self.override, act, OverrideRequest, OverrideModel, method="POST"),
            ApiEndpoint(f"{path}/swap", self.swap, act, SwapRequest, OverrideModel, method="POST"),
            ApiEndpoint(f"{path}/take", self.take, act, TakeRequest, OverrideModel, method="POST"),
            ApiEndpoint(f"{path}/cancel", self.cancel, act, CancelRequest, OverrideModel, method="POST"),
            ApiEndpoint(f"{path}/feed", self.new_feed, act, FeedRequest, FeedResponse, method="POST"),
            Endpoint(FEED, self.feed, Permission.PUBLIC),
        ]

    async def show(self, request: OnCallRequest, actor: Actor) -> OnCallResponse:
        """Return who is on call, and the shifts of the coming days."""
        at = self._time(request.at) if request.at else self._clock.now()
        try:
            found = self.report(at, at, checked_time(at + timedelta(days=int(request.days))))
        except (ValueError, OverflowError) as error:
            raise InvalidCommandError(str(error), "at") from error
        return self.response(found)

    def report(self, at: datetime, start: datetime, end: datetime) -> OnCallReport:
        """Return the schedule at a time, with the shifts between two."""
        return on_call_report(self._service, self._policy().channels, at, start, end)

    def response(self, report: OnCallReport) -> OnCallResponse:
        """Return the model of a report."""
        policy = self._policy()
        return OnCallResponse.of(report, {name: policy.name_of(name) for name in policy.on_call.people})

    def _time(self, text: str) -> datetime:
        try:
            at = datetime.fromisoformat(text)
            return checked_time(at if at.tzinfo else first_instant(at.date(), at.time(), self._service.zone))
        except (ValueError, OverflowError) as error:
            raise InvalidCommandError(f"{text!r} is not a valid time, like 2026-08-10T18:00", "at") from error

    async def cover(self, request: CoverRequest, actor: Actor) -> OverrideModel:
        """Let somebody be on call in place of a person, where that person is."""
        made = await self._commands.cover(
            request.person, request.by, request.starts, request.ends, actor, request.comment
        )
        return OverrideModel.of(made)

    async def override(self, request: OverrideRequest, actor: Actor) -> OverrideModel:
        """Let one person alone be on call, whatever the layers say."""
        made = await self._commands.override(request.person, request.starts, request.ends, actor, request.comment)
        return OverrideModel.of(made)

    async def swap(self, request: SwapRequest, actor: Actor) -> OverrideModel:
        """Offer shifts of a person; that person stays on call until somebody takes them."""
        made = await self._commands.swap(request.person, request.starts, request.ends, actor, request.comment)
        return OverrideModel.of(made)

    async def take(self, request: TakeRequest, actor: Actor) -> OverrideModel:
        """Take the shifts that somebody offered."""
        return OverrideModel.of(await self._commands.take(request.id, request.by, actor))

    async def cancel(self, request: CancelRequest, actor: Actor) -> OverrideModel:
        """Cancel an override or a swap; one that has begun ends now."""
        return OverrideModel.of(await self._commands.cancel(request.id, actor))

    async def new_feed(self, request: FeedRequest, actor: Actor) -> FeedResponse:
        """Make the calendar feed of a person; the address of the last one ends."""
        secret = await self._commands.new_feed(request.person, actor)
        return FeedResponse(url=f"{self._address.rstrip('/')}{FEED}?token={secret}")

    async def feed(self, request: Request) -> Response:
        """Return the shifts of the person whose secret is given, as iCalendar."""
        try:
            asked = FeedParameters.model_validate(dict(request.query_params))
            content = await self._commands.feed(asked.token, asked.language)
        except ValidationError as error:
            return invalid_request(error)
        except NotFoundError as error:
            return problem(404, str(error))
        except StateError as error:
            return problem(503, str(error), headers={"retry-after": str(RETRY_AFTER)})
        return Response(content, headers={"cache-control": "private, max-age=300"}, media_type="text/calendar")
