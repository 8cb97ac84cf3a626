"""The chart of the value that an alert is about, with its limit."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

from toban.alerting.rule_engines import RuleEngineName, RuleEnginePair
from toban.core.errors import TobanError
from toban.core.labels import Labels
from toban.core.samples import milliseconds, moment
from toban.web.api.models import RuleModel
from toban.web.pages.charts import ThresholdChart

POINTS: Final = 200
TIME_LIMIT: Final = timedelta(seconds=5)
"""After so long the page is shown without a chart."""


async def value_chart(
    engines: Mapping[RuleEngineName, RuleEnginePair],
    rule: RuleModel,
    labels: Mapping[str, str],
    start: datetime,
    end: datetime,
    began: datetime,
) -> ThresholdChart | None:
    """Return the chart of a rule's value between two times, of the series of an alert with these labels."""
    engine = engines[rule.engine].pages
    span = milliseconds(end) - milliseconds(start)
    for comparison in rule.comparisons:
        try:
            step = max(15_000, span // POINTS)
            result = await engine.range(
                comparison.left, milliseconds(start), milliseconds(end), step, time_limit=TIME_LIMIT
            )
        except TobanError:  # the rule's health on its page has the error
            return None
        own = [it for it in result.series if _belongs(it.labels, labels)]
        if own:
            limit = float(comparison.limit.series[0].value) if comparison.limit.series else None
            # Where there is no older sample, the chart begins with the first one.
            first = moment(int(own[0].times[0]))
            times, values = own[0].times.tolist(), own[0].values.tolist()
            return ThresholdChart.of(times, values, limit, min(max(start, first), began), end, began)
    return None


def _belongs(labels: Labels, alert: Mapping[str, str]) -> bool:
    """Tell whether a series is the one that an alert is about: its labels are among the alert's."""
    return all(alert.get(name) == value for name, value in labels.items() if name != "__name__")
