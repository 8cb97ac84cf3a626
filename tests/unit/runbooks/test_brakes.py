"""When a runbook may run, when it asks instead of acting by itself, and when it must not act."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from toban.core.alerts import Alert, AlertStatus
from toban.core.labels import Labels
from toban.runbooks.action import Plan
from toban.runbooks.brakes import Situation, may_act, may_run
from toban.runbooks.run import Run, RunState, StepRecord
from toban.runbooks.runbook import Guard, Mode, Runbook
from toban.runbooks.settings import RunbookSettings

NOW = datetime(2026, 3, 4, 2, 14, tzinfo=UTC)
RUNBOOK = Runbook.model_validate(
    {
        "name": "restart",
        "title": "Restart",
        "when": ['alertname="memory"'],
        "guard": {"mode": "auto"},
        "steps": [{"run_command": {"command": ["true"]}}],
    }
)


def minutes(count: float) -> timedelta:
    return timedelta(minutes=count)


def alert(name: str = "memory", ago: float = 5, **labels: str) -> Alert:
    at = NOW - minutes(ago)
    return Alert(Labels(alertname=name, **labels), {}, AlertStatus.FIRING, at, at)


def run(
    state: RunState = RunState.SUCCEEDED,
    ago: float = 60,
    target: str = "m1",
    number: int = 1,
    runbook: str = "restart",
    mode: Mode = Mode.AUTO,
    subject: Alert | None = None,
    ended: bool = True,
) -> Run:
    at = NOW - minutes(ago)
    record = StepRecord(
        0, "run-1.0", "run_command", Plan("act", "s", (target,)), True, at, at if ended else None, ok=ended
    )
    found = Run(number, runbook, "v", subject or alert(), mode.value, state, at, steps=(record,))
    return found if state in {RunState.RUNNING, RunState.ASKED} else replace(found, ended=at)


def with_guard(**guard: object) -> Runbook:
    return RUNBOOK.model_copy(update={"guard": Guard.model_validate({"mode": "auto", **guard})})


CALM = Situation(NOW, firing=(alert(),))


def verdict(
    situation: Situation = CALM, runbook: Runbook = RUNBOOK, subject: Alert | None = None
) -> tuple[object, str]:
    found = may_run(runbook, subject or alert(), situation)
    return found.mode, found.reason


def test_it_acts_by_itself_when_nothing_speaks_against_it() -> None:
    assert verdict() == (Mode.AUTO, "")


@pytest.mark.parametrize(
    ("situation", "reason"),
    [
        (replace(CALM, is_stopped=True), "automation is stopped"),
        (replace(CALM, runs=(run(RunState.RUNNING, 1, ended=False),)), "it runs already"),
        (replace(CALM, runs=(run(RunState.RUNNING, 1, runbook="other", ended=False),)), "other runs"),
        (replace(CALM, runs=(run(RunState.FAILED, 3),)), "its last run for this alert failed: a person decides"),
        (replace(CALM, runs=(run(RunState.REFUSED, 3),)), "its last run for this alert ended: refused"),
        (replace(CALM, runs=(run(ago=3),)), "it ran a short time ago"),
        (replace(CALM, runs=(run(ago=4), run(ago=3, number=2))), "it has run 2 times for this alert"),
    ],
)
def test_it_does_not_run(situation: Situation, reason: str) -> None:
    assert verdict(situation) == (None, reason)


def test_it_waits_until_the_alert_has_fired_for_its_dwell_time() -> None:
    young = may_run(RUNBOOK, alert(ago=0.5), CALM)
    assert (young.mode, young.retry_at) == (None, NOW + minutes(0.5))


def test_runs_for_an_earlier_occurrence_do_not_count_as_attempts() -> None:
    assert verdict(replace(CALM, runs=(run(ago=60), run(ago=90, number=2)))) == (Mode.AUTO, "")


@pytest.mark.parametrize(
    ("situation", "reason"),
    [
        (replace(CALM, doubts="state is unavailable"), "state is unavailable"),
        (replace(CALM, maintenance="the maintenance window x is open"), "the maintenance window x is open"),
        (replace(CALM, deployed=NOW - minutes(9)), "something was deployed at 02:05 UTC"),
        (
            replace(CALM, runs=(run(RunState.FAILED, 60 * 24), run(RunState.UNKNOWN, 60 * 48, number=2))),
            "it failed 2 times in a week",
        ),
        (
            replace(CALM, firing=tuple(alert(instance=str(number)) for number in range(3))),
            "3 alerts memory fire together: that is no fault of one machine",
        ),
    ],
)
def test_what_is_doubtful_asks_instead_of_acting(situation: Situation, reason: str) -> None:
    assert verdict(situation) == (Mode.ASK, reason)


def test_a_deploy_counts_for_ten_minutes() -> None:
    assert verdict(replace(CALM, deployed=NOW - minutes(10))) == (Mode.AUTO, "")


ACTING = run(RunState.RUNNING, 0, "m2", number=9)


def refusal(situation: Situation = CALM, acting: Run = ACTING, targets: tuple[str, ...] = ("m1",)) -> str:
    return may_act(RunbookSettings(), RUNBOOK, acting, targets, situation)


def test_an_act_within_its_budget_is_allowed() -> None:
    assert refusal() == ""


@pytest.mark.parametrize(
    ("situation", "reason"),
    [
        (replace(CALM, is_stopped=True), "automation is stopped"),
        (replace(CALM, runs=(run(ago=20),)), "restart acted on m1 at 01:54 UTC: it cools down"),
        (
            replace(CALM, runs=(run(RunState.RUNNING, 1, runbook="other", ended=False),)),
            "other acts on m1",
        ),
        (
            replace(CALM, runs=tuple(run(ago=40, target=f"x{number}", number=number) for number in range(2))),
            "3 acts in the last hour: the budget is 3",
        ),
        (
            replace(CALM, runs=tuple(run(ago=90, target=f"x{number}", number=number) for number in range(5))),
            "6 acts in the last day: the budget is 6",
        ),
        (replace(CALM, doubts="rules are not evaluated in time"), "rules are not evaluated in time"),
    ],
)
def test_an_act_beyond_its_brakes_is_refused(situation: Situation, reason: str) -> None:
    assert refusal(situation) == reason


def test_what_a_person_approved_is_not_held_by_budgets_but_by_the_switch_and_by_another_act() -> None:
    approved = run(RunState.RUNNING, 0, number=9, mode=Mode.ASK)
    many = replace(CALM, runs=tuple(run(ago=10, number=number) for number in range(8)))
    assert refusal(many, approved) == ""
    assert refusal(replace(many, is_stopped=True), approved) == "automation is stopped"
    busy = replace(CALM, runs=(run(RunState.RUNNING, 1, runbook="other", ended=False),))
    assert refusal(busy, approved) == "other acts on m1"


@pytest.mark.parametrize(
    ("zone", "hours", "mode"),
    [
        ("UTC", [{"from": "02:00", "to": "03:00"}], Mode.AUTO),
        ("UTC", [{"from": "09:00", "to": "18:00"}], Mode.ASK),
        ("Asia/Tokyo", [{"from": "09:00", "to": "18:00"}], Mode.AUTO),  # 11:14
        ("Asia/Tokyo", [{"days": "sat-sun"}], Mode.ASK),
        ("UTC", [{"days": "tue", "from": "22:00", "to": "06:00"}], Mode.AUTO),  # since yesterday
        ("UTC", [{"days": "wed", "from": "22:00", "to": "06:00"}], Mode.ASK),
        ("UTC", [{"days": "wed", "from": "22:00", "to": "06:00"}, {"days": "wed"}], Mode.AUTO),
    ],
)
def test_outside_of_its_hours_it_asks(zone: str, hours: list[object], mode: Mode) -> None:
    reason = "it is outside of the hours of its guard" if mode is Mode.ASK else ""
    assert verdict(replace(CALM, zone=ZoneInfo(zone)), with_guard(hours=hours)) == (mode, reason)
