"""Mute: suppress alerts that a silence or an open maintenance window matches."""

from collections.abc import Sequence
from dataclasses import replace

from toban.core.alerts import AlertStatus
from toban.core.item_isolation import ItemIsolation
from toban.core.matchers import Matcher, matches_all
from toban.notify.pipeline_run import PipelineRun


def mute(run: PipelineRun, isolation: ItemIsolation) -> PipelineRun:
    """Find the firing alerts that silences and windows match."""
    windows = run.policy.windows.open(run.now, isolation)
    silenced_by: dict[str, list[str]] = {}
    muted_by: dict[str, list[str]] = {}
    reasons = []
    for silence in run.silences:
        for name in _matching(run, "silence", silence.id, silence.matchers, isolation):
            silenced_by.setdefault(name, []).append(silence.id)
            by = silence.by or "somebody"
            reasons.append((name, f"silenced by {by} until {run.local_time(silence.ends)}: {silence.comment}"))
    for window in windows:
        for name in _matching(run, "window", window.name, window.matchers, isolation):
            muted_by.setdefault(name, []).append(window.name)
            reasons.append((name, f"muted by window {window.name!r} until {run.local_time(window.ends)}"))
    wake_at = [silence.ends for silence in run.silences]
    if (change := run.policy.windows.next_change(run.now, isolation)) is not None:
        wake_at.append(change)
    return replace(run, silenced_by=silenced_by, muted_by=muted_by).noted("mute", reasons, wake_at)


def _matching(
    run: PipelineRun, part: str, item: str, matchers: Sequence[Matcher], isolation: ItemIsolation
) -> Sequence[str]:
    """Return the firing alerts that meet the matchers of a silence or window; nothing when it fails."""
    with isolation.item(part, item):
        return [
            name
            for name, tracked in run.alerts.items()
            if tracked.alert.status is AlertStatus.FIRING and matches_all(matchers, tracked.alert.labels)
        ]
    return ()
