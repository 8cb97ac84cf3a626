"""Wait until a part of the shop is healthy."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from toban.core.config_types import Duration, format_duration
from toban.core.errors import ActionError, QueryError, StoreError
from toban.core.samples import milliseconds
from toban.runbooks.action import CAN_SELL, Action, ActionContext, ActionTools, Expression, Plan


class WaitHealthy(Action):
    """Wait until an expression has a result that is not zero, by default that the shop can sell."""

    kind: Literal["wait_healthy"] = "wait_healthy"

    acts: ClassVar[bool] = False

    expression: Expression = CAN_SELL
    """The PromQL expression: healthy once it has a result other than 0."""

    interval: Duration = timedelta(seconds=5)
    """How often it is evaluated."""

    lasts: Annotated[Duration, Field(le=timedelta(minutes=30))] = timedelta(minutes=1)
    """How long it waits at most."""

    timeout: Duration = timedelta(minutes=31)

    @property
    def expressions(self) -> Sequence[str]:
        """What it waits for."""
        return (*super().expressions, self.expression)

    async def plan(self, context: ActionContext, tools: ActionTools) -> Plan:
        """Return what it waits for."""
        return Plan(f"wait up to {format_duration(self.lasts)} until `{self.expression}`")

    async def run(self, plan: Plan, context: ActionContext, tools: ActionTools) -> str:
        """Evaluate until it is healthy. Raises ``ActionError`` when the time is over."""
        clock = tools.clock
        started, error = clock.monotonic(), ""
        while True:
            at = milliseconds(clock.now())
            try:
                result = await tools.queries.instant(self.expression, at)
            except (QueryError, StoreError) as caught:
                error = f": {caught}"
            else:
                if any(it.values[-1] != 0 for it in result.series):
                    took = timedelta(seconds=round(clock.monotonic() - started))
                    return f"healthy after {format_duration(took)}"
            if clock.monotonic() - started >= self.lasts.total_seconds():
                raise ActionError(f"not healthy within {format_duration(self.lasts)}{error}")
            await clock.sleep(self.interval.total_seconds())
