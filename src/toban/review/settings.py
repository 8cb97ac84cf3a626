"""The section `slo` of `toban.yaml`: service levels, by names of their own."""

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Final, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from toban.core.config_types import Duration, Section
from toban.core.errors import QueryError
from toban.core.samples import MetricFamily
from toban.instruments import metric_families
from toban.promql import parser
from toban.promql.syntax_tree import Selector, metric_of
from toban.review.burn_rate import arms

SHORTEST_PERIOD: Final = timedelta(days=7)
LONGEST_PERIOD: Final = timedelta(days=35)
"""The error budget is read at each five minutes of its period: 10,080 points."""

LONGEST_INTERVAL: Final = timedelta(minutes=2)
"""The shortest window of burn-rate rules is five minutes, and half of its points must be there."""

HISTOGRAMS: Final = {
    it.name: it.buckets for it in vars(metric_families).values() if isinstance(it, MetricFamily) and it.buckets
}
"""The bounds of the histograms that toban declares for the shop."""


def _promql(text: str) -> str:
    try:
        parser.parse(text)
    except QueryError as error:
        raise ValueError(str(error)) from error
    return text


def _selector(text: str) -> str:
    found = parser.parse(_promql(text)).root
    if not isinstance(found, Selector) or not metric_of(found) or found.offset or found.at is not None:
        raise ValueError('must be one metric, perhaps with matchers, like vendure_api_requests_total{status="500"}')
    return text.strip()


Expression = Annotated[str, StringConstraints(max_length=2_000), AfterValidator(_promql)]
Counter = Annotated[str, StringConstraints(max_length=2_000), AfterValidator(_selector)]
NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,39}")


class ServiceLevelSettings(Section):
    """
    A service level: what share of looks, requests or orders must be good.

    It counts *looks* (`good` alone: a comparison, evaluated at each `interval`), *events* (`bad` with `total` or
    `good`: counters), or *durations* (`histogram` and `below`). Each becomes series, an error budget, and two alerts:
    `NAME_budget_fast` (P2) and `NAME_budget_slow` (P3).
    """

    target: Annotated[float, Field(ge=85, lt=100)]
    """The share that must be good, in percent: `99.5`."""

    good: Expression | None = None
    """A comparison that is true while the shop is well, like `up{job="vendure"} == 1`; beside `bad`, a counter of good
    events."""

    total: Counter | None = None
    """A counter of all events."""

    bad: Counter | None = None
    """A counter of bad events: those that are the shop's fault. A card that its bank declines is not."""

    histogram: Counter | None = None
    """A histogram of durations, without `_bucket`."""

    below: Annotated[float, Field(gt=0)] | None = None
    """The duration in seconds below which a request is good; it must be a bucket's bound of the histogram."""

    period: Duration = timedelta(days=30)
    """The period of the error budget: 7 to 35 days."""

    interval: Duration = timedelta(seconds=60)
    """How often its series are recorded: at most 2 minutes."""

    min_bad: Annotated[int, Field(ge=1, le=1_000_000)] = 3
    """How many bad events the long window of an alert must have: one failure among few events is no alert."""

    @model_validator(mode="after")
    def _is_of_one_kind(self) -> Self:
        given = {name for name in ("good", "total", "bad", "histogram", "below") if getattr(self, name) is not None}
        if given not in ({"good"}, {"bad", "total"}, {"bad", "good"}, {"histogram", "below"}):
            raise ValueError(
                "write `good` alone (a comparison), `bad` with `total` or `good` (counters),"
                " or `histogram` with `below`"
            )
        return self

    @model_validator(mode="after")
    def _can_be_evaluated(self) -> Self:
        if self.good and self.bad:
            _selector(self.good)
        elif self.good and len(parser.comparisons(self.good)) != 1:
            raise ValueError('good: must be one comparison, like up{job="vendure"} == 1')
        if self.histogram and self.below:
            name = metric_of(parser.parse(self.histogram).root)  # type: ignore[arg-type]  # `Counter` is a selector
            bounds = HISTOGRAMS.get(name, (self.below,))
            if self.below not in bounds:
                known = ", ".join(f"{it:g}" for it in bounds)
                raise ValueError(f"below: {self.below:g} is no bucket's bound of {name}: it has {known}")
        return self

    @model_validator(mode="after")
    def _has_alerts(self) -> Self:
        if not SHORTEST_PERIOD <= self.period <= LONGEST_PERIOD:
            raise ValueError("period: must be 7d to 35d")
        if not timedelta(seconds=5) <= self.interval <= LONGEST_INTERVAL:
            raise ValueError("interval: must be 5s to 2m")
        if not all(arms(self.target, self.period, fast=fast) for fast in (True, False)):
            raise ValueError("target: so low that no burn rate can be reached: take a higher one, or a longer period")
        return self


def _named(levels: Mapping[str, ServiceLevelSettings]) -> Mapping[str, ServiceLevelSettings]:
    for name in levels:
        if not NAME.fullmatch(name):
            raise ValueError(f"{name[:100]!r}: write names in lower-case letters, digits and hyphens, like can-sell")
    return levels


LevelSettings = Annotated[dict[str, ServiceLevelSettings], AfterValidator(_named)]
"""Service levels, by names of their own."""
