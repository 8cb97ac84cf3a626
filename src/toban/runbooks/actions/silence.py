"""Silence the alert of a runbook."""

from datetime import timedelta
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from toban.core.config_types import Duration, format_duration
from toban.runbooks.action import Action, ActionContext, ActionTools, Plan


class Silence(Action):
    """Silence the alert for a while, so that what is expected notifies nobody."""

    kind: Literal["silence"] = "silence"

    acts: ClassVar[bool] = False

    lasts: Annotated[Duration, Field(le=timedelta(days=1))] = timedelta(minutes=30)
    """How long."""

    comment: Annotated[str, Field(max_length=500)] = "a runbook works on it"
    """Why."""

    async def plan(self, context: ActionContext, tools: ActionTools) -> Plan:
        """Return what it silences."""
        return Plan(f"silence {context.alert.name} for {format_duration(self.lasts)}")

    async def run(self, plan: Plan, context: ActionContext, tools: ActionTools) -> str:
        """Silence it."""
        silence = await tools.silence(context.alert, self.lasts, self.comment)
        return f"silenced {context.alert.name} for {format_duration(self.lasts)} ({silence})"
