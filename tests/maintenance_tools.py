"""Maintenance tasks against real servers: their tools, and a run without the service around it."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from zoneinfo import ZoneInfo

import httpx2

from toban.core.clock import SystemClock
from toban.core.ports import Clock, InstantQueryEngine
from toban.maintenance.run import StepOutcome
from toban.maintenance.task import Step, StepContext, StepSkippedError, Task, TaskPlan, TaskTools
from toban.shop.connections import ShopConnections


def tools_for(
    shop: ShopConnections,
    data: Path,
    clock: Clock | None = None,
    queries: InstantQueryEngine | None = None,
    http: httpx2.AsyncClient | None = None,
) -> TaskTools:
    """Return the tools of tasks."""
    return TaskTools(
        http or httpx2.AsyncClient(),
        clock or SystemClock(),
        shop,
        queries,  # type: ignore[arg-type]  # a task that queries nothing is given none
        ZoneInfo("UTC"),
        data,
    )


async def perform(task: Task, tools: TaskTools) -> tuple[TaskPlan, dict[str, tuple[StepOutcome, str]]]:
    """Clean, plan and do all steps; return the plan, and what became of each step by its name."""
    await task.clean(tools)
    plan = await task.plan(tools)
    return plan, await act(task, plan, tools)


async def act(
    task: Task, plan: TaskPlan, tools: TaskTools, told: list[str] | None = None
) -> dict[str, tuple[StepOutcome, str]]:
    """Do the steps of a plan."""
    done: dict[str, tuple[StepOutcome, str]] = {}
    for step in plan.steps:
        context = StepContext(1, (told if told is not None else []).append)
        try:
            done[step.name] = (StepOutcome.DONE, (await task.act(step, context, tools)).text)
        except StepSkippedError as error:
            done[step.name] = (StepOutcome.SKIPPED, str(error))
    return done


def names(steps: Sequence[object]) -> list[str]:
    """Return the names of steps or findings."""
    return [it.name for it in steps]  # type: ignore[attr-defined]  # both have one


async def cancel_at_first_progress(task: Task, step: Step, tools: TaskTools) -> None:
    """Begin a step, and cancel it as soon as it says how far it is."""
    told = asyncio.Event()
    acting = asyncio.ensure_future(task.act(step, StepContext(1, lambda _: told.set()), tools))
    await asyncio.wait([acting, waiting := asyncio.ensure_future(told.wait())], return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    assert not acting.done(), acting.exception()
    acting.cancel()
    await asyncio.wait([acting])


async def until(condition: Callable[[], bool]) -> None:
    """Wait until a condition is met, for 30 seconds at most."""
    for _ in range(3000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not happen in 30 seconds")
