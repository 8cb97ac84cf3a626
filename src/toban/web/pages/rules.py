"""Rules in the console: the list, and one rule with what its expression comes to now."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from toban.access.permissions import Permission
from toban.core.errors import NotFoundError, StateError
from toban.web.api.alerts import AlertsApi
from toban.web.api.api_endpoint import NoParameters
from toban.web.api.firings import FiringsApi, FiringsRequest, FiringsResponse
from toban.web.api.models import AlertModel, RuleModel, WhyRequest
from toban.web.api.rules import RulesApi
from toban.web.endpoint import Endpoint, actor
from toban.web.pages.rendering import page

HISTORY_DAYS: Final = "400"
"""Of how many days the sums by month are shown."""


class RulesPages:
    """Shows the rules, and one rule with what its expression comes to now."""

    def __init__(self, api: RulesApi, alerts: AlertsApi, firings: FiringsApi) -> None:
        self._api = api
        self._alerts = alerts
        self._firings = firings

    def routes(self) -> list[Endpoint]:
        """Return the routes."""
        return [
            Endpoint("/rules", self.index, Permission.READ),
            Endpoint("/rules/{name}", self.show, Permission.READ),
        ]

    async def index(self, request: Request) -> Response:
        """Show all rules, or those whose name or expression has a text."""
        text = request.query_params.get("filter", "")
        wanted = text.casefold()
        found = await self._api.rules(NoParameters(), actor(request))
        groups = []
        for group in found.groups:
            rules = [it for it in group.rules if wanted in it.name.casefold() or wanted in it.expr.casefold()]
            if rules:
                groups.append((group, rules))
        return page(request, "rules.html", groups=groups, filter=text)

    async def show(self, request: Request) -> Response:
        """Show the rules of a name, and their alerts."""
        name = request.path_params["name"]
        groups = (await self._api.rules(NoParameters(), actor(request))).groups
        rules = [(group, rule) for group in groups for rule in group.rules if rule.name == name]
        if not rules:
            return page(request, "not_found.html", 404)
        alerts: Sequence[AlertModel] = ()
        explanations: Sequence[RuleModel] = ()
        try:
            why = await self._alerts.why(WhyRequest(alert=name), actor(request))
            alerts, explanations = why.alerts, why.rules
        except NotFoundError:
            pass  # a recording rule has no alerts
        history: FiringsResponse | None = None
        with suppress(StateError):  # the page shows the rule all the same
            history = await self._firings.firings(FiringsRequest(rule=name, days=HISTORY_DAYS), actor(request))
        return page(
            request, "rule.html", name=name, rules=rules, alerts=alerts, explanations=explanations, history=history
        )
