"""What Vendure's Admin API answers to actions: yes without an effect, 200 that is a refusal, a job that goes on."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx2
import pytest

import toban.runbooks
from tests.fakes import FakeClock
from tests.unit.runbooks.test_actions import CONTEXT, NOW
from toban.core.errors import ActionError
from toban.runbooks.action import Action, ActionTools, Plan
from toban.runbooks.actions.vendure_cancel_job import VendureCancelJob
from toban.runbooks.actions.vendure_reindex import VendureReindex
from toban.runbooks.actions.vendure_run_task import VendureRunTask
from toban.shop.connections import ShopConnections
from toban.shop.settings import ShopSettings

TASK = {"id": "clean-sessions", "enabled": True, "isRunning": False, "lastExecutedAt": "2026-03-04T02:00:00Z"}
JOB = {"id": "145", "state": "RUNNING", "startedAt": "2026-03-04T01:00:00Z", "progress": 3}
Answers = Mapping[str, Any]


class AdminApi:
    """Answers each operation by a word of its query, and keeps what changed something."""

    def __init__(self, answers: Answers) -> None:
        self.answers = dict(answers)
        self.mutations: list[str] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        query = json.loads(request.content)["query"]
        if query.lstrip().startswith("mutation"):
            self.mutations.append(query)
        word = next(it for it in self.answers if it in query)
        answer = self.answers[word]
        if answer == "FORBIDDEN":
            error = {"message": "You are not authorized", "path": [word], "extensions": {"code": "FORBIDDEN"}}
            return httpx2.Response(200, json={"errors": [error], "data": None})
        return httpx2.Response(200, json={"data": {word: answer() if callable(answer) else answer}})


def tools_of(api: AdminApi) -> ActionTools:
    keys = {"admin_api": "http://shop.example/admin-api", "admin_api_key": "k3y"}
    shop = ShopConnections(settings=ShopSettings.model_validate(keys))
    http = httpx2.AsyncClient(transport=httpx2.MockTransport(api))
    return ActionTools(http, FakeClock(NOW), shop, None, None, None, None)  # type: ignore[arg-type]  # no other is asked


async def outcome(action: Action, answers: Answers, then: Answers) -> tuple[AdminApi, str]:
    """Plan an act, let the answers change, act; return what was asked for and what came of it."""
    api = AdminApi(answers)
    tools = tools_of(api)
    try:
        plan: Plan = await action.plan(CONTEXT, tools)
        api.answers.update(then)
        return api, await action.run(plan, CONTEXT, tools)
    except ActionError as error:
        return api, f"failed: {error}"


RUNS = {"runScheduledTask": {"success": True}}
LATER = "2026-03-04T02:14:10Z"


@pytest.mark.parametrize(
    ("answers", "then", "said", "asked"),
    [
        ({**RUNS}, {}, "failed: the task clean-sessions has not run: does the worker run?", 1),
        (RUNS, {"scheduledTasks": [{**TASK, "lastExecutedAt": LATER}]}, "ran the scheduled task clean-sessions at", 1),
        (
            RUNS,
            {"scheduledTasks": [{**TASK, "lastExecutedAt": LATER, "lastResult": {"error": "disk full"}}]},
            "failed: the task clean-sessions failed: disk full",
            1,
        ),
        ({"runScheduledTask": {"success": False}}, {}, "failed: Vendure did not take the task clean-sessions", 1),
        ({"runScheduledTask": "FORBIDDEN"}, {}, "the API key needs the permission UpdateSettings", 1),
        ({"scheduledTasks": [{**TASK, "isRunning": True}]}, {}, "is running, or a dead process left its lock", 0),
        ({"scheduledTasks": [{**TASK, "enabled": False}]}, {}, "is disabled: it does not run", 0),
    ],
    ids=["nothing runs", "it ran", "it ran and failed", "not taken", "forbidden", "locked", "disabled"],
)
async def test_a_task_has_run_only_when_its_own_time_says_so(
    answers: Answers, then: Answers, said: str, asked: int
) -> None:
    api, text = await outcome(VendureRunTask(task="clean-sessions"), {"scheduledTasks": [TASK], **answers}, then)
    assert said in text
    assert len(api.mutations) == asked


@pytest.mark.parametrize(
    ("job", "said"),
    [
        ({"state": "CANCELLED"}, "job 145 is cancelled"),
        ({"state": "RUNNING"}, "failed: job 145 is RUNNING although it was cancelled"),
        (None, "job 145 is gone"),
    ],
    ids=["cancelled", "its code does not ask", "removed by BullMQ"],
)
async def test_a_cancelled_job_is_looked_at_and_nothing_is_removed(job: Answers | None, said: str) -> None:
    answers = {"cancelJob": {"id": "145"}, "jobs": {"items": [JOB]}, "job": job}
    api, text = await outcome(VendureCancelJob(queue="apply-collection-filters"), answers, {})
    assert text == said
    assert ["cancelJob" in it for it in api.mutations] == [True]


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ({"jobs": "FORBIDDEN"}, "the API key needs the permission ReadSettings"),
        ({"jobs": {"totalItems": 2}}, "2 jobs of update-search-index wait or run already"),
        ({"jobs": {"totalItems": 0}, "reindex": {"id": None}}, "Vendure started no job"),
        ({"jobs": {"totalItems": 0}, "reindex": "FORBIDDEN"}, "the API key needs the permission UpdateCatalog"),
    ],
)
async def test_a_search_index_is_rebuilt_only_by_a_job_that_there_is(answers: Answers, said: str) -> None:
    _, text = await outcome(VendureReindex(), answers, {})
    assert text.startswith("failed: ")
    assert said in text


def test_no_action_removes_settled_jobs() -> None:
    # With BullMQ that would remove the evidence of every failed job, whatever it is asked for.
    folder = Path(toban.runbooks.__file__).parent
    assert not [it.name for it in folder.rglob("*.py") if "removeSettledJobs" in it.read_text(encoding="utf-8")]
