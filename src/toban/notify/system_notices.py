"""Words of toban's own, that belong to no alert."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from toban.core.alerts import Alert, AlertStatus
from toban.core.item_isolation import ItemIsolation
from toban.core.labels import Labels
from toban.core.matchers import matches_all
from toban.notify.muting import Silence, ends_soon
from toban.notify.notification import Notification, NotificationKind
from toban.notify.pipeline import PipelineState, Policy
from toban.notify.rendering import catalogue

NOTICE: Final = timedelta(minutes=15)
"""How long before its end a silence that still holds something back is announced."""


def silence_ends(
    house: Policy, silences: Sequence[Silence], picture: PipelineState, now: datetime, isolation: ItemIsolation
) -> list[tuple[Silence, list[Notification]]]:
    """Return the silences that will soon end although what they hold back still fires, and who is told."""
    found = []
    for silence in silences:
        with isolation.item("silence", silence.id):
            if ends_soon(silence, now, NOTICE) and (held := _held(silence, picture, isolation)):
                found.append((silence, _ends(house, silence, held, now)))
    return found


def _held(silence: Silence, picture: PipelineState, isolation: ItemIsolation) -> list[Alert]:
    held = []
    for name, heard in picture.alerts.items():
        with isolation.item("alert", name):
            if heard.alert.status is AlertStatus.FIRING and matches_all(silence.matchers, heard.alert.labels):
                held.append(heard.alert)
    return held


def _ends(house: Policy, silence: Silence, held: Sequence[Alert], now: datetime) -> list[Notification]:
    channels = dict.fromkeys(
        channel for alert in held for way in house.routing.route(alert.labels) for channel in way.channels
    )
    say = catalogue(house.settings.language)
    title = say["silence-ends"].format(what=silence.says(), time=f"{silence.ends.astimezone(house.zone):%H:%M}")
    lines = (
        say["silence-still"].format(names=", ".join(sorted({alert.name for alert in held}))),
        say["silence-by"].format(by=silence.by, comment=silence.comment),
    )
    return [notice(house, channel, f"silence-{silence.id}", title, lines, now) for channel in channels]


def notice(
    house: Policy, channel: str, name: str, title: str, lines: Sequence[str], now: datetime, severity: str = "info"
) -> Notification:
    """Return a word of toban's own for one channel; ``name`` tells it from others."""
    return Notification(
        thread=name,
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
        language=house.settings.language,
        group=Labels(),
        receiver=channel,
    )


def drill(house: Policy, channel: str, name: str, now: datetime) -> Notification:
    """Return a message that tries out a channel."""
    say = catalogue(house.settings.language)
    return notice(house, channel, name, say["drill"], (say["drill-says"],), now)
