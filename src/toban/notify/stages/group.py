"""Group: put alerts that are not suppressed into notification groups."""

from collections.abc import Sequence
from dataclasses import replace

from toban.core.alerts import AlertStatus
from toban.core.item_isolation import ItemIsolation
from toban.notify.notification_group import NotificationGroup, group_id
from toban.notify.pipeline_run import PipelineRun
from toban.notify.routing import Destination


def group(run: PipelineRun, isolation: ItemIsolation) -> PipelineRun:
    """
    Give each firing alert that is not suppressed a group: the one it is in, one with the same key, or a new one.

    A group is named after its first alert, so that it has the same id after a restart. The source of an alert that was
    notified before it joins that alert's group: one cause is one incident, whichever is seen first.
    """
    groups = dict(run.groups)
    joined: dict[str, set[str]] = {}
    by_key = _ids_by_key(run)
    grouped = run.grouped
    effects = _reported_effects(run)
    for name, tracked in sorted(run.alerts.items(), key=lambda it: (it[1].since, it[0])):
        if name in grouped or tracked.alert.status is not AlertStatus.FIRING or run.is_suppressed(name):
            continue
        for destination in run.destinations.get(name, ()):
            key = destination.key
            if not destination.channels:
                continue
            if key not in by_key and (effect := _group_of_effect(effects.get(name, ()), destination)):
                by_key[key] = effect
            if key not in by_key:
                new = NotificationGroup(
                    group_id(key, name, tracked.since), key, destination.channels, destination.group_labels, run.now
                )
                groups[new.id], by_key[key] = new, new.id
            joined.setdefault(by_key[key], set()).add(name)
    for name, members in joined.items():
        groups[name] = replace(groups[name], members=groups[name].members | members)
    return replace(run, groups=groups)


def _ids_by_key(run: PipelineRun) -> dict[str, str]:
    """Return the ids of groups by their keys, and by the keys of alerts that joined a group of another key."""
    found = {it.key: it.id for it in run.groups.values()}
    for it in run.groups.values():
        for name in sorted(it.members):
            destinations = run.destinations.get(name, ())
            if all(destination.key != it.key for destination in destinations):
                for destination in destinations:
                    if set(destination.channels) <= set(it.channels):
                        found.setdefault(destination.key, it.id)
    return found


def _reported_effects(run: PipelineRun) -> dict[str, list[NotificationGroup]]:
    """Return, by source, the groups that notified of something that it inhibits now."""
    found: dict[str, list[NotificationGroup]] = {}
    for it in run.groups.values():
        for source in dict.fromkeys(run.inhibited_by[name] for name in it.reported if name in run.inhibited_by):
            found.setdefault(source, []).append(it)
    return found


def _group_of_effect(effects: Sequence[NotificationGroup], destination: Destination) -> str | None:
    """Return the group among those of an alert's effects that notified all channels of a destination."""
    return next((it.id for it in effects if set(destination.channels) <= set(it.channels)), None)
