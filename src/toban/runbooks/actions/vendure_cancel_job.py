"""Cancel the job that runs for longest in a queue."""

from typing import Annotated, Final, Literal

from pydantic import Field

from toban.core.errors import ActionError
from toban.runbooks.action import Action, ActionContext, ActionTools, Plan

RUNNING: Final = """
query ($queue: String!) {
  jobs(options: {
    filter: { queueName: { eq: $queue }, state: { eq: "RUNNING" } }, sort: { startedAt: ASC }, take: 1
  }) {
    items { id state startedAt progress } } }
"""
CANCEL: Final = "mutation ($id: ID!) { cancelJob(jobId: $id) { id state } }"
STATE: Final = "query ($id: ID!) { job(jobId: $id) { id state } }"


class VendureCancelJob(Action):
    """
    Cancel the job that runs for longest in a queue.

    Vendure only marks it: a job whose code does not ask goes on, and a worker must be restarted to end it.
    """

    kind: Literal["vendure_cancel_job"] = "vendure_cancel_job"

    queue: Annotated[str, Field(max_length=200)] = ""
    """The name of the queue; default: the label `queue` of the alert."""

    async def plan(self, context: ActionContext, tools: ActionTools) -> Plan:
        """Find the job. Raises ``ActionError`` where none runs."""
        queue = self.queue or context.alert.labels.get("queue", "")
        items = ((await tools.admin_api.execute(RUNNING, "ReadSettings", {"queue": queue})).get("jobs") or {}).get(
            "items"
        ) or []
        if not items:
            raise ActionError(f"no job runs in {queue or 'the queue'}: is the worker down?")
        job = items[0]
        since, progress = str(job.get("startedAt") or "")[:19], job.get("progress")
        text = f"cancel job {job['id']} of {queue}, which runs since {since} and is at {progress} %"
        return Plan(text, f"{job['id']} {since}", (f"job {job['id']}",), {"job": str(job["id"])})

    async def run(self, plan: Plan, context: ActionContext, tools: ActionTools) -> str:
        """Cancel it, and look whether it is. Raises ``ActionError``."""
        job = plan.facts["job"]
        await tools.admin_api.execute(CANCEL, "DeleteSettings", {"id": job})
        state = await self._state(tools, job)
        if state in {"RUNNING", "PENDING", "RETRYING"}:
            raise ActionError(f"job {job} is {state} although it was cancelled")
        return f"job {job} is {state.lower() or 'gone'}"

    async def look(self, plan: Plan, context: ActionContext, tools: ActionTools) -> str | None:
        """Look at the state of the job."""
        state = await self._state(tools, plan.facts["job"])
        return f"job {plan.facts['job']} is {state.lower()}" if state == "CANCELLED" else None

    async def _state(self, tools: ActionTools, job: str) -> str:
        return str(
            ((await tools.admin_api.execute(STATE, "ReadSettings", {"id": job})).get("job") or {}).get("state") or ""
        )

    async def missing(self, tools: ActionTools) -> str:
        """Return what it needs."""
        return tools.admin_api.missing
