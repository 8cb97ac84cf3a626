"""The charts of an incident's page: orders against what is usual, and the values that its alerts are about."""

import asyncio
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from toban.alerting.rule_engines import RuleEngineName, RuleEnginePair
from toban.core.actor import Actor
from toban.core.errors import NotFoundError, QueryError, StoreError
from toban.core.ports import Clock
from toban.health.orders_around import OrdersAround
from toban.health.sales import SalesHour
from toban.web.api.alerts import AlertsApi
from toban.web.api.incident_models import IncidentDetailsModel
from toban.web.api.models import AlertModel, RuleModel, WhyRequest
from toban.web.pages.charts import SalesChart, ThresholdChart
from toban.web.pages.value_chart import value_chart

AROUND: Final = timedelta(minutes=30)
"""What is shown before an incident began, and after it ended."""
MOST_ALERTS: Final = 6
TIME_LIMIT: Final = 8.0
"""Seconds after which the page is shown with what is drawn by then."""
KEPT: Final = timedelta(seconds=30)
"""How long charts are shown again: a page is drawn anew at each event."""
MOST_KEPT: Final = 20


@dataclass(frozen=True, slots=True)
class OrdersChart:
    """Orders around an incident; ``begin_x`` and ``width`` are where its time is, within 100."""

    intervals: Sequence[SalesHour]
    chart: SalesChart
    begin_x: float
    width: float

    @property
    def length(self) -> timedelta:
        """How long an interval is."""
        return self.intervals[1].starts - self.intervals[0].starts

    @property
    def end(self) -> datetime:
        """When the last interval ends."""
        return self.intervals[-1].starts + self.length

    @property
    def has_usual(self) -> bool:
        """Whether there is something to compare with."""
        return any(it.usual for it in self.intervals)


@dataclass(frozen=True, slots=True)
class AlertChart:
    """The value of an alert around an incident, with its limit."""

    alert: AlertModel
    rule: RuleModel
    chart: ThresholdChart


@dataclass(frozen=True, slots=True)
class IncidentCharts:
    """
    The charts of an incident.

    ``orders`` is missing where no orders are counted; ``is_cut`` tells that there was no time for all of them.
    """

    orders: OrdersChart | None
    alerts: Sequence[AlertChart]
    is_cut: bool = False


class IncidentChartReader:
    """Draws the charts of incidents."""

    def __init__(
        self,
        alerts: AlertsApi,
        orders: OrdersAround,
        engines: Mapping[RuleEngineName, RuleEnginePair],
        clock: Clock,
    ) -> None:
        self._alerts = alerts
        self._orders = orders
        self._engines = engines
        self._clock = clock
        self._kept: OrderedDict[int, tuple[datetime, object, IncidentCharts]] = OrderedDict()

    async def of(self, incident: IncidentDetailsModel, who: Actor) -> IncidentCharts:
        """Return the charts of an incident; what can't be queried is left out."""
        now = self._clock.now()
        kept = self._kept.get(incident.id)
        if kept and kept[0] > now - KEPT and kept[1] == _known(incident):
            return kept[2]
        found = await self._drawn(incident, now, who)
        self._kept[incident.id] = now, _known(incident), found
        self._kept.move_to_end(incident.id)
        while len(self._kept) > MOST_KEPT:
            self._kept.popitem(last=False)
        return found

    async def _drawn(self, incident: IncidentDetailsModel, now: datetime, who: Actor) -> IncidentCharts:
        start, end = incident.starts - AROUND, min(now, (incident.resolved or now) + AROUND)
        orders, alerts, is_cut = None, list[AlertChart](), False
        try:
            async with asyncio.timeout(TIME_LIMIT):
                orders = await self._of_orders(incident, start, end)
                for alert in _one_of_each_rule(incident.members):
                    if chart := await self._of_alert(alert, start, end, who):
                        alerts.append(chart)
        except TimeoutError:
            is_cut = True
        return IncidentCharts(orders, alerts, is_cut)

    async def _of_orders(self, incident: IncidentDetailsModel, start: datetime, end: datetime) -> OrdersChart | None:
        try:
            found = await self._orders.between(start, end)
        except (QueryError, StoreError):
            return None  # the health of the engines has the error
        if len(found) < 2:
            return None
        first, length = found[0].starts, len(found) * (found[1].starts - found[0].starts)
        begin_x = max(0.0, 100 * ((incident.starts - first) / length))
        end_x = min(100.0, 100 * (((incident.resolved or end) - first) / length))
        return OrdersChart(found, SalesChart.of(found), begin_x, max(0.5, end_x - begin_x))

    async def _of_alert(self, alert: AlertModel, start: datetime, end: datetime, who: Actor) -> AlertChart | None:
        try:
            rules = (await self._alerts.why(WhyRequest(alert=alert.name), who)).rules
        except (NotFoundError, ValueError):  # an alert from outside has no rule here
            return None
        rule = next((it for it in rules if it.severity == alert.severity), None)
        if rule is None:
            return None
        chart = await value_chart(self._engines, rule, alert.labels, start, end, max(alert.starts, start))
        return AlertChart(alert, rule, chart) if chart else None


def _known(incident: IncidentDetailsModel) -> object:
    """Return what charts are drawn anew for, when it changes."""
    return incident.starts, incident.resolved, len(incident.members)


def _one_of_each_rule(members: Sequence[AlertModel]) -> list[AlertModel]:
    """Return the first alerts, one of each name and severity."""
    found: dict[tuple[str, str], AlertModel] = {}
    for it in sorted(members, key=lambda it: it.starts):
        found.setdefault((it.name, it.severity), it)
    return list(found.values())[:MOST_ALERTS]
