"""Silences in toban's own API."""

from toban.core.actor import Actor
from toban.core.errors import InvalidCommandError
from toban.core.input_limits import checked_time
from toban.core.ports import Clock
from toban.notify.matcher_syntax import parse_matchers
from toban.notify.silence_commands import SilenceCommands, SilenceSpec
from toban.web.api.api_endpoint import ApiEndpoint, NoParameters
from toban.web.api.models import (
    CreateSilenceRequest,
    ExpireSilenceRequest,
    ExpireSilenceResponse,
    SilenceModel,
    SilencesResponse,
)
from toban.web.endpoint import Endpoint, Permission


class SilencesApi:
    """Shows silences, and forwards commands on them."""

    def __init__(self, silences: SilenceCommands, clock: Clock) -> None:
        self._silences = silences
        self._clock = clock

    def routes(self) -> list[Endpoint]:
        """Return the routes."""
        path, read, act = "/api/silences", Permission.READ, Permission.ACT
        return [
            ApiEndpoint(path, self.list_silences, read, NoParameters, SilencesResponse),
            ApiEndpoint(path, self.create, act, CreateSilenceRequest, SilenceModel, method="POST"),
            ApiEndpoint(f"{path}/expire", self.expire, act, ExpireSilenceRequest, ExpireSilenceResponse, method="POST"),
        ]

    async def list_silences(self, _: NoParameters, actor: Actor) -> SilencesResponse:
        """Return all silences."""
        now = self._clock.now()
        return SilencesResponse(silences=[SilenceModel.of(it, now) for it in await self._silences.all()])

    async def create(self, request: CreateSilenceRequest, actor: Actor) -> SilenceModel:
        """Create a silence."""
        now = self._clock.now()
        try:
            matchers = parse_matchers(request.matchers)
        except ValueError as error:
            raise InvalidCommandError(str(error), "matchers") from error
        try:
            ends = request.ends or checked_time(now + request.duration)
        except (ValueError, OverflowError) as error:
            raise InvalidCommandError(str(error), "duration") from error
        spec = SilenceSpec(matchers, ends, request.comment, request.created_by)
        silence = await self._silences.create(spec, actor)
        return SilenceModel.of(silence, silence.updated)

    async def expire(self, request: ExpireSilenceRequest, actor: Actor) -> ExpireSilenceResponse:
        """Expire a silence now."""
        await self._silences.expire(request.id, actor)
        return ExpireSilenceResponse(id=request.id)
