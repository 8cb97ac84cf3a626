"""Ask a person before a runbook goes on."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from toban.runbooks.action import Action, ActionContext, ActionTools, Plan


class Confirm(Action):
    """Ask a person before the runbook goes on, in every mode."""

    kind: Literal["confirm"] = "confirm"

    acts: ClassVar[bool] = False
    asks: ClassVar[bool] = True

    question: Annotated[str, Field(min_length=1, max_length=500)]
    """What to confirm, like `go on with ending the session`."""

    async def plan(self, context: ActionContext, tools: ActionTools) -> Plan:
        """Return the question."""
        return Plan(self.question)

    async def run(self, plan: Plan, context: ActionContext, tools: ActionTools) -> str:
        """Go on: somebody said yes."""
        return f"confirmed: {self.question}"
