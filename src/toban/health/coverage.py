"""What can be known of this shop."""

from typing import Final

from toban.core.labels import NAME, quote
from toban.core.ports import Clock, QueryEngine
from toban.core.samples import milliseconds
from toban.instruments.metric_sources import NUMBERS, Known, missing

SEEN: Final = (
    f"group by ({NAME}) (last_over_time({{{NAME}=~"
    + quote("|".join(f"{name}(_count)?" for number in NUMBERS for name in number.metrics))
    + "}[1d]))"
)
"""The question which of the shop's numbers there were within a day."""


async def unknowns(engine: QueryEngine, clock: Clock) -> list[Known]:
    """Return what is not known of the shop. Raises ``QueryError`` or ``StoreError``."""
    answer = await engine.instant(SEEN, milliseconds(clock.now()))
    return list(missing({points.labels.name for points in answer.series}))
