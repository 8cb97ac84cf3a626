"""End the session for which others wait in the shop's PostgreSQL."""

from datetime import timedelta
from typing import Literal

from toban.core.config_types import Duration
from toban.core.errors import ActionError
from toban.runbooks import postgres_sessions
from toban.runbooks.action import Action, ActionContext, ActionTools, Plan


class PostgresEndBlocker(Action):
    """End the session at the root of a lock chain: its transaction is rolled back."""

    kind: Literal["postgres_end_blocker"] = "postgres_end_blocker"

    user: str = ""
    """The role whose sessions these are; default: the owner of Vendure's tables."""

    waited: Duration = timedelta(seconds=30)
    """How long somebody must have waited for it."""

    async def plan(self, context: ActionContext, tools: ActionTools) -> Plan:
        """Find the root. Raises ``ActionError`` where others wait for what may not be ended."""
        found = await postgres_sessions.blocker(tools, self.user, self.waited)
        if found is None:
            return postgres_sessions.nobody_waits(self.waited)
        (root, waiting), now = found, tools.clock.now()
        return Plan(
            f"end session {root.described(now)}; its transaction is rolled back; waiting for it:"
            f" {postgres_sessions.listed(waiting, now)}",
            f"{root.pid} {root.backend_start}",
            (root.name,),
            {"session": root.as_dict()},
        )

    async def run(self, plan: Plan, context: ActionContext, tools: ActionTools) -> str:
        """End it if it still does what it did. Raises ``ActionError``."""
        session = plan.facts["session"]
        if await postgres_sessions.end(tools, [session]):
            return f"ended session {session['pid']}"
        if not await postgres_sessions.present(tools, [session]):
            return f"session {session['pid']} had ended before"
        raise ActionError(f"session {session['pid']} goes on: it does something else now, or does not end")

    async def look(self, plan: Plan, context: ActionContext, tools: ActionTools) -> str | None:
        """Look whether the session has ended."""
        session = plan.facts["session"]
        return None if await postgres_sessions.present(tools, [session]) else f"session {session['pid']} has ended"

    async def missing(self, tools: ActionTools) -> str:
        """Return the grants that its role lacks."""
        return await postgres_sessions.missing_rights(tools)
