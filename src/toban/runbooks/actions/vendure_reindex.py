"""Rebuild the search index of the shop."""

from typing import Final, Literal

from toban.core.errors import ActionError
from toban.runbooks.action import Action, ActionContext, ActionTools, Plan

PENDING: Final = """
query { jobs(options: { filter: { queueName: { eq: "update-search-index" }, isSettled: { eq: false } }, take: 1 }) {
  items { id state } totalItems } }
"""
REINDEX: Final = "mutation { reindex { id state queueName } }"


class VendureReindex(Action):
    """Start a job that rebuilds the search index, unless one waits or runs already."""

    kind: Literal["vendure_reindex"] = "vendure_reindex"

    async def plan(self, context: ActionContext, tools: ActionTools) -> Plan:
        """Look for a job that waits or runs. Raises ``ActionError`` where there is one."""
        jobs = (await tools.admin_api.execute(PENDING, "ReadSettings")).get("jobs") or {}
        if jobs.get("totalItems"):
            raise ActionError(f"{jobs['totalItems']} jobs of update-search-index wait or run already")
        return Plan("rebuild the search index", "", ("search index",))

    async def run(self, plan: Plan, context: ActionContext, tools: ActionTools) -> str:
        """Start the job and return its number: it takes minutes. Raises ``ActionError``."""
        job = (await tools.admin_api.execute(REINDEX, "UpdateCatalog")).get("reindex") or {}
        if not job.get("id"):
            raise ActionError("Vendure started no job")
        return f"started job {job['id']}, which rebuilds the search index"

    async def missing(self, tools: ActionTools) -> str:
        """Return what it needs."""
        return tools.admin_api.missing
