"""The brakes: whether a runbook may run, and whether it may act by itself. Pure: what is known in, a verdict out."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final

from toban.core.alerts import Alert
from toban.runbooks.run import FAILURES, Run, RunState
from toban.runbooks.runbook import Mode, Runbook
from toban.runbooks.settings import RunbookSettings

AFTER_DEPLOY: Final = timedelta(minutes=10)
"""How long after a deploy nothing acts by itself."""
WEEK: Final = timedelta(days=7)
MAX_FAILURES: Final = 2
"""Failures in a week after which a runbook asks instead of acting by itself."""
VALID_FOR: Final = timedelta(seconds=60)
"""How long what an act was decided on counts: after that it is void."""
SETTLED: Final = frozenset({RunState.DRY, RunState.REFUSED})
"""The states after which a runbook does not run again for the same occurrence of an alert."""
MANY: Final = 2
"""More alerts of one name than this, at once, are no fault of one machine: nothing acts by itself."""


@dataclass(frozen=True, slots=True)
class Situation:
    """
    What is known when a runbook is about to run.

    ``doubts`` are why toban does not trust what it knows: its state, its rules or its network have trouble.
    ``maintenance`` is what goes on that makes alerts expected: a maintenance window, a drill, a restore.
    """

    now: datetime
    is_stopped: bool = False
    zone: tzinfo = UTC
    """The zone of the team's clock."""
    firing: Sequence[Alert] = ()
    runs: Sequence[Run] = ()
    """The runs of the last week, and those that go on."""
    deployed: datetime | None = None
    maintenance: str = ""
    doubts: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """
    In which mode a runbook may run now (None: not at all), and why not, or why not by itself.

    ``retry_at`` is when it may be allowed, where time alone decides.
    """

    mode: Mode | None
    reason: str = ""
    retry_at: datetime | None = None


def may_run(runbook: Runbook, alert: Alert, situation: Situation) -> Verdict:
    """Return whether a runbook may run for an alert, and in which mode."""
    now, guard = situation.now, runbook.guard
    if situation.is_stopped:
        return Verdict(None, "automation is stopped")
    fired = alert.fired or alert.starts
    if now < fired + guard.dwell:
        return Verdict(None, "the alert has not fired for long enough", fired + guard.dwell)
    own = [run for run in situation.runs if run.runbook == runbook.name]
    of_alert = [run for run in own if run.alert.fingerprint == alert.fingerprint]
    if any(run.is_open for run in of_alert):
        return Verdict(None, "it runs already")
    if busy := next((run for run in situation.runs if run.state is RunState.RUNNING and runbook.acts), None):
        return Verdict(None, f"{busy.runbook} runs", now + timedelta(seconds=5))
    this_time = [run for run in of_alert if run.started >= fired and not run.by]
    if len(this_time) >= guard.attempts:
        return Verdict(None, f"it has run {len(this_time)} times for this alert")
    if this_time and this_time[-1].state in FAILURES:
        return Verdict(None, "its last run for this alert failed: a person decides")
    if this_time and this_time[-1].state in SETTLED:
        return Verdict(None, f"its last run for this alert ended: {this_time[-1].state.value}")
    if this_time and (ended := this_time[-1].ended) and now < ended + guard.cooldown:
        return Verdict(None, "it ran a short time ago", ended + guard.cooldown)
    return Verdict(*_mode(runbook, alert, situation, own))


def _mode(runbook: Runbook, alert: Alert, situation: Situation, own: Sequence[Run]) -> tuple[Mode, str]:
    """Return in which mode it runs: what is doubtful asks instead of acting."""
    if runbook.guard.mode is not Mode.AUTO or not runbook.acts:
        return runbook.guard.mode, ""
    failures = [run for run in own if run.state in FAILURES and run.started > situation.now - WEEK]
    if len(failures) >= MAX_FAILURES:
        return Mode.ASK, f"it failed {len(failures)} times in a week"
    wall, hours = situation.now.astimezone(situation.zone).replace(tzinfo=None), runbook.guard.hours
    if hours and not any(it.holds(wall) for it in hours):
        return Mode.ASK, "it is outside of the hours of its guard"
    if reason := _doubt(situation):
        return Mode.ASK, reason
    same = [it for it in situation.firing if it.name == alert.name]
    if len(same) > MANY:
        return Mode.ASK, f"{len(same)} alerts {alert.name} fire together: that is no fault of one machine"
    return Mode.AUTO, ""


def _doubt(situation: Situation) -> str:
    if situation.doubts:
        return situation.doubts
    if situation.maintenance:
        return situation.maintenance
    if situation.deployed and situation.now < situation.deployed + AFTER_DEPLOY:
        return f"something was deployed at {situation.deployed:%H:%M} UTC"
    return ""


def may_act(
    settings: RunbookSettings, runbook: Runbook, run: Run, targets: Collection[str], situation: Situation
) -> str:
    """
    Return why a step must not act now; empty where it may.

    What a person approved or started is kept from two acts on one thing, and from the stop switch; budgets are for what
    acts by itself.
    """
    now = situation.now
    if situation.is_stopped:
        return "automation is stopped"
    others = [it for it in situation.runs if it.id != run.id]
    for other in others:
        for act in other.acts:
            if act.ended is None and other.is_open and set(act.plan.targets) & set(targets):
                return f"{other.runbook} acts on {act.plan.targets[0]}"
    if run.mode != Mode.AUTO:
        return ""
    acts = [(other, act) for other in [*others, run] for act in other.acts]
    for other, act in acts:
        same = sorted(set(act.plan.targets) & set(targets))
        if same and other.id != run.id and now < act.intended + runbook.guard.cooldown:
            return f"{other.runbook} acted on {same[0]} at {act.intended:%H:%M} UTC: it cools down"
    hour = sum(act.intended > now - timedelta(hours=1) for _, act in acts)
    day = sum(act.intended > now - timedelta(days=1) for _, act in acts)
    if hour >= settings.acts_per_hour:
        return f"{hour} acts in the last hour: the budget is {settings.acts_per_hour}"
    if day >= settings.acts_per_day:
        return f"{day} acts in the last day: the budget is {settings.acts_per_day}"
    return _doubt(situation)
