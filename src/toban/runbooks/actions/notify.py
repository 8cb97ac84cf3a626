"""Send a message to a channel."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from toban.runbooks.action import Action, ActionContext, ActionTools, Plan


class Notify(Action):
    """Send a message to a channel."""

    kind: Literal["notify"] = "notify"

    acts: ClassVar[bool] = False

    channel: Annotated[str, Field(min_length=1, max_length=200)]
    """The channel, as `channels` names it."""

    text: Annotated[str, Field(min_length=1, max_length=500)]
    """The message."""

    async def plan(self, context: ActionContext, tools: ActionTools) -> Plan:
        """Return what it sends."""
        return Plan(f"send to {self.channel}: {self.text}")

    async def run(self, plan: Plan, context: ActionContext, tools: ActionTools) -> str:
        """Put the message in the outbox, which delivers it."""
        await tools.notify(self.channel, self.text)
        return f"sent to {self.channel}: {self.text}"
