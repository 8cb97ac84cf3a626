"""Actions that need no shop, and what all actions and shipped runbooks have in common."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.fakes import FakeClock
from toban.alerting.rule_loader import shipped_groups
from toban.core.alerts import Alert, AlertStatus
from toban.core.errors import ActionError, CollectError, QueryError, SettingsError
from toban.core.labels import Labels
from toban.core.query_result import QueryResult
from toban.runbooks.action import ACTIONS, Action, ActionContext, ActionTools
from toban.runbooks.actions.http_call import HttpCall
from toban.runbooks.actions.redis_clients_kill import RedisClientsKill
from toban.runbooks.actions.redis_wait import RedisWait
from toban.runbooks.actions.run_command import RunCommand
from toban.runbooks.actions.wait_healthy import WaitHealthy
from toban.runbooks.runbook import Mode, TextStep
from toban.runbooks.settings import RunbookSettings, load_runbooks, parse_runbook, shipped_runbooks
from toban.shop.connections import ShopConnections

NOW = datetime(2026, 3, 4, 2, 14, tzinfo=UTC)
ALERT = Alert(Labels({"alertname": "memory", "service.name": "shop"}), {}, AlertStatus.FIRING, NOW, NOW)
CONTEXT = ActionContext(ALERT, 7, "run-7.0", NOW)


@dataclass
class FakeRedis:
    """Answers CLIENT LIST, CLIENT KILL and PING."""

    clients: list[str] = field(default_factory=list)
    fails: int = 0

    async def execute(self, *command: str) -> Any:
        if self.fails:
            self.fails -= 1
            raise CollectError("redis: PING: it can't be reached")
        if command[:2] == ("CLIENT", "LIST"):
            return "\n".join(self.clients).encode()
        if command[:2] == ("CLIENT", "KILL"):
            before = len(self.clients)
            self.clients = [it for it in self.clients if not it.startswith(f"id={command[3]} ")]
            return before - len(self.clients)
        return b"PONG"


class FakeQueries:
    """Answers queries one after the other."""

    def __init__(self, *answers: object) -> None:
        self.answers = list(answers)

    async def instant(self, query: str, at: int, *, time_limit: object = None) -> QueryResult:
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer  # type: ignore[return-value]  # as the test gave it


def tools(
    redis: FakeRedis | None = None,
    queries: FakeQueries | None = None,
    handler: Callable[[httpx2.Request], httpx2.Response] | None = None,
) -> ActionTools:
    async def nothing(*_: object) -> str:
        return ""

    http = httpx2.AsyncClient(transport=httpx2.MockTransport(handler) if handler else None)
    shop = ShopConnections(redis=redis)  # type: ignore[arg-type]  # it is a fake
    return ActionTools(http, FakeClock(NOW), shop, queries, lambda _: True, nothing, nothing)  # type: ignore[arg-type]  # it is a fake


async def done(action: Action, given: ActionTools) -> str:
    return await action.run(await action.plan(CONTEXT, given), CONTEXT, given)


def client(number: int, idle: int, flags: str = "N", **more: object) -> str:
    fields = {"id": number, "addr": "10.0.0.1:5", "name": "", "idle": idle, "flags": flags, "sub": 0, "psub": 0, **more}
    return " ".join(f"{name}={value}" for name, value in fields.items())


async def test_only_plain_idle_connections_of_redis_are_closed() -> None:
    kept = [
        client(1, 5),
        client(2, 9_000, "S"),
        client(3, 9_000, "b"),
        client(4, 9_000, sub=1),
        client(5, 9_000, name="toban"),
    ]
    redis = FakeRedis([*kept, client(6, 7_200), client(7, 3_700)])
    given = tools(redis)
    plan = await RedisClientsKill().plan(CONTEXT, given)
    assert plan.facts["ids"] == ["6", "7"]
    assert await RedisClientsKill().run(plan, CONTEXT, given) == "closed 2 idle connections of Redis: 5 are open"
    assert redis.clients == kept
    assert await RedisClientsKill().look(plan, CONTEXT, given) == "2 of 2 connections are gone"


async def test_a_redis_connection_that_is_used_again_is_spared() -> None:
    redis = FakeRedis([client(6, 7_200)])
    plan = await RedisClientsKill().plan(CONTEXT, tools(redis))
    redis.clients = [client(6, 0)]
    with pytest.raises(ActionError, match="no connection was closed"):
        await RedisClientsKill().run(plan, CONTEXT, tools(redis))


async def test_redis_is_waited_for() -> None:
    assert await done(RedisWait(), tools(FakeRedis(fails=4))) == "Redis answers after 20s"
    with pytest.raises(ActionError, match="Redis has not answered within 1m: redis: PING: it can't be reached"):
        await done(RedisWait(lasts="1m"), tools(FakeRedis(fails=100)))


async def test_health_is_waited_for_and_an_error_of_the_query_is_no_health() -> None:
    nothing, zero = QueryResult("vector"), QueryResult("vector")
    broken = FakeQueries(QueryError("too many samples"), nothing, zero)
    with pytest.raises(ActionError, match="not healthy within 1m"):
        await done(WaitHealthy(), tools(queries=broken))


async def test_a_request_carries_its_key_and_its_secrets_and_only_expected_statuses_succeed() -> None:
    seen: list[httpx2.Request] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        seen.append(request)
        return httpx2.Response(500 if "fail" in str(request.url) else 202)

    action = HttpCall(url="https://ci.example/restart?token=s3cret", headers={"Authorization": "Bearer x"}, body="{}")
    text = await done(action, tools(handler=answer))
    assert text.startswith("send POST https://ci.example/restart")
    assert text.endswith("answered 202")
    assert "s3cret" not in text
    assert seen[0].headers["idempotency-key"] == "run-7.0"
    assert seen[0].headers["authorization"] == "Bearer x"
    with pytest.raises(ActionError, match="answered 500"):
        await done(HttpCall(url="https://ci.example/fail"), tools(handler=answer))


async def test_a_command_runs_without_a_shell_and_without_the_secrets_of_toban(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOBAN_TOKEN", "s3cret")
    shown = RunCommand(command=["sh", "-c", "echo $TOBAN_ALERT $TOBAN_LABEL_SERVICE_NAME $TOBAN_TOKEN '$(id)'"])
    assert await done(shown, tools()) == "ran sh: memory shop $(id)"
    with pytest.raises(ActionError, match="sh exited with 3: no"):
        await done(RunCommand(command=["sh", "-c", "echo no; exit 3"]), tools())
    with pytest.raises(ActionError, match="/nothing/here can't be run"):
        await done(RunCommand(command=["/nothing/here"]), tools())
    assert await RunCommand(command=["/nothing/here"]).missing(tools()) == (
        "run_command: there is no program /nothing/here"
    )


async def test_a_command_that_is_cancelled_leaves_no_process() -> None:
    given = tools()
    action = RunCommand(command=["sh", "-c", "echo started; exec sleep 1000"])
    plan = await action.plan(CONTEXT, given)
    task = asyncio.create_task(action.run(plan, CONTEXT, given))
    for _ in range(20):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_every_action_says_what_it_does() -> None:
    for kind in ACTIONS.names():
        assert ACTIONS.load(kind).__doc__, kind


def test_shipped_runbooks_are_for_shipped_rules_ask_first_and_are_in_both_languages() -> None:
    rules = {rule.name for group in shipped_groups() for rule in group.rules}
    for runbook in shipped_runbooks():
        alerts = [Alert(Labels(alertname=name), {}, AlertStatus.FIRING, NOW) for name in rules]
        assert any(runbook.applies_to(alert) for alert in alerts), runbook.name
        assert runbook.guard.mode is Mode.ASK
        assert runbook.title_ja
        assert all(step.text_ja for step in runbook.steps if isinstance(step, TextStep))


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("name: x", "title: is missing"),
        ("name: X y\ntitle: t\nsteps: [wait]", "name: must be a name"),
        ("name: x\ntitle: t\nsteps: [fly_restrat]", "unknown action 'fly_restrat': did you mean fly_restart?"),
        ("name: x\ntitle: t\nsteps: [{wait: 5}]", "wait: its parameters must be names with values"),
        ("name: x\ntitle: t\nsteps: [{wait: {}, notify: {}}]", "this one names wait, notify"),
        ("name: x\ntitle: t\nsteps: [[1]]", "a step is `text: …`, or an action"),
        ("name: x\ntitle: t\nwhen: ['a=']x']\nsteps: [wait]", ""),
        ("name: x\ntitle: t\nsteps: [{wait: {last: 5s}}]", "unknown setting 'last': did you mean 'lasts'?"),
        ("name: x\ntitle: t\nsteps: [{text: x, by: y}]", "unknown setting 'by': known are text, text_ja"),
        (
            "name: x\ntitle: t\nguard: {cooldwn: 1h}\nsteps: [wait]",
            "unknown setting 'cooldwn': did you mean 'cooldown'?",
        ),
        ("name: x\ntitle: t\nguard: {hours: [{form: '9:00'}]}\nsteps: [wait]", "did you mean 'from'?"),
        ("name: x\ntitle: t\nstep: [wait]", "unknown setting 'step': did you mean 'steps'?"),
        ("name: x\ntitle: t\nsteps: []", "steps: must have at least 1 entries"),
        ("- 1", ""),
        ("a: [", ""),
    ],
)
def test_a_mistake_in_a_runbook_names_its_place(text: str, error: str) -> None:
    with pytest.raises(SettingsError, match=r"mine\.yaml") as caught:
        parse_runbook(text, "mine.yaml")
    assert error in str(caught.value)


def test_a_command_that_the_configuration_does_not_list_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("name: mine\ntitle: t\nsteps: [{run_command: {command: [/usr/bin/true, x]}}]")
    settings = RunbookSettings(files=(str(file),))
    with pytest.raises(SettingsError, match=r"runbooks.commands: mine runs /usr/bin/true, which is not listed here"):
        load_runbooks(settings)
    assert load_runbooks(settings.model_copy(update={"commands": ("/usr/bin/true",)}))


def test_settings_name_unknown_runbooks_and_change_modes() -> None:
    with pytest.raises(
        SettingsError, match=r"runbooks.modes: unknown runbook 'aplication_down': did you mean application_down"
    ):
        load_runbooks(RunbookSettings(modes={"aplication_down": Mode.AUTO}))
    with pytest.raises(SettingsError, match=r"runbooks.without: unknown runbook"):
        load_runbooks(RunbookSettings(without=("nothing",)))
    loaded = {it.name: it for it in load_runbooks(RunbookSettings(modes={"high_memory_usage": Mode.AUTO}))}
    assert loaded["high_memory_usage"].guard.mode is Mode.AUTO
    assert load_runbooks(RunbookSettings(shipped=False)) == []
