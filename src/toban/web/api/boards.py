"""Boards and what they show, in toban's own API."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from pydantic import Field, Json, StringConstraints

from toban.access.permissions import Permission
from toban.core.actor import Actor
from toban.core.config_types import Zone
from toban.core.errors import InvalidCommandError, StateError
from toban.core.message_catalogue import LANGUAGES
from toban.core.ports import Clock, QueryEngine
from toban.core.samples import milliseconds
from toban.dashboards.board_data import BoardData, board_data
from toban.dashboards.board_loader import Boards
from toban.dashboards.time_range import MAX_TEXT, TimeRangeError, parse_range
from toban.web.api.api_endpoint import ApiEndpoint, NoParameters, RequestModel, ResponseModel
from toban.web.api.deploys import DeployModel
from toban.web.endpoint import Endpoint

Name = Annotated[str, StringConstraints(max_length=40)]
TimeText = Annotated[str, StringConstraints(max_length=MAX_TEXT)]
Value = Annotated[str, StringConstraints(max_length=1_024)]
Language = Annotated[str, StringConstraints(pattern=f"^({'|'.join(LANGUAGES)})$")]


class BoardSummaryModel(ResponseModel):
    """A board, without its panels."""

    name: str
    title: str
    description: str
    address: str


class BoardsResponse(ResponseModel):
    """All boards."""

    boards: list[BoardSummaryModel]


class BoardRequest(RequestModel):
    """Which board."""

    name: Name


class BoardResponse(ResponseModel):
    """A board: its panels, rows and variables."""

    board: dict[str, Any]


class BoardDataRequest(RequestModel):
    """Which board, and which range of time."""

    name: Name
    begin: TimeText = Field("", alias="from", validate_default=False)
    """`now-6h`, `now/d`, milliseconds since the epoch, or ISO 8601; the board's own unless given."""
    end: TimeText = Field("", alias="to", validate_default=False)
    points: int = Field(400, ge=10, le=2_000)
    """How many points a series has at most."""
    variables: Json[dict[Name, Annotated[list[Value], Field(max_length=50)]]] = Field(default_factory=dict)
    """The chosen values of variables, as a JSON object of lists; all where none are."""
    timezone: Zone = "UTC"
    """The zone in which days begin."""
    language: Language = "en"


class PanelSeriesModel(ResponseModel):
    """A series of a panel; its values are those at the board's times."""

    name: str
    labels: dict[str, str]
    values: list[float | None]
    query: int
    """The place of its query among those of the panel."""


class PanelDataModel(ResponseModel):
    """What a panel shows."""

    title: str
    series: list[PanelSeriesModel]
    hidden: int
    """How many series more there are."""
    error: str
    """Why it could not be queried."""
    warnings: list[str]
    expressions: list[str]
    """The expressions that were run, with the values of their variables."""


class AnnotationModel(ResponseModel):
    """A time in which an alert fired, or at which something was deployed."""

    begin: int
    """Milliseconds since the epoch."""
    end: int
    title: str
    """The name of the alert, or the version that was deployed."""
    severity: str
    """That of the alert; `deploy` for a deploy."""


class BoardDataResponse(ResponseModel):
    """What all panels of a board show."""

    times: list[int]
    """Milliseconds since the epoch; series of one time have one value, at the end."""
    panels: list[PanelDataModel]
    variables: dict[str, list[str]]
    """The values that each variable has."""
    annotations: list[AnnotationModel]
    """What charts mark, by time."""


class BoardsApi:
    """Lists boards, and queries what they show."""

    def __init__(
        self,
        boards: Boards,
        engine: QueryEngine,
        clock: Clock,
        deploys: Callable[[datetime, datetime], Awaitable[Sequence[DeployModel]]],
    ) -> None:
        self._deploys = deploys
        self._boards = boards
        self._engine = engine
        self._clock = clock

    def routes(self) -> list[Endpoint]:
        """Return the routes."""
        return [
            ApiEndpoint("/api/boards", self.boards_list, Permission.READ, NoParameters, BoardsResponse),
            ApiEndpoint("/api/boards/board", self.show, Permission.READ, BoardRequest, BoardResponse),
            ApiEndpoint("/api/boards/data", self.data, Permission.READ, BoardDataRequest, BoardDataResponse),
        ]

    async def boards_list(self, request: NoParameters, actor: Actor) -> BoardsResponse:
        """List all boards."""
        found = [
            BoardSummaryModel(
                name=it.name, title=it.title, description=it.description, address=f"/dashboards/{it.name}"
            )
            for it in self._boards.by_name.values()
        ]
        return BoardsResponse(boards=found)

    async def show(self, request: BoardRequest, actor: Actor) -> BoardResponse:
        """Return a board."""
        return BoardResponse(board=self._boards.get(request.name).model_dump(mode="json", by_alias=True))

    async def data(self, request: BoardDataRequest, actor: Actor) -> BoardDataResponse:
        """
        Return what all panels of a board show.

        A panel whose query fails has an error; the others have their series.
        """
        board = self._boards.get(request.name)
        unknown = sorted(request.variables.keys() - {it.name for it in board.variables})
        if unknown:
            raise InvalidCommandError(f"the board has no variable {unknown[0]!r}", "variables")
        begin, end = request.begin or board.time.begin, request.end or board.time.end
        try:
            span = parse_range(begin, end, self._clock.now(), ZoneInfo(request.timezone), request.points)
        except TimeRangeError as error:
            raise InvalidCommandError(str(error), "from") from error
        found = _response(await board_data(board, self._engine, span, request.variables, request.language))
        try:
            deploys = await self._deploys(span.begin, span.end)
        except StateError:
            return found  # state reports it; charts do without
        marks = [
            AnnotationModel(begin=milliseconds(it.at), end=milliseconds(it.at), title=it.version, severity="deploy")
            for it in deploys
        ]
        return found.model_copy(update={"annotations": sorted([*found.annotations, *marks], key=lambda it: it.begin)})


def _response(found: BoardData) -> BoardDataResponse:
    return BoardDataResponse(
        times=list(found.times),
        panels=[PanelDataModel.model_validate(it) for it in found.panels],
        variables={name: list(values) for name, values in found.variables.items()},
        annotations=[AnnotationModel.model_validate(it) for it in found.annotations],
    )
