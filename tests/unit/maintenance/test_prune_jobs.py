"""Old jobs of a shop whose Admin API says one thing and whose database another: nothing is removed."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.fakes import FakeClock
from tests.maintenance_tools import names, tools_for
from toban.core.errors import ActionError
from toban.maintenance import shop_rows
from toban.maintenance.task import Step, StepContext, TaskTools
from toban.maintenance.tasks.prune_jobs import PruneJobs
from toban.shop.admin_api import AdminApi
from toban.shop.connections import ShopConnections
from toban.shop.settings import ShopSettings

NOW = datetime(2026, 3, 10, 3, 10, tzinfo=UTC)
JOB = {"id": "7", "queueName": "send-email", "createdAt": "2026-03-10T02:00:01.250Z"}
ROW = {"id": "7", "queue": "send-email", "at": datetime(2026, 3, 10, 11, 0, 1, 250_400)}
STEP = Step("send-email", "", {"queue": "send-email", "before": NOW.isoformat()})


class Shop:
    """What the Admin API and the database of a shop answer; what was asked to be removed is written down."""

    def __init__(self) -> None:
        self.tasks = ["clean-jobs", "clean-sessions"]
        self.jobs: list[Mapping[str, Any]] = [JOB]
        self.rows: list[Mapping[str, Any]] = [ROW]
        self.removed: list[Mapping[str, Any]] = []

    async def execute(self, query: str, permission: str, variables: Mapping[str, Any] | None = None) -> Any:
        if "scheduledTasks" in query:
            return {"scheduledTasks": [{"id": it} for it in self.tasks]}
        if "removeSettledJobs" in query:
            self.removed.append(dict(variables or {}))
            return {"removeSettledJobs": 0}
        return {"jobs": {"items": self.jobs}}

    async def read(self, tools: TaskTools, query: str, parameters: Any = None) -> list[Mapping[str, Any]]:
        if "pg_attribute" in query:
            columns = ("id", "queueName")
            return [{"table": "job_record", "column": it, "readable": True, "role": "toban"} for it in columns]
        if "ANY (%(ids)s)" in query:
            return self.rows
        if "array_agg" in query:
            return []  # none of them failed
        if "LIMIT %(batch)s" in query:
            return [{"at": datetime(2026, 1, 1, tzinfo=UTC), "jobs": 3}]
        return [{"queue": "send-email", "settled": 5, "due": 3, "failed": 0, "jobs": 3}]


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    found = Shop()
    monkeypatch.setattr(AdminApi, "execute", lambda self, *a: found.execute(*a))
    monkeypatch.setattr(shop_rows, "read", found.read)
    yield found


@pytest.fixture
def tools(tmp_path: Path) -> TaskTools:
    return tools_for(ShopConnections(settings=ShopSettings(timezone="Asia/Tokyo")), tmp_path, FakeClock(NOW))


async def test_the_newest_jobs_are_compared_by_id_queue_and_second(shop: Shop, tools: TaskTools):
    assert names((await PruneJobs().plan(tools)).steps) == ["send-email"]
    for other in ({"id": "8"}, {"queue": "other"}, {"at": datetime(2026, 3, 10, 11, 0, 2, 250_400)}):
        shop.rows = [{**ROW, **other}]
        plan = await PruneJobs().plan(tools)
        assert (plan.steps, names(plan.findings)) == ((), ["job store"])


async def test_what_is_not_certain_when_it_acts_is_not_removed(shop: Shop, tools: TaskTools):
    shop.tasks = ["clean-job-queue-index"]
    with pytest.raises(ActionError, match="nothing is removed"):
        await PruneJobs().act(STEP, StepContext(1, lambda _: None), tools)
    assert shop.removed == []


async def test_a_removal_without_effect_is_a_failure_in_numbers(shop: Shop, tools: TaskTools):
    with pytest.raises(ActionError, match="Vendure says that it removed 0, and 3 are left"):
        await PruneJobs().act(STEP, StepContext(1, lambda _: None), tools)
    assert shop.removed == [{"queues": ["send-email"], "before": "2026-01-01T00:00:00.001000+00:00"}]


async def test_a_new_shop_without_jobs_has_nothing_to_say(shop: Shop, tools: TaskTools):
    shop.jobs = []
    plan = await PruneJobs().plan(tools)
    assert (plan.steps, plan.findings, plan.text) == ((), (), "the shop has no jobs")


def test_it_names_the_settings_that_it_needs():
    assert "shop.admin_api_key are not set" in PruneJobs().not_configured(ShopSettings())
    with_key = ShopSettings.model_validate({"admin_api": "https://shop.example/admin-api", "admin_api_key": "1:x"})
    assert PruneJobs().not_configured(with_key).startswith("shop.database is not set")
