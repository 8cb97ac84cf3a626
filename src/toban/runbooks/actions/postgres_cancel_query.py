"""Cancel the statement for which others wait in the shop's PostgreSQL."""

from datetime import timedelta
from typing import Final, Literal

from toban.core.config_types import Duration
from toban.core.errors import ActionError
from toban.runbooks import postgres_sessions
from toban.runbooks.action import Action, ActionContext, ActionTools, Plan

CHECKS: Final = 10
"""How often it looks whether the statement has ended, once a second."""


class PostgresCancelQuery(Action):
    """Cancel the statement at the root of a lock chain; its session and its transaction stay, and see an error."""

    kind: Literal["postgres_cancel_query"] = "postgres_cancel_query"

    user: str = ""
    """The role whose sessions these are; default: the owner of Vendure's tables."""

    waited: Duration = timedelta(seconds=30)
    """How long somebody must have waited for it."""

    async def plan(self, context: ActionContext, tools: ActionTools) -> Plan:
        """Find the root. Raises ``ActionError`` where others wait for what may not be cancelled."""
        found = await postgres_sessions.blocker(tools, self.user, self.waited)
        if found is None:
            return postgres_sessions.nobody_waits(self.waited)
        root, _ = found
        described = root.described(tools.clock.now())
        if root.state != "active":
            return Plan(f"session {described} runs no statement: cancelling changes nothing", needed=False)
        return Plan(
            f"cancel the statement of session {described}",
            f"{root.pid} {root.query_start}",
            (root.name,),
            {"session": root.as_dict()},
        )

    async def run(self, plan: Plan, context: ActionContext, tools: ActionTools) -> str:
        """Cancel it, and look whether it ended. Raises ``ActionError``."""
        session = plan.facts["session"]
        rows = await tools.database.execute(postgres_sessions.CANCEL, session)
        if not rows:
            return "the statement had ended before it was cancelled"
        for _ in range(CHECKS):
            if not await tools.database.execute(postgres_sessions.RUNNING, session):
                return f"cancelled the statement of session {session['pid']}"
            await tools.clock.sleep(1)
        raise ActionError(f"the statement of session {session['pid']} goes on although it was cancelled")

    async def look(self, plan: Plan, context: ActionContext, tools: ActionTools) -> str | None:
        """Look whether the statement has ended."""
        session = plan.facts["session"]
        if await tools.database.execute(postgres_sessions.RUNNING, session):
            return None
        return f"the statement of session {session['pid']} has ended"

    async def missing(self, tools: ActionTools) -> str:
        """Return the grants that its role lacks."""
        return await postgres_sessions.missing_rights(tools)
