"""End idle sessions of the shop's PostgreSQL."""

from datetime import timedelta
from typing import Annotated, Final, Literal

from pydantic import Field

from toban.core.config_types import Duration
from toban.core.errors import ActionError
from toban.runbooks import postgres_sessions
from toban.runbooks.action import Action, ActionContext, ActionTools, Plan

MOST: Final = 10
"""How many sessions one act ends."""


class PostgresEndIdle(Action):
    """
    End sessions of the shop that are idle, the longest idle first; never a backup, a migration or maintenance.

    It ends as many as bring the connections under the limit, ten at most. Where none is idle for long enough, it ends
    those that are idle in a transaction and for which others wait. The shop's pool opens new ones when it needs them.
    """

    kind: Literal["postgres_end_idle"] = "postgres_end_idle"

    user: str = ""
    """The role whose sessions these are; default: the owner of Vendure's tables."""

    idle: Duration = timedelta(minutes=10)
    """How long a session must be idle."""

    idle_in_transaction: Duration = timedelta(minutes=5)
    """How long one that is idle in a transaction must be."""

    below: Annotated[float, Field(gt=0, lt=1)] = 0.8
    """The share of the allowed connections that it aims for."""

    async def plan(self, context: ActionContext, tools: ActionTools) -> Plan:
        """Choose the sessions. Raises ``ActionError`` where there is none to end."""
        now = tools.clock.now()
        found = await postgres_sessions.sessions(tools, self.user)
        used, allowed = await postgres_sessions.connections(tools)
        state = "idle"
        chosen = postgres_sessions.older_than(found, state, self.idle, now)
        if not chosen:
            state = "idle in transaction"
            old = postgres_sessions.older_than(found, state, self.idle_in_transaction, now)
            chosen = [it for it in old if it.blocks]
        if not chosen:
            raise ActionError(
                f"none of the {len(found)} sessions of the shop may be ended: {used} of {allowed} are used"
            )
        excess = max(1, used - int(allowed * self.below)) if state == "idle" else MOST
        chosen = chosen[: min(MOST, excess)]
        listed = ", ".join(it.described(now) for it in chosen)
        return Plan(
            f"end {len(chosen)} sessions of the shop, {used} of {allowed} are used: {listed}",
            state,
            ("postgres sessions",),
            {"sessions": [it.as_dict() for it in chosen]},
        )

    async def run(self, plan: Plan, context: ActionContext, tools: ActionTools) -> str:
        """End those that are still idle. Raises ``ActionError`` where none ended."""
        chosen = plan.facts["sessions"]
        ended = await postgres_sessions.end(tools, chosen)
        used, allowed = await postgres_sessions.connections(tools)
        if not ended:
            raise ActionError(f"no session ended: all {len(chosen)} do something again")
        return f"ended {ended} of {len(chosen)} sessions: {used} of {allowed} are used now"

    async def look(self, plan: Plan, context: ActionContext, tools: ActionTools) -> str | None:
        """Count how many of the sessions are gone."""
        chosen = plan.facts["sessions"]
        gone = len(chosen) - await postgres_sessions.present(tools, chosen)
        return f"{gone} of {len(chosen)} sessions are gone" if gone else None

    async def missing(self, tools: ActionTools) -> str:
        """Return the grants that its role lacks."""
        return await postgres_sessions.missing_rights(tools)
