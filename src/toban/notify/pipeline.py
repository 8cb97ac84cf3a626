"""
The notification pipeline: from alerts to messages.

Pure: the state and the time in, messages and the next state out. Each stage notes what it did with an alert, for
`toban why`. Why the order differs from Alertmanager's is in decision 0017.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from toban.core.item_isolation import ItemFailure, ItemIsolation
from toban.core.notification import Notification
from toban.notify.flap_detection import TrackedAlert, is_forgettable, settle
from toban.notify.notification_group import NotificationGroup
from toban.notify.pipeline_run import SOON, PipelineRun, PipelineState, Policy
from toban.notify.silences import Silence
from toban.notify.stages.dedupe import dedupe
from toban.notify.stages.group import group
from toban.notify.stages.inhibit import inhibit
from toban.notify.stages.mute import mute
from toban.notify.stages.route import route
from toban.notify.stages.send import send

STAGES: Final = (route, inhibit, mute, group, dedupe, send)


@dataclass(frozen=True, slots=True)
class Decision:
    """
    The result of a run: what to send, the next state, and when to run again at the latest.

    ``failures`` are the items that were left out because deciding about them failed; they stay in the state.
    ``unreadable`` are groups among them that can't be read at all: they do not stay, and their alerts are grouped anew.
    """

    run: PipelineRun
    after: PipelineState
    run_again: datetime | None
    failures: Sequence[ItemFailure] = ()
    unreadable: frozenset[str] = frozenset()

    @property
    def messages(self) -> Sequence[Notification]:
        """The messages to send."""
        return self.run.messages


def decide(policy: Policy, state: PipelineState, silences: Iterable[Silence], now: datetime) -> Decision:
    """
    Decide what is sent now.

    When an item fails, all is decided once more without it, so that the others are decided as if it were not there.
    """
    isolation, silences = ItemIsolation(), list(silences)
    while True:
        known = len(isolation.failures)
        run, unreadable = _start(policy, state, silences, now, isolation)
        for stage in STAGES:
            run = stage(run, isolation)
        alerts = _remembered(run, isolation)
        if len(isolation.failures) == known:
            break
    failed = {name: it for name, it in state.alerts.items() if isolation.failed("alert", name)}
    after = PipelineState({**failed, **alerts}, {**run.failed_groups, **run.groups})
    run_again = min((max(at, now + SOON) for at in run.wake_at if at > now), default=None)
    return Decision(run, after, run_again, isolation.failures, unreadable)


def _start(
    policy: Policy, state: PipelineState, silences: Iterable[Silence], now: datetime, isolation: ItemIsolation
) -> tuple[PipelineRun, frozenset[str]]:
    """Return a run over what can be read and did not fail, and the groups that can't be read."""
    active = []
    for silence in silences:
        with isolation.item("silence", silence.id):
            silence.check(now)
            if silence.active(now) and not isolation.failed("silence", silence.id):
                active.append(silence)
    alerts = {}
    for name, tracked in state.alerts.items():
        with isolation.item("alert", name):
            tracked.check(now)
            if not isolation.failed("alert", name):
                alerts[name] = settle(tracked.not_after(now), now, policy.settings.flapping)
    groups: dict[str, NotificationGroup] = {}
    failed: dict[str, NotificationGroup] = {}
    unreadable = set(state.groups)
    for name, it in state.groups.items():
        with isolation.item("group", name):
            it.check(now)
            unreadable.remove(name)
            (failed if isolation.failed("group", name) else groups)[name] = it.not_after(now)
    return PipelineRun(policy, now, active, alerts, groups, failed), frozenset(unreadable)


def _remembered(run: PipelineRun, isolation: ItemIsolation) -> Mapping[str, TrackedAlert]:
    """Return the alerts without those that were resolved long ago and belong to no group."""
    grouped = run.grouped
    kept = {}
    for name, tracked in run.alerts.items():
        with isolation.item("alert", name):
            if name in grouped or not is_forgettable(tracked, run.now):
                kept[name] = tracked
    return kept
