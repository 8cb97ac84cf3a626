"""A shop with orders, places for its backups, and archives of it that are broken in one way each."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from tests.maintenance_tools import tools_for
from tests.vendure import Vendure
from toban.core.ports import Clock
from toban.maintenance.task import StepContext, StepFailedError, StepResult, Task, TaskPlan, TaskTools
from toban.shop.backup_settings import BackupSettings
from toban.shop.connections import ShopConnections
from toban.shop.settings import ShopSettings


def fill(shop: Vendure, orders: int = 60) -> None:
    """Add orders of two days, each with a settled payment, and an administrator with a password."""
    now = datetime.now(UTC)
    for number in range(orders):
        at = now - timedelta(hours=number, minutes=10)
        order = shop.order(f"A{number:03}", at=at)
        shop.payment(order, at, "Settled")
    shop.execute('UPDATE payment SET "updatedAt" = "createdAt"')
    shop.execute("CREATE TABLE IF NOT EXISTS migrations (id serial, timestamp bigint, name text)")
    shop.execute("INSERT INTO migrations (timestamp, name) VALUES (1, 'Initial1'), (2, 'AddPoints2')")


def tools_with(
    folder: Path, address: str = "", clock: Clock | None = None, pg_bin: Path | None = None, **backups: Any
) -> TaskTools:
    """Return the tools of tasks of a shop whose backups are configured."""
    fields: Mapping[str, Any] = {
        "database": SecretStr(address) if address else None,
        "pg_bin": pg_bin,
        "backups": BackupSettings.model_validate({"path": folder / "backups", **backups}),
    }
    settings = ShopSettings.model_validate({name: value for name, value in fields.items() if value is not None})
    return tools_for(ShopConnections(settings=settings), folder, clock)


async def run(task: Task, tools: TaskTools) -> tuple[TaskPlan, StepResult]:
    """Clean, plan, and do the only step, which succeeds."""
    await task.clean(tools)
    plan = await task.plan(tools)
    (step,) = plan.steps
    return plan, await task.act(step, StepContext(1, lambda _: None), tools)


async def failure(task: Task, tools: TaskTools) -> tuple[str, str]:
    """Do the only step, which fails; return the name of its worst finding, and what it says."""
    plan = await task.plan(tools)
    (step,) = plan.steps
    try:
        done = await task.act(step, StepContext(1, lambda _: None), tools)
    except StepFailedError as error:
        found = error.result.findings[-1]
        assert str(error).endswith(found.text)
        return found.name, f"{found.text}: {found.remedy}" if found.remedy else found.text
    raise AssertionError(f"it did not fail: {done}")


def file_names(folder: Path) -> list[str]:
    """Return the names in a folder, sorted; none where it is missing."""
    return sorted(it.name for it in folder.iterdir()) if folder.exists() else []
