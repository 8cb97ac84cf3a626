"""Remove the lock that a dead process left on a scheduled task of Vendure."""

from datetime import timedelta
from typing import Annotated, Final, Literal

from pydantic import Field

from toban.core.config_types import Duration, format_duration
from toban.core.errors import ActionError
from toban.runbooks.action import Action, ActionContext, ActionTools, Plan

TASK: Final = """
SELECT "lockedAt"::text AS locked, extract(epoch FROM (now() AT TIME ZONE %(zone)s) - "lockedAt")::float8 AS seconds
FROM scheduled_task_record WHERE "taskId" = %(task)s
"""
UNLOCK: Final = """
UPDATE scheduled_task_record SET "lockedAt" = NULL WHERE "taskId" = %(task)s AND "lockedAt"::text = %(locked)s
RETURNING "taskId"
"""
RIGHT: Final = "SELECT has_column_privilege('scheduled_task_record', 'lockedAt', 'UPDATE') AS may, current_user AS role"


class VendureUnlockTask(Action):
    """
    Remove the lock of a scheduled task that a dead process left: the task runs again at its next time.

    Vendure marks a task as failed and unlocks it after its own timeout; a lock that is much older belongs to nobody.
    """

    kind: Literal["vendure_unlock_task"] = "vendure_unlock_task"

    task: Annotated[str, Field(max_length=200)] = ""
    """The id of the task, like `clean-sessions`; default: the label `task` of the alert."""

    older_than: Duration = timedelta(hours=1)
    """How old the lock must be."""

    async def plan(self, context: ActionContext, tools: ActionTools) -> Plan:
        """Look at the lock. Raises ``ActionError`` where there is none, or it is young."""
        name = self.task or context.alert.labels.get("task", "")
        zone = tools.shop.settings.timezone
        rows = await tools.database.execute(TASK, {"task": name, "zone": zone})
        if not rows:
            raise ActionError(f"no scheduled task {name!r}")
        locked, seconds = rows[0]["locked"], rows[0]["seconds"]
        if locked is None:
            raise ActionError(f"the task {name} is not locked")
        age = timedelta(seconds=round(seconds))
        if age < self.older_than:
            raise ActionError(f"the task {name} was locked {format_duration(age)} ago: it may be running")
        return Plan(
            f"remove the lock of the task {name}, {format_duration(age)} old",
            locked,
            (f"task {name}",),
            {"task": name, "locked": locked},
        )

    async def run(self, plan: Plan, context: ActionContext, tools: ActionTools) -> str:
        """Remove exactly this lock. Raises ``ActionError`` where it is another one now."""
        if not await tools.database.execute(UNLOCK, plan.facts):
            raise ActionError(f"the lock of {plan.facts['task']} is another one now: it is left alone")
        return f"removed the lock of the task {plan.facts['task']}"

    async def look(self, plan: Plan, context: ActionContext, tools: ActionTools) -> str | None:
        """Look whether the lock is gone."""
        rows = await tools.database.execute(TASK, {"task": plan.facts["task"], "zone": tools.shop.settings.timezone})
        is_there = bool(rows) and rows[0]["locked"] == plan.facts["locked"]
        return None if is_there else f"the lock of the task {plan.facts['task']} is gone"

    async def missing(self, tools: ActionTools) -> str:
        """Return the grant that its role lacks."""
        if tools.shop.settings.database_admin is None:
            return "shop.database_admin is not set: toban has no role to act on the database"
        try:
            [found] = await tools.database.execute(RIGHT)
        except ActionError as error:
            return f"shop.database_admin: {error}"
        grant = 'GRANT SELECT, UPDATE ("lockedAt") ON scheduled_task_record TO'
        return "" if found["may"] else f"shop.database_admin lacks a right: {grant} {found['role']};"
