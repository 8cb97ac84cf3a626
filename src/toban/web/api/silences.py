"""Silences in toban's own API."""

from datetime import datetime, timedelta

from toban.access.permissions import Permission
from toban.core.actor import Actor
from toban.core.errors import InvalidCommandError
from toban.core.input_limits import checked_time
from toban.core.matcher_syntax import parse_matchers
from toban.core.ports import Clock
from toban.notify.silence_commands import SilenceCommands, SilenceSpec
from toban.web.api.api_endpoint import ApiEndpoint, NoParameters
from toban.web.api.models import (
    CreateSilenceRequest,
    ExpireSilenceRequest,
    ExpireSilenceResponse,
    ExtendSilenceRequest,
    SilenceModel,
    SilencesResponse,
)
from toban.web.endpoint import Endpoint


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
            ApiEndpoint(f"{path}/extend", self.extend, act, ExtendSilenceRequest, SilenceModel, method="POST"),
            ApiEndpoint(f"{path}/expire", self.expire, act, ExpireSilenceRequest, ExpireSilenceResponse, method="POST"),
        ]

    async def list_silences(self, _: NoParameters, actor: Actor) -> SilencesResponse:
        """Return all silences."""
        now = self._clock.now()
        return SilencesResponse(silences=[SilenceModel.of(it, now) for it in await self._silences.all()])

    async def create(self, request: CreateSilenceRequest, actor: Actor) -> SilenceModel:
        """Create a silence."""
        try:
            matchers = parse_matchers(request.matchers)
        except ValueError as error:
            raise InvalidCommandError(str(error), "matchers") from error
        ends = request.ends or _end(self._clock.now(), request.duration)
        spec = SilenceSpec(matchers, ends, request.comment, request.created_by)
        silence = await self._silences.create(spec, actor)
        return SilenceModel.of(silence, silence.updated)

    async def extend(self, request: ExtendSilenceRequest, actor: Actor) -> SilenceModel:
        """Let a silence end later: a `duration` from now."""
        silence = await self._silences.get(request.id)
        ends = _end(self._clock.now(), request.duration)
        spec = SilenceSpec(silence.matchers, ends, silence.comment, silence.by, silence.starts)
        extended = await self._silences.replace(silence.id, spec, actor)
        return SilenceModel.of(extended, extended.updated)

    async def expire(self, request: ExpireSilenceRequest, actor: Actor) -> ExpireSilenceResponse:
        """Expire a silence now."""
        await self._silences.expire(request.id, actor)
        return ExpireSilenceResponse(id=request.id)


def _end(now: datetime, duration: timedelta) -> datetime:
    """Return when a silence ends. Raises ``InvalidCommandError``."""
    try:
        return checked_time(now + duration)
    except (ValueError, OverflowError) as error:
        raise InvalidCommandError(str(error), "duration") from error
