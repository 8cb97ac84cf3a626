"""Run a scheduled task of Vendure now."""

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field

from toban.core.config_types import Duration
from toban.runbooks.action import Action, ActionContext, ActionTools, Plan
from toban.shop.scheduled_tasks import last_run, result_since, run_task


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
        last = await last_run(tools.admin_api, name)
        return Plan(f"run the scheduled task {name}", last, (f"task {name}",), {"task": name, "last": last})

    async def run(self, plan: Plan, context: ActionContext, tools: ActionTools) -> str:
        """Ask for it, and wait until it has run. Raises ``ActionError``."""
        return await run_task(tools.admin_api, tools.clock, plan.facts["task"], plan.facts["last"], self.lasts)

    async def look(self, plan: Plan, context: ActionContext, tools: ActionTools) -> str | None:
        """Look whether it has run since."""
        return await result_since(tools.admin_api, plan.facts["task"], plan.facts["last"])

    async def missing(self, tools: ActionTools) -> str:
        """Return what it needs."""
        return tools.admin_api.missing
