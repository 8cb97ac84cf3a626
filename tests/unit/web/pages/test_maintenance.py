"""Pages of maintenance: what a restore drill has measured, in the reader's language."""

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2
import pytest

from tests.fake_maintenance import Process
from tests.fakes import FakeClock
from toban.maintenance import repository
from toban.maintenance.run import MaintenanceRun, RunState
from toban.maintenance.task import Finding, Severity
from toban.maintenance.tasks.restore_drill import ORDERS, PROVED, RPO, RTO, SUCCESS, RestoreDrill
from toban.web.api.maintenance import MaintenanceApi
from toban.web.endpoint import Endpoint
from toban.web.pages.maintenance import MaintenancePages

NOW = datetime(2026, 1, 1, 6, tzinfo=UTC)
FIGURES = {PROVED.name: 1, SUCCESS.name: NOW.timestamp(), RPO.name: 4 * 3600, RTO.name: 95.5, ORDERS.name: 1234}
TEXT = "restored in 95.5 seconds; relations are intact; 1,234 orders; RPO 4 h, RTO 1 min 35 s"


@pytest.fixture
async def process(tmp_path: Path) -> AsyncIterator[Process]:
    found = Process(tmp_path, FakeClock(NOW), RestoreDrill())
    finding = Finding("orders", "3 orders of it were deleted since", Severity.INFO)
    began = NOW - timedelta(minutes=2)
    run = MaintenanceRun(
        1, "restore_drill", "restore_drill", "backups", RunState.RUNNING, began, "x", began,
        findings=(finding,), figures={**FIGURES, "toban_of_somebody_else": 7},
    )  # fmt: skip
    ended = run.finished(RunState.SUCCEEDED, NOW, TEXT)
    await found.state.transaction(lambda connection: repository.add_run(connection, ended))
    yield found
    await found.close()


@pytest.fixture
def endpoints(process: Process) -> list[Endpoint]:
    return MaintenancePages(MaintenanceApi(process.commands)).routes()


def facts(page: str) -> dict[str, str]:
    """Return the figures on a page."""
    return {
        re.sub(r"<[^>]+>", "", name).strip(): value.strip()
        for name, value in re.findall(r"(?s)<dt>(.*?)</dt>\s*<dd>(.*?)</dd>", page)
    }


@pytest.mark.parametrize("path", ["/maintenance/runs/1", "/maintenance/tasks/restore_drill"])
async def test_rpo_and_rto_are_on_the_pages_of_a_drill_and_its_task(client: httpx2.AsyncClient, path: str):
    response = await client.get(path)
    assert response.status_code == 200
    found = facts(response.text)
    assert found["What would be lost (RPO)"] == "4 h"
    assert found["How long a restore takes (RTO)"] == "1 min 35 s"
    assert found["Proved at"] == "2026-01-01 06:00 UTC"
    assert found["Orders in it"] == "1,234"
    assert found["toban_of_somebody_else"] == "7"


async def test_a_drill_is_shown_in_japanese(client: httpx2.AsyncClient):
    response = await client.get("/maintenance/runs/1", headers={"accept-language": "ja"})
    assert facts(response.text)["復元にかかる時間 (RTO)"] == "1 min 35 s"
    assert "95.5 秒で復元; リレーションは正常です; 注文 1,234 件; RPO 4 h, RTO 1 min 35 s" in response.text
    assert "含まれる注文のうち 3 件はその後削除されました" in response.text
