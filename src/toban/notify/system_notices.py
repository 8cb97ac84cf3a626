"""Messages of toban itself, that belong to no alert."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from toban.core.alerts import Alert, AlertStatus
from toban.core.item_isolation import ItemIsolation
from toban.core.labels import Labels
from toban.core.matchers import matches_all
from toban.core.notification import TEST_PREFIX, Notification, NotificationKind
from toban.notify.pipeline_run import PipelineState, Policy
from toban.notify.silences import Silence
from toban.notify.texts import texts

NOTICE: Final = timedelta(minutes=15)
"""How long before its end a silence that still suppresses firing alerts is announced."""


def silence_end_notices(
    policy: Policy, silences: Sequence[Silence], state: PipelineState, now: datetime, isolation: ItemIsolation
) -> list[tuple[Silence, list[Notification]]]:
    """Return the silences that will soon end although alerts that they match still fire, and the messages about it."""
    found = []
    for silence in silences:
        with isolation.item("silence", silence.id):
            if silence.ends_soon(now, NOTICE) and (firing := _firing(silence, state, isolation)):
                found.append((silence, _end_notices(policy, silence, firing, now)))
    return found


def _firing(silence: Silence, state: PipelineState, isolation: ItemIsolation) -> list[Alert]:
    found = []
    for name, tracked in state.alerts.items():
        with isolation.item("alert", name):
            if tracked.alert.status is AlertStatus.FIRING and matches_all(silence.matchers, tracked.alert.labels):
                found.append(tracked.alert)
    return found


def _end_notices(policy: Policy, silence: Silence, firing: Sequence[Alert], now: datetime) -> list[Notification]:
    channels = dict.fromkeys(
        channel
        for alert in firing
        for destination in policy.routing.route(alert.labels)
        for channel in destination.channels
    )
    say = texts(policy.settings.language)
    ends = f"{silence.ends.astimezone(policy.zone):%H:%M}"
    title = say["silence-ends"].format(what=silence.matchers_text(), time=ends)
    lines = (
        say["silence-still"].format(names=", ".join(sorted({alert.name for alert in firing}))),
        say["silence-by"].format(by=silence.by, comment=silence.comment),
    )
    return [notice(policy, channel, f"silence-{silence.id}", title, lines, now) for channel in channels]


def notice(
    policy: Policy, channel: str, name: str, title: str, lines: Sequence[str], now: datetime, severity: str = "info"
) -> Notification:
    """Return a message for one channel; ``name`` distinguishes it from others."""
    return Notification(
        group_id=name,
        number=0,
        key=f"{name}.{channel}",
        kind=NotificationKind.NOTICE,
        severity=severity,
        title=title,
        lines=tuple(lines),
        facts=(),
        links=(),
        at=now,
        since=now,
        language=policy.settings.language,
        group_labels=Labels(),
        receiver=channel,
    )


def channel_test_notification(policy: Policy, channel: str, name: str, now: datetime) -> Notification:
    """Return a message that tests a channel; ``name`` distinguishes it from other tests."""
    say = texts(policy.settings.language)
    return notice(policy, channel, TEST_PREFIX + name, say["test"], (say["test-explanation"],), now)
