"""How events change the firings: pure decisions of the recorder."""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from zoneinfo import ZoneInfo

from toban.core.acts import Act
from toban.core.alerts import AlertChange, AlertStatus
from toban.core.deploys import Deploy
from toban.core.errors import InvalidCommandError
from toban.core.matcher_syntax import parse_matchers
from toban.core.matchers import matches_all
from toban.core.notification import Delivery, NotificationKind
from toban.core.runbook_events import RunbookEvent
from toban.review.firing import Firing, FiringAct, month_of

ANNOUNCING = frozenset(
    {NotificationKind.FIRING.value, NotificationKind.REMINDER.value, NotificationKind.FLAPPING.value}
)
"""The kinds of notifications that say that an alert fires."""

Event = AlertChange | Delivery | RunbookEvent | Deploy | Act


class FiringLog:
    """The firings that may still change: those that have not ended, and those that ended lately."""

    def __init__(self, firings: Iterable[Firing], paging: Collection[str], zone: ZoneInfo) -> None:
        """``paging`` are the channels that wake people."""
        self._paging = paging
        self._zone = zone
        self._firings: dict[tuple[str, object], Firing] = {(it.fingerprint, it.fired): it for it in firings}
        self._before = dict(self._firings)

    def changed(self) -> Iterator[tuple[Firing | None, Firing]]:
        """Return the firings that differ from before, each with what it was."""
        for key, it in self._firings.items():
            if it != self._before.get(key):
                yield self._before.get(key), it

    def apply(self, event: Event) -> None:
        """Change what an event changes."""
        match event:
            case AlertChange():
                self._alert(event)
            case Delivery():
                self._delivery(event)
            case RunbookEvent() if event.event == "acted":
                act = FiringAct("runbook", event.at, event.by)
                self._act(act, [it for it in self._all() if it.fingerprint == event.alert])
            case Deploy():
                self._act(FiringAct("deploy", event.at, event.by), self._all())
            case Act():
                act = FiringAct(event.kind, event.at, event.by)
                self._act(act, [it for it in self._all() if _concerns(event, it)])
            case _:
                pass

    def _all(self) -> list[Firing]:
        return list(self._firings.values())

    def _put(self, firing: Firing) -> None:
        self._firings[firing.fingerprint, firing.fired] = firing

    def _alert(self, change: AlertChange) -> None:
        alert = change.alert
        if alert.fired is None:
            return
        for open_one in self._all():
            if open_one.fingerprint == alert.fingerprint and open_one.ended is None and open_one.fired != alert.fired:
                # Its end was never told: a file of alerts that could not be read.
                self._put(replace(open_one, ended=max(open_one.fired, alert.starts), why="its end was not recorded"))
        known = self._firings.get((alert.fingerprint, alert.fired))
        firing = known or Firing(
            alert.name,
            alert.fingerprint,
            alert.labels,
            alert.starts,
            alert.fired,
            month_of(alert.fired, self._zone),
            source=alert.source,
        )
        if alert.acknowledged and firing.acknowledged is None:
            firing = replace(firing, acknowledged=alert.acknowledged.at, acknowledged_by=alert.acknowledged.by)
        if alert.status is AlertStatus.RESOLVED and firing.ended is None:
            firing = replace(firing, ended=alert.ends or change.at, why=change.why)
        self._put(firing)

    def _delivery(self, delivery: Delivery) -> None:
        if delivery.error or delivery.kind not in ANNOUNCING:
            return
        for it in self._all():
            if it.fingerprint in delivery.alerts and it.fired <= delivery.at and it.takes(delivery.at):
                self._put(
                    replace(
                        it,
                        messages=it.messages + 1,
                        pages=it.pages + int(delivery.channel in self._paging),
                        first_message=it.first_message or delivery.at,
                    )
                )

    def _act(self, act: FiringAct, firings: Iterable[Firing]) -> None:
        for it in firings:
            if it.takes(act.at):
                self._put(it.with_act(act))


def _concerns(act: Act, firing: Firing) -> bool:
    if firing.fingerprint in act.alerts:
        return True
    if not act.matchers:
        return False
    try:
        return matches_all(parse_matchers(act.matchers), firing.labels)
    except (ValueError, InvalidCommandError):
        return False
