"""Backtests of rules in the console."""

from datetime import timedelta

from starlette.requests import Request
from starlette.responses import Response

from toban.access.permissions import Permission
from toban.core.errors import NotFoundError
from toban.core.ports import Clock
from toban.web.api.backtests import (
    BacktestModel,
    BacktestRequest,
    BacktestsApi,
    CancelBacktestRequest,
    StartBacktestRequest,
)
from toban.web.endpoint import Endpoint, actor
from toban.web.pages.forms import Fields, FormEndpoint, FormState
from toban.web.pages.rendering import page

LONGEST = 92
"""Days of a backtest."""


class BacktestsPages:
    """Shows what a rule would have done, and forwards what somebody starts or cancels."""

    def __init__(self, api: BacktestsApi, clock: Clock) -> None:
        self._api = api
        self._clock = clock

    def routes(self) -> list[Endpoint]:
        """Return the routes."""
        api, act = self._api, "/backtests/act"
        return [
            Endpoint("/backtests/{number}", self.show, Permission.READ),
            FormEndpoint(f"{act}/start", api.start, StartBacktestRequest, self._parameters, _page_of, self._refused),
            FormEndpoint(f"{act}/cancel", api.cancel, CancelBacktestRequest, _number, _page_of, self._refused),
        ]

    async def show(self, request: Request, form: FormState | None = None) -> Response:
        """Show one backtest."""
        try:
            found = await self._api.show(BacktestRequest(id=request.path_params["number"]), actor(request))
        except (NotFoundError, ValueError):
            return page(request, "not_found.html", 404)
        return page(request, "backtest.html", form.status if form else 200, it=found, error=form.error if form else "")

    def _parameters(self, fields: Fields) -> dict[str, object]:
        days = fields.get("days", "")
        length = min(max(int(days), 1), LONGEST) if days.isdigit() and len(days) <= 3 else 7
        now = self._clock.now()
        return {"rule": fields.get("rule", ""), "begins": now - timedelta(days=length), "ends": now}

    async def _refused(self, request: Request, form: FormState) -> Response:
        """Show why a backtest was not started or cancelled."""
        if number := form.fields.get("id"):
            request.path_params["number"] = number
            return await self.show(request, form)
        return page(request, "backtest.html", form.status, it=None, error=form.error)


def _page_of(backtest: BacktestModel, _: Fields) -> str:
    return f"/backtests/{backtest.id}"


def _number(fields: Fields) -> dict[str, object]:
    number = fields.get("id", "")
    return {"id": int(number) if number.isdigit() and len(number) <= 9 else number}
