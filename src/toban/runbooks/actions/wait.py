"""Wait for a while."""

from datetime import timedelta
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from toban.core.config_types import Duration, format_duration
from toban.runbooks.action import Action, ActionContext, ActionTools, Plan


class Wait(Action):
    """Wait for a while."""

    kind: Literal["wait"] = "wait"

    acts: ClassVar[bool] = False

    lasts: Annotated[Duration, Field(le=timedelta(minutes=30))] = timedelta(minutes=1)
    """How long."""

    timeout: Duration = timedelta(minutes=31)

    async def plan(self, context: ActionContext, tools: ActionTools) -> Plan:
        """Return that it waits."""
        return Plan(f"wait {format_duration(self.lasts)}")

    async def run(self, plan: Plan, context: ActionContext, tools: ActionTools) -> str:
        """Wait."""
        await tools.clock.sleep(self.lasts.total_seconds())
        return f"waited {format_duration(self.lasts)}"
