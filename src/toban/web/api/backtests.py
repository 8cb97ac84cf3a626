"""Backtests of rules, in toban's own API."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Self

from pydantic import AwareDatetime, StringConstraints

from toban.access.permissions import Permission
from toban.alerting.backtests import Backtest, Backtests, BacktestState
from toban.core.actor import Actor
from toban.core.replay import ReplayedFiring, RuleReplay
from toban.review.comparison import ReplayComparison, compare
from toban.review.firing import Firing
from toban.review.recorder import FiringRecorder
from toban.web.api.api_endpoint import ApiEndpoint, RequestModel, ResponseModel
from toban.web.api.incident_models import Number
from toban.web.endpoint import Endpoint

MOST_FIRINGS = 200
"""How many firings of a rule a response has."""


class StartBacktestRequest(RequestModel):
    """What to replay: the rules of a name, or those of a rule file."""

    rule: Annotated[str, StringConstraints(max_length=200)] = ""
    rules: Annotated[str, StringConstraints(max_length=100_000)] = ""
    """The content of a rule file; its recording rules are replayed too."""
    begins: AwareDatetime
    ends: AwareDatetime


class BacktestRequest(RequestModel):
    """Which backtest."""

    id: Annotated[str, StringConstraints(pattern=r"^[0-9]{1,9}$")]


class CancelBacktestRequest(RequestModel):
    """Which backtest to cancel."""

    id: Number


class ReplayedFiringModel(ResponseModel):
    """An alert as it would have fired."""

    labels: Mapping[str, str]
    began: datetime
    fired: datetime
    ended: datetime | None

    @classmethod
    def of(cls, it: ReplayedFiring) -> Self:
        """Return the model of a firing."""
        return cls(labels=dict(it.labels), began=it.began, fired=it.fired, ended=it.ended)


class RecordedModel(ResponseModel):
    """What was recorded of the same rule at the time."""

    matched: int
    """Firings that the replay has too."""
    only_recorded: int
    only_replayed: int

    @classmethod
    def of(cls, it: ReplayComparison) -> Self:
        """Return the model of a comparison."""
        return cls(matched=it.matched, only_recorded=it.only_recorded, only_replayed=it.only_replayed)


class RuleReplayModel(ResponseModel):
    """What one rule would have done."""

    rule: str
    interval: float
    """Seconds."""
    fired: int
    firing_seconds: float
    """For how long it would have fired, all alerts together."""
    before: int
    """How many alerts fired when the time began."""
    evaluations: int
    failed: int
    """Evaluations whose query failed."""
    error: str
    blind_seconds: float
    """For how long toban did not run: nothing is evaluated then."""
    truncated: bool
    firings: list[ReplayedFiringModel]
    """The newest ones, newest first."""
    recorded: RecordedModel | None
    """Null for the rules of a file."""

    @classmethod
    def of(cls, it: RuleReplay, recorded: Sequence[Firing] | None) -> Self:
        """Return the model of a replay."""
        return cls(
            rule=it.rule,
            interval=it.interval.total_seconds(),
            fired=len(it.firings),
            firing_seconds=it.firing_time.total_seconds(),
            before=it.before,
            evaluations=it.evaluations,
            failed=it.failed,
            error=it.error,
            blind_seconds=it.blind.total_seconds(),
            truncated=it.truncated,
            firings=[ReplayedFiringModel.of(one) for one in reversed(it.firings[-MOST_FIRINGS:])],
            recorded=None if recorded is None else RecordedModel.of(compare(it, recorded)),
        )


class BacktestModel(ResponseModel):
    """A backtest."""

    id: int
    rule: str
    """Empty where the rules are those of a file."""
    begins: datetime
    ends: datetime
    by: str
    state: BacktestState
    share: float
    """The part that is done, from 0 to 1."""
    error: str
    results: list[RuleReplayModel]


class BacktestsApi:
    """Starts and shows backtests."""

    def __init__(self, backtests: Backtests, recorder: FiringRecorder) -> None:
        self._backtests = backtests
        self._recorder = recorder

    def routes(self) -> list[Endpoint]:
        """Return the routes."""
        path, act = "/api/backtests", Permission.ACT
        return [
            ApiEndpoint(path, self.show, Permission.READ, BacktestRequest, BacktestModel),
            ApiEndpoint(f"{path}/start", self.start, act, StartBacktestRequest, BacktestModel, method="POST"),
            ApiEndpoint(f"{path}/cancel", self.cancel, act, CancelBacktestRequest, BacktestModel, method="POST"),
        ]

    async def show(self, request: BacktestRequest, actor: Actor) -> BacktestModel:
        """Return a backtest: its progress, and when it is done what each rule would have done."""
        return await self._model(self._backtests.get(int(request.id)))

    async def start(self, request: StartBacktestRequest, actor: Actor) -> BacktestModel:
        """Start a backtest; it runs in the background."""
        started = await self._backtests.start(
            request.begins, request.ends, actor, rule=request.rule, rules=request.rules
        )
        return await self._model(started)

    async def cancel(self, request: CancelBacktestRequest, actor: Actor) -> BacktestModel:
        """Cancel a backtest that has not ended."""
        return await self._model(self._backtests.cancel(request.id))

    async def _model(self, it: Backtest) -> BacktestModel:
        recorded = None
        if it.rule and it.results:
            recorded = (await self._recorder.history(it.begins, it.ends, it.rule, 100_000)).firings
        return BacktestModel(
            id=it.id,
            rule=it.rule,
            begins=it.begins,
            ends=it.ends,
            by=it.by,
            state=it.state,
            share=it.share,
            error=it.error,
            results=[RuleReplayModel.of(one, recorded) for one in it.results],
        )
