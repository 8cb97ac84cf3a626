"""Run a scheduled task of Vendure now."""

from datetime import datetime, timedelta
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from toban.core.config_types import Duration
from toban.core.errors import ActionError
from toban.runbooks.action import Action, ActionContext, ActionTools, Plan
from toban.runbooks.vendure_admin import admin, missing_key

TASKS: Final = "query { scheduledTasks { id enabled isRunning lastExecutedAt lastResult } }"
RUN: Final = "mutation ($id: String!) { runScheduledTask(id: $id) { success } }"
PERMISSION: Final = "UpdateSettings"
CHECK_SECONDS: Final = 5


class VendureRunTask(Action):
    """
    Run a scheduled task of Vendure now, and wait until a worker has run it.

    Vendure only notes that it is wanted: a worker looks every ten seconds, and a disabled or locked task does nothing.
    """

    kind: Literal["vendure_run_task"] = "vendure_run_task"

    task: Annotated[str, Field(max_length=200)] = ""
    """The id of the task, like `clean-sessions`; default: the label `task` of the alert."""

    lasts: Duration = timedelta(minutes=2)
    """How long it waits for the task to have run."""

    timeout: Duration = timedelta(minutes=10)

    async def plan(self, context: ActionContext, tools: ActionTools) -> Plan:
        """Look at the task. Raises ``ActionError`` where it can't run."""
        name = self.task or context.alert.labels.get("task", "")
        found = await self._task(tools, name)
        if not found.get("enabled"):
            raise ActionError(f"the task {name} is disabled: it does not run")
        if found.get("isRunning"):
            raise ActionError(f"the task {name} is running, or a dead process left its lock")
        last = str(found.get("lastExecutedAt") or "")
        return Plan(f"run the scheduled task {name}", last, (f"task {name}",), {"task": name, "last": last})

    async def run(self, plan: Plan, context: ActionContext, tools: ActionTools) -> str:
        """Ask for it, and wait until it has run. Raises ``ActionError``."""
        name = plan.facts["task"]
        answer = await admin(tools, RUN, PERMISSION, {"id": name})
        if not (answer.get("runScheduledTask") or {}).get("success"):
            raise ActionError(f"Vendure did not take the task {name}")
        started = tools.clock.monotonic()
        while True:
            if text := await self._result(tools, plan):
                return text
            if tools.clock.monotonic() - started >= self.lasts.total_seconds():
                raise ActionError(f"the task {name} has not run: does the worker run?")
            await tools.clock.sleep(CHECK_SECONDS)

    async def look(self, plan: Plan, context: ActionContext, tools: ActionTools) -> str | None:
        """Look whether it has run since."""
        return await self._result(tools, plan)

    async def _result(self, tools: ActionTools, plan: Plan) -> str | None:
        name, last = plan.facts["task"], plan.facts["last"]
        found = await self._task(tools, name)
        at = str(found.get("lastExecutedAt") or "")
        if not at or (last and datetime.fromisoformat(at) <= datetime.fromisoformat(last)):
            return None
        result = found.get("lastResult")
        if isinstance(result, dict) and result.get("error"):
            raise ActionError(f"the task {name} failed: {str(result['error'])[:200]}")
        return f"ran the scheduled task {name} at {at[:19]}"

    async def _task(self, tools: ActionTools, name: str) -> dict[str, Any]:
        tasks = (await admin(tools, TASKS, "ReadSettings")).get("scheduledTasks") or []
        found = next((it for it in tasks if it.get("id") == name), None)
        if found is None:
            known = ", ".join(str(it.get("id")) for it in tasks) or "none"
            raise ActionError(f"no scheduled task {name!r}: there are {known}")
        return dict(found)

    async def missing(self, tools: ActionTools) -> str:
        """Return what it needs."""
        return missing_key(tools)
