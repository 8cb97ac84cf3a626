"""Vendure's scheduled tasks, run through its Admin API."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from toban.core.errors import ActionError
from toban.core.ports import Clock
from toban.shop.admin_api import AdminApi

TASKS: Final = "query { scheduledTasks { id enabled isRunning lastExecutedAt lastResult } }"
RUN: Final = "mutation ($id: String!) { runScheduledTask(id: $id) { success } }"
PERMISSION: Final = "UpdateSettings"
CHECK_SECONDS: Final = 5


async def task_state(api: AdminApi, name: str) -> Mapping[str, Any]:
    """Return a scheduled task as Vendure describes it. Raises ``ActionError`` where there is none of this name."""
    tasks = (await api.execute(TASKS, "ReadSettings")).get("scheduledTasks") or []
    found = next((it for it in tasks if it.get("id") == name), None)
    if found is None:
        known = ", ".join(str(it.get("id")) for it in tasks) or "none"
        raise ActionError(f"no scheduled task {name!r}: there are {known}")
    return dict(found)


async def last_run(api: AdminApi, name: str) -> str:
    """Return when a task ran last, as Vendure writes it. Raises ``ActionError`` where it can't run now."""
    found = await task_state(api, name)
    if not found.get("enabled"):
        raise ActionError(f"the task {name} is disabled: it does not run")
    if found.get("isRunning"):
        raise ActionError(f"the task {name} is running, or a dead process left its lock")
    return str(found.get("lastExecutedAt") or "")


async def run_task(api: AdminApi, clock: Clock, name: str, last: str, lasts: timedelta) -> str:
    """
    Ask for a task, wait until a worker has run it, and return a sentence about that.

    ``last`` is when it ran before. Vendure only notes that it is wanted: a worker looks every ten seconds, and a
    disabled or locked task does nothing. Raises ``ActionError``.
    """
    answer = await api.execute(RUN, PERMISSION, {"id": name})
    if not (answer.get("runScheduledTask") or {}).get("success"):
        raise ActionError(f"Vendure did not take the task {name}")
    started = clock.monotonic()
    while True:
        if text := await result_since(api, name, last):
            return text
        if clock.monotonic() - started >= lasts.total_seconds():
            raise ActionError(f"the task {name} has not run: does the worker run?")
        await clock.sleep(CHECK_SECONDS)


async def result_since(api: AdminApi, name: str, last: str) -> str | None:
    """Return a sentence where a task has run since ``last``. Raises ``ActionError`` where that run failed."""
    found = await task_state(api, name)
    at = str(found.get("lastExecutedAt") or "")
    if not at or (last and datetime.fromisoformat(at) <= datetime.fromisoformat(last)):
        return None
    result = found.get("lastResult")
    if isinstance(result, dict) and result.get("error"):
        raise ActionError(f"the task {name} failed: {str(result['error'])[:200]}")
    return f"ran the scheduled task {name} at {at[:19]}"
