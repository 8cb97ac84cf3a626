"""Which metrics of the shop are missing."""

from typing import Final

from toban.core.labels import NAME, quote
from toban.core.ports import Clock, InstantQueryEngine
from toban.core.samples import milliseconds
from toban.instruments.metric_sources import COVERAGE, Coverage, missing_metrics

REPORTED: Final = (
    f"group by ({NAME}) (last_over_time({{{NAME}=~"
    + quote("|".join(f"{name}(_count)?" for coverage in COVERAGE for name in coverage.metrics))
    + "}[1d]))"
)
"""The query for the shop's metrics that had samples within a day."""


async def missing_coverage(engine: InstantQueryEngine, clock: Clock) -> list[Coverage]:
    """Return the metrics that are missing. Raises ``QueryError`` or ``StoreError``."""
    result = await engine.instant(REPORTED, milliseconds(clock.now()))
    return list(missing_metrics({points.labels.name for points in result.series}))
