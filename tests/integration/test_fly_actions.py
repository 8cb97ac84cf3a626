"""Machines at Fly: one is restarted, never the last healthy one, under its lease, and looked at afterwards."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime

import httpx2
import pytest

from tests.fake_fly import FakeFly, incomplete
from tests.fake_http import says
from tests.fakes import FakeClock
from toban.core.alerts import Alert, AlertStatus
from toban.core.errors import ActionError
from toban.core.labels import Labels
from toban.core.query_result import QueryResult
from toban.runbooks.action import ActionContext, ActionTools
from toban.runbooks.actions.fly_restart import FlyRestart
from toban.runbooks.actions.fly_start import FlyStart
from toban.runbooks.fly_machines import FlyMachine, FlyMachines
from toban.shop.connections import ShopConnections
from toban.shop.settings import ShopSettings

NOW = datetime(2026, 3, 4, 2, 14, tzinfo=UTC)
ALERT = Alert(Labels(alertname="high_memory_usage", instance="148e001"), {}, AlertStatus.FIRING, NOW, NOW)
LATER = int(NOW.timestamp()) + 86_400
CONTEXT = ActionContext(ALERT, 7, "run-7.0", NOW)


class Selling:
    """Answers whether the shop can sell."""

    def __init__(self) -> None:
        self.can_sell = True

    async def instant(self, query: str, at: int, *, time_limit: object = None) -> QueryResult:
        assert query == 'min(up{job="vendure"}) == 1'
        return QueryResult("vector", [1] if self.can_sell else [])  # type: ignore[list-item]  # only whether there is one


@pytest.fixture
async def fly() -> AsyncIterator[FakeFly]:
    async with FakeFly(FakeClock(NOW)) as service:
        service.is_writable = True
        service.add("shop", "148e001")
        service.add("shop", "148e002")
        service.clock.advance(3_600)  # type: ignore[attr-defined]  # it is a FakeClock
        yield service


@pytest.fixture
def selling() -> Selling:
    return Selling()


@pytest.fixture
async def tools(fly: FakeFly, selling: Selling) -> AsyncIterator[ActionTools]:
    settings = ShopSettings.model_validate({"fly_admin_token": fly.token, "fly_apps": ["shop"], "fly_api": fly.url})

    async def nothing(*_: object) -> str:
        return ""

    async with httpx2.AsyncClient() as http:
        yield ActionTools(
            http, fly.clock, ShopConnections(settings=settings), selling, lambda _: True, nothing, nothing
        )


async def test_one_machine_is_restarted_under_its_lease_and_its_events_prove_it(
    fly: FakeFly, tools: ActionTools
) -> None:
    action = FlyRestart()
    plan = await action.plan(CONTEXT, tools)
    assert plan.description == "restart machine 148e001 of shop; healthy others of app: 1"
    assert not plan.needs_approval
    fly.clock.advance(1)  # type: ignore[attr-defined]  # it is a FakeClock
    text = await action.run(plan, CONTEXT, tools)
    assert text == "restarted machine 148e001 of shop: it is started, and its checks pass"
    assert fly.restarted == ["148e001"]
    assert not fly.leases
    acts = [(it.method, it.path.rpartition("/")[2]) for it in fly.requests if it.method != "GET"]
    assert acts == [("POST", "lease"), ("POST", "restart?timeout=30s&signal=SIGINT"), ("DELETE", "lease")]
    assert await action.look(plan, CONTEXT, tools) == "machine 148e001 was restarted at 03:14:01 UTC, it is started"


async def test_an_answer_without_an_event_is_no_restart(fly: FakeFly, tools: ActionTools) -> None:
    fly.takes_effect = False
    action = FlyRestart()
    plan = await action.plan(CONTEXT, tools)
    with pytest.raises(ActionError, match="machine 148e001 is not back after 5 minutes: started, no checks"):
        await action.run(plan, CONTEXT, tools)
    assert not fly.leases
    assert await action.look(plan, CONTEXT, tools) is None


async def test_an_event_that_comes_late_counts(fly: FakeFly, tools: ActionTools) -> None:
    fly.takes_effect = False
    machine = fly.machines["shop"][0]
    sleep = fly.clock.sleep

    async def sleeps(seconds: float) -> None:
        await sleep(seconds)
        if (fly.clock.now() - NOW).total_seconds() > 3_670:
            fly.happen(machine, "start", "started")

    fly.clock.sleep = sleeps  # type: ignore[method-assign]  # until it is there
    plan = await FlyRestart().plan(CONTEXT, tools)
    assert (await FlyRestart().run(plan, CONTEXT, tools)).startswith("restarted machine 148e001")


async def test_a_request_without_an_answer_that_was_done_counts_and_is_not_repeated(
    fly: FakeFly, tools: ActionTools
) -> None:
    plan = await FlyRestart().plan(CONTEXT, tools)
    fly.clock.advance(1)  # type: ignore[attr-defined]  # it is a FakeClock
    respond = fly.respond

    def cut(received):  # type: ignore[no-untyped-def]  # as `respond`
        reply = respond(received)
        if "/restart" in received.path:
            reply.status = 502
        return reply

    fly.respond = cut  # type: ignore[method-assign]  # done, and answered by a proxy
    assert (await FlyRestart().run(plan, CONTEXT, tools)).startswith("restarted machine 148e001")
    assert fly.restarted == ["148e001"]


async def test_the_last_healthy_machine_is_restarted_only_when_the_shop_can_not_sell_and_with_approval(
    fly: FakeFly, tools: ActionTools, selling: Selling
) -> None:
    fly.exit(fly.machines["shop"][1])
    with pytest.raises(ActionError, match="machine 148e001 is the last healthy one of app, and the shop sells"):
        await FlyRestart().plan(CONTEXT, tools)
    selling.can_sell = False
    plan = await FlyRestart().plan(CONTEXT, tools)
    assert plan.needs_approval
    assert plan.description.endswith("no other one is healthy")


async def test_a_machine_that_has_become_the_last_healthy_one_since_the_decision_is_left_alone(
    fly: FakeFly, tools: ActionTools
) -> None:
    plan = await FlyRestart().plan(CONTEXT, tools)
    fly.clock.advance(1)  # type: ignore[attr-defined]  # it is a FakeClock
    fly.exit(fly.machines["shop"][1])
    with pytest.raises(ActionError, match="no other machine of app is healthy any more: 148e001 is left alone"):
        await FlyRestart().run(plan, CONTEXT, tools)
    assert not fly.restarted
    assert not fly.leases


async def test_the_only_machine_of_a_group_is_restarted_where_the_shop_can_not_sell_and_else_with_approval(
    fly: FakeFly, tools: ActionTools, selling: Selling
) -> None:
    fly.add("shop", "148e003", group="worker")
    action = FlyRestart(machine="148e003")
    plan = await action.plan(CONTEXT, tools)
    assert (plan.description, plan.needs_approval) == (
        "restart machine 148e003 of shop; it is the only one of worker, and the shop sells",
        True,
    )
    selling.can_sell = False
    plan = await action.plan(CONTEXT, tools)
    assert (plan.description, plan.needs_approval) == (
        "restart machine 148e003 of shop; it is the only one of worker, and the shop does not sell",
        False,
    )


async def test_machines_of_groups_are_restarted_one_by_one_and_none_of_a_database(
    fly: FakeFly, tools: ActionTools, selling: Selling
) -> None:
    fly.add("shop", "148e003", group="worker")
    fly.add("shop-db", "148e004")["image_ref"]["repository"] = "flyio/postgres-flex"
    fly.exit(fly.add("shop", "148e005"))
    fly.clock.advance(3_600)  # type: ignore[attr-defined]  # it is a FakeClock
    selling.can_sell = False
    settings = tools.shop.settings.model_copy(update={"fly_apps": ("shop", "shop-db")})
    tools = replace(tools, shop=ShopConnections(settings=settings))
    context = ActionContext(ALERT, 7, "run-7.0", fly.clock.now())
    action, said = FlyRestart(groups=("worker", "app")), []
    while (plan := await action.plan(context, tools)).needed:
        said.append(plan.description)
        fly.clock.advance(1)  # type: ignore[attr-defined]  # it is a FakeClock
        await action.run(plan, context, tools)
        assert plan.goes_on == (len(said) < 3)
    assert fly.restarted == ["148e003", "148e001", "148e002"]
    assert said[0].endswith("; then 148e001, 148e002, one by one")
    assert said[2] == "restart machine 148e002 of shop; healthy others of app: 1"
    assert plan.description == "no machine of worker, app is left to restart"


async def test_a_machine_that_changed_after_the_decision_is_left_alone(fly: FakeFly, tools: ActionTools) -> None:
    plan = await FlyRestart().plan(CONTEXT, tools)
    fly.clock.advance(1)  # type: ignore[attr-defined]  # it is a FakeClock
    fly.deploy("shop", 64)
    with pytest.raises(ActionError, match="changed since this was decided"):
        await FlyRestart().run(plan, CONTEXT, tools)
    assert fly.restarted == []
    assert not fly.leases


async def test_a_lease_of_somebody_else_is_respected(fly: FakeFly, tools: ActionTools) -> None:
    fly.leases["148e001"] = {"nonce": "theirs", "expires_at": LATER, "owner": "ci@shop"}
    plan = await FlyRestart().plan(CONTEXT, tools)
    with pytest.raises(ActionError, match="answered 409: lease currently held by ci@shop: somebody else works on it"):
        await FlyRestart().run(plan, CONTEXT, tools)
    assert fly.leases["148e001"]["nonce"] == "theirs"


def left(key: str = CONTEXT.key, **more: object) -> dict[str, object]:
    """Return the lease of an act that ended with toban."""
    return {"nonce": "old", "expires_at": LATER, "owner": "toban@shop", "description": f"toban {key}", **more}


async def test_a_lease_that_an_earlier_attempt_of_the_same_act_has_left_is_taken_over(
    fly: FakeFly, tools: ActionTools
) -> None:
    respond = fly.respond

    def takes_a_second(received):  # type: ignore[no-untyped-def]  # as `respond`
        fly.clock.advance(1)  # type: ignore[attr-defined]  # it is a FakeClock
        return respond(received)

    fly.respond = takes_a_second  # type: ignore[method-assign]  # Fly allows few requests in a second
    fly.leases["148e001"] = left()
    plan = await FlyRestart().plan(CONTEXT, tools)
    assert (await FlyRestart().run(plan, CONTEXT, tools)).startswith("restarted machine 148e001")
    assert not fly.leases


async def test_a_lease_that_another_act_of_toban_has_left_is_named_with_the_time_at_which_it_is_free(
    fly: FakeFly, tools: ActionTools
) -> None:
    # One toban takes the lease, and is killed at once.
    async with FlyMachines(tools).lease(FlyMachine.parse("shop", fly.machines["shop"][0]), "toban run-6.0"):
        killed = dict(fly.leases)
    fly.leases.update(killed)
    fly.clock.advance(2)  # type: ignore[attr-defined]  # it is a FakeClock
    plan = await FlyRestart().plan(CONTEXT, tools)
    with pytest.raises(ActionError, match=r"toban itself holds the lease .* for run-6\.0: .* is free at 03:15:30 UTC"):
        await FlyRestart().run(plan, CONTEXT, tools)
    assert fly.restarted == []
    fly.clock.advance(91)  # type: ignore[attr-defined]  # it is a FakeClock
    plan = await FlyRestart().plan(CONTEXT, tools)
    assert (await FlyRestart().run(plan, CONTEXT, tools)).startswith("restarted machine 148e001")


async def test_a_lease_is_renewed_while_the_machine_is_not_back_so_that_no_deploy_comes_between(
    fly: FakeFly, tools: ActionTools
) -> None:
    fly.takes_effect = False
    sleep, held = fly.clock.sleep, []

    async def sleeps(seconds: float) -> None:
        await sleep(seconds)
        lease = fly.leases["148e001"]
        held.append((lease["nonce"], lease["description"], lease["expires_at"] > fly.clock.now().timestamp()))

    fly.clock.sleep = sleeps  # type: ignore[method-assign]  # until it gives up
    plan = await FlyRestart().plan(CONTEXT, tools)
    with pytest.raises(ActionError, match="is not back after 5 minutes"):
        await FlyRestart().run(plan, CONTEXT, tools)
    assert len(held) == 60
    assert {it[1:] for it in held} == {("toban run-7.0", True)}
    assert len({it[0] for it in held}) == 1
    assert not fly.leases


async def test_a_lease_that_a_deploy_took_in_the_middle_stays_with_the_deploy(fly: FakeFly, tools: ActionTools) -> None:
    fly.takes_effect = False
    sleep, machine = fly.clock.sleep, fly.machines["shop"][0]

    async def sleeps(seconds: float) -> None:
        await sleep(seconds)
        waited = (fly.clock.now() - NOW).total_seconds() - 3_600
        if waited > 40:
            fly.leases["148e001"] = {"nonce": "theirs", "expires_at": LATER, "owner": "ci@shop", "description": ""}
        if waited > 70:
            fly.happen(machine, "start", "started")

    fly.clock.sleep = sleeps  # type: ignore[method-assign]  # until it is there
    plan = await FlyRestart().plan(CONTEXT, tools)
    assert (await FlyRestart().run(plan, CONTEXT, tools)).startswith("restarted machine 148e001")
    assert fly.leases["148e001"]["nonce"] == "theirs"
    assert fly.restarted == ["148e001"]


async def test_a_lease_that_expired_in_the_middle_is_taken_again_and_released(fly: FakeFly, tools: ActionTools) -> None:
    fly.takes_effect = False
    sleep, held = fly.clock.sleep, []

    async def sleeps(seconds: float) -> None:
        await sleep(seconds)
        if len(held) == 2:
            del fly.leases["148e001"]
        held.append(fly.leases.get("148e001", {}).get("nonce"))

    fly.clock.sleep = sleeps  # type: ignore[method-assign]  # until it gives up
    plan = await FlyRestart().plan(CONTEXT, tools)
    with pytest.raises(ActionError, match="is not back after 5 minutes"):
        await FlyRestart().run(plan, CONTEXT, tools)
    assert len(set(held)) == 3
    assert held[2] is None
    assert not fly.leases


async def test_a_machine_that_became_the_last_healthy_one_is_not_what_was_decided_on(
    fly: FakeFly, tools: ActionTools, selling: Selling
) -> None:
    decided = await FlyRestart().plan(CONTEXT, tools)
    fly.exit(fly.machines["shop"][1])
    # It is planned again before each act: what was approved is void then.
    with pytest.raises(ActionError, match="is the last healthy one of app, and the shop sells"):
        await FlyRestart().plan(CONTEXT, tools)
    selling.can_sell = False
    assert (await FlyRestart().plan(CONTEXT, tools)).state != decided.state


@pytest.mark.parametrize(
    ("lease", "stays"),
    [(left(), False), (left("run-6.0"), True), (left(description="deploy"), True), (left(nonce=""), True)],
    ids=["its own", "another act's", "a deploy's", "one whose nonce is not told"],
)
async def test_a_look_after_a_crash_releases_the_lease_of_its_own_act_alone(
    fly: FakeFly, tools: ActionTools, lease: dict[str, object], stays: bool
) -> None:
    fly.exit(fly.machines["shop"][0])
    plan = await FlyStart().plan(CONTEXT, tools)
    fly.leases["148e001"] = lease
    assert await FlyStart().look(plan, CONTEXT, tools) is None
    assert bool(fly.leases) is stays


@pytest.mark.parametrize(
    ("happens", "reason"),
    [
        (lambda fly, it: incomplete(it, "unreachable"), "the host of machine 148e001 is unreachable"),
        (lambda fly, it: fly.happen(it, "stop", "stopped"), "is stopped: only a started machine"),
        (
            lambda fly, it: (fly.exit(it, "started", oom_killed=True), fly.happen(it, "start", "started")),
            "give it more memory",
        ),
        (
            lambda fly, it: (fly.exit(it, "started", restarts=4), fly.happen(it, "start", "started")),
            "restarted 4 times in a row",
        ),
    ],
)
async def test_restarting_is_refused_where_it_helps_nobody(fly: FakeFly, tools: ActionTools, happens, reason) -> None:  # type: ignore[no-untyped-def]  # functions of the table
    happens(fly, fly.machines["shop"][0])
    with pytest.raises(ActionError, match=reason):
        await FlyRestart().plan(CONTEXT, tools)


async def test_a_stopped_machine_is_started(fly: FakeFly, tools: ActionTools) -> None:
    fly.exit(fly.machines["shop"][0])
    fly.clock.advance(1)  # type: ignore[attr-defined]  # it is a FakeClock
    plan = await FlyStart().plan(CONTEXT, tools)
    assert await FlyStart().run(plan, CONTEXT, tools) == "started machine 148e001 of shop: its checks pass"
    with pytest.raises(ActionError, match="is started: only a stopped machine is started"):
        await FlyStart().plan(CONTEXT, tools)


async def test_what_fly_answers_with_429_is_sent_again_a_while_later(fly: FakeFly, tools: ActionTools) -> None:
    # Others of this toban have just asked for the same.
    plan = await FlyRestart().plan(CONTEXT, tools)
    for _ in range(2):
        await FlyMachines(tools).machines("shop")
    before = fly.clock.now()
    assert (await FlyRestart().run(plan, CONTEXT, tools)).startswith("restarted machine 148e001")
    assert 1 <= (fly.clock.now() - before).total_seconds() <= 3
    assert all(it.startswith("too often") for it in fly.mistakes)
    fly.mistakes.clear()
    busy = says(429, b'{"error": "rate limit exceeded"}', retry_after="4")
    fly.next(busy, busy, busy, busy)
    before = fly.clock.now()
    with pytest.raises(ActionError, match="answered 429: rate limit exceeded"):
        await FlyRestart().look(plan, CONTEXT, tools)
    assert (fly.clock.now() - before).total_seconds() == 12


async def test_errors_name_the_remedy(fly: FakeFly, tools: ActionTools) -> None:
    fly.next(says(403, b'{"error": "unauthorized"}'))
    with pytest.raises(ActionError, match="answered 403: unauthorized: the token may not do this: `fly tokens create"):
        await FlyRestart().plan(CONTEXT, tools)
    fly.next(says(200, b"<html>"))
    with pytest.raises(ActionError, match="the response is no JSON"):
        await FlyRestart().plan(CONTEXT, tools)
    with pytest.raises(ActionError, match="no machine 'nothing' in shop"):
        await FlyRestart(machine="nothing").plan(CONTEXT, tools)
