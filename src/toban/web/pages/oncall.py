"""The on-call schedule in the console: who is on call, four weeks of shifts, overrides."""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Final, TypeVar
from zoneinfo import ZoneInfo

from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response

from toban.access.permissions import Permission
from toban.core.actor import Actor
from toban.core.errors import InvalidCommandError, StateError
from toban.core.ports import Clock
from toban.core.wall_clock import first_instant
from toban.web.api.api_endpoint import RequestModel, ResponseModel
from toban.web.api.oncall import OnCallApi
from toban.web.api.oncall_models import (
    CancelRequest,
    CoverRequest,
    FeedRequest,
    GapModel,
    OnCallResponse,
    OverrideRequest,
    ShiftModel,
    SwapRequest,
    TakeRequest,
)
from toban.web.endpoint import FORM, Endpoint, actor
from toban.web.pages.forms import LARGEST_FORM, Fields, FormEndpoint, FormState, read_fields
from toban.web.pages.rendering import page
from toban.web.problem_details import readable_fields

WEEKS: Final = 4
COLOURS: Final = 8
"""How many colours people have in the calendar."""

Q = TypeVar("Q", bound=RequestModel)
R = TypeVar("R", bound=ResponseModel)


@dataclass(frozen=True, slots=True)
class Bar:
    """A shift, or a gap, in a week: its place in percent of the week."""

    left: float
    width: float
    people: str
    """The names; empty for a gap."""
    colour: int
    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class Row:
    """A layer in a week; the final schedule has no name."""

    name: str
    bars: Sequence[Bar]


@dataclass(frozen=True, slots=True)
class Week:
    """A week of the calendar: its days, each with its place in percent, and its rows."""

    days: Sequence[tuple[date, float]]
    rows: Sequence[Row]
    now: float | None
    """The place of now, if it is in this week."""


class OnCallPages:
    """Shows the on-call schedule, and forwards commands on it."""

    def __init__(self, api: OnCallApi, clock: Clock) -> None:
        self._api = api
        self._clock = clock

    def routes(self) -> list[Endpoint]:
        """Return the routes."""
        api = self._api
        return [
            Endpoint("/oncall", self.show, Permission.READ),
            self._form("cover", api.cover, CoverRequest),
            self._form("override", api.override, OverrideRequest),
            self._form("swap", api.swap, SwapRequest),
            self._form("take", api.take, TakeRequest),
            self._form("cancel", api.cancel, CancelRequest),
            Endpoint(
                "/oncall/act/feed",
                self.make_feed,
                Permission.ACT,
                methods=("POST",),
                takes=FORM,
                largest=LARGEST_FORM,
            ),
        ]

    def _form(self, name: str, operation: Callable[[Q, Actor], Awaitable[R]], model: type[Q]) -> FormEndpoint:
        return FormEndpoint(f"/oncall/act/{name}", operation, model, _given, lambda *_: "/oncall", self.show)

    async def show(self, request: Request, form: FormState | None = None, feed: str = "") -> Response:
        """Show who is on call, and the shifts of four weeks from this Monday on."""
        now = self._clock.now()
        zone = ZoneInfo(self._api.report(now, now, now).timezone)
        today = now.astimezone(zone).date()
        monday = today - timedelta(days=today.weekday())
        starts = [_midnight(monday + timedelta(weeks=number), zone) for number in range(WEEKS + 1)]
        found = self._api.response(self._api.report(now, starts[0], starts[-1]))
        return page(
            request,
            "oncall.html",
            form.status if form else 200,
            it=found,
            now=now,
            weeks=[_week(found, monday + timedelta(weeks=number), zone, now) for number in range(WEEKS)],
            coming=[it for it in found.final if it.end > now],
            colours={name: place % COLOURS for place, name in enumerate(found.people)},
            feed=feed,
            form=form or FormState(),
        )

    async def make_feed(self, request: Request) -> Response:
        """Make a calendar feed, and show its address: it is shown once, so that no other page can lead to it."""
        fields = await read_fields(request)
        try:
            made = await self._api.new_feed(FeedRequest.model_validate(fields), actor(request))
        except ValidationError as error:
            return await self.show(request, FormState(fields, readable_fields(error), 400))
        except (InvalidCommandError, StateError) as error:
            status = 503 if isinstance(error, StateError) else 400
            return await self.show(request, FormState(fields, str(error), status))
        return await self.show(request, feed=made.url)


def _week(found: OnCallResponse, monday: date, zone: ZoneInfo, now: datetime) -> Week:
    start, end = _midnight(monday, zone), _midnight(monday + timedelta(weeks=1), zone)
    days = [monday + timedelta(days=number) for number in range(7)]
    colours = {name: place % COLOURS for place, name in enumerate(found.people)}

    def place(at: datetime) -> float:
        return round((min(max(at, start), end) - start) / (end - start) * 100, 3)

    def bars(shifts: Sequence[ShiftModel | GapModel]) -> Iterator[Bar]:
        for it in shifts:
            if it.start < end and it.end > start:
                people = it.people if isinstance(it, ShiftModel) else []
                names = ", ".join(found.people.get(name, name) for name in people)
                colour = colours.get(people[0], 0) if people else 0
                yield Bar(place(it.start), place(it.end) - place(it.start), names, colour, it.start, it.end)

    layers = [Row(layer.name, tuple(bars(layer.shifts))) for layer in found.layers]
    final = Row("", (*bars(found.final), *bars(found.gaps)))
    return Week(
        [(day, place(_midnight(day, zone))) for day in days],
        [*layers, final] if len(layers) > 1 or found.overrides else [final],
        place(now) if start <= now < end else None,
    )


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    return first_instant(day, time(), zone)


def _given(fields: Fields) -> dict[str, object]:
    """Return the fields of a form as an operation takes them."""
    return {
        name: int(value) if name == "id" and value.isdigit() and len(value) <= 15 else value
        for name, value in fields.items()
    }
