"""What holds a message back: silences, windows, and alerts that explain others."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from cronsim import CronSim

from toban.core.alerts import Alert, AlertStatus
from toban.core.item_isolation import NOT_ISOLATED, ItemIsolation
from toban.core.matchers import Matcher, matches_all
from toban.notify.matcher_syntax import parse_matchers
from toban.notify.settings import Inhibition, NotifySettings, Window

LATE: Final = timedelta(minutes=1)
"""How much later than a cause the last of its effects may be seen: an interval of collection, one of evaluation."""


@dataclass(frozen=True, slots=True)
class Silence:
    """Somebody's wish not to hear of some alerts for a time."""

    id: str
    matchers: tuple[Matcher, ...]
    starts: datetime
    ends: datetime
    by: str
    comment: str
    updated: datetime

    def active(self, now: datetime) -> bool:
        """Whether it holds now."""
        return self.starts <= now < self.ends

    def check(self, now: datetime) -> None:
        """Ask all that is ever asked of it; what is wrong with it raises here."""
        self.active(now)
        for condition in self.matchers:
            condition.accepts("")
        for text in (self.id, self.by, self.comment):
            text.encode()

    def may_become(self, changed: "Silence", now: datetime) -> bool:
        """
        Tell whether a change keeps its id, as in Alertmanager: the same matchers; the same start where it has begun.

        https://github.com/prometheus/alertmanager/blob/main/silence/silence.go (canUpdate)
        """
        if self.matchers != changed.matchers or self.ends <= now:
            return False
        if self.active(now):
            return int(self.starts.timestamp()) == int(changed.starts.timestamp())
        return changed.starts >= now

    def says(self) -> str:
        """Return it in words."""
        return ", ".join(map(str, self.matchers))


@dataclass(frozen=True, slots=True)
class OpenWindow:
    """One time that a window is open."""

    name: str
    starts: datetime
    ends: datetime
    matchers: Sequence[Matcher]


@dataclass(frozen=True, slots=True)
class InhibitRule:
    """What holds what back, ready to be asked."""

    source: Sequence[Matcher]
    target: Sequence[Matcher]
    equal: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Inhibited:
    """By what an alert is inhibited (a fingerprint), and until when; nothing while that isn't known."""

    source: str
    until: datetime | None = None


class MaintenanceWindows:
    """The times in which some alerts are not told, by a schedule in a time zone."""

    def __init__(self, settings: NotifySettings) -> None:
        self._windows = [
            (it, ZoneInfo(it.timezone or settings.timezone), parse_matchers(it.matchers))
            for it in settings.maintenance_windows
        ]

    def open(self, now: datetime, isolation: ItemIsolation = NOT_ISOLATED) -> list[OpenWindow]:
        """Return the windows that are open."""
        found = []
        for window, zone, conditions in self._windows:
            with isolation.item("window", window.name):
                starts = opened_at(window, zone, now)
                if starts is not None:
                    found.append(OpenWindow(window.name, starts, starts + window.lasts, conditions))
        return found

    def next_change(self, now: datetime, isolation: ItemIsolation = NOT_ISOLATED) -> datetime | None:
        """Return when a window opens or closes next."""
        times = [opened.ends for opened in self.open(now, isolation)]
        for window, zone, _ in self._windows:
            with isolation.item("window", window.name):
                times.append(next_opening(window, zone, now))
        return min(times, default=None)


def opened_at(window: Window, zone: ZoneInfo, now: datetime) -> datetime | None:
    """
    Return when a window was opened that is open now; nothing when it is closed.

    It is open for its whole length on a clock that never jumps, and is opened once where the clock strikes twice.
    """
    local = (now - window.lasts).astimezone(zone)
    for opening in CronSim(window.cron, local):
        at = opening.astimezone(UTC)
        if at > now:
            return None
        if now < at + window.lasts:
            return at
    return None


def next_opening(window: Window, zone: ZoneInfo, now: datetime) -> datetime:
    """Return when a window is opened next."""
    return next(iter(CronSim(window.cron, now.astimezone(zone)))).astimezone(UTC)


class Inhibitor:
    """Which alerts explain which others."""

    def __init__(self, rules: Iterable[Inhibition]) -> None:
        self._rules = [
            InhibitRule(parse_matchers(it.source_matchers), parse_matchers(it.target_matchers), it.equal)
            for it in rules
        ]

    def inhibited(
        self,
        alerts: Mapping[str, Alert],
        now: datetime,
        untold: frozenset[str] = frozenset(),
        isolation: ItemIsolation = NOT_ISOLATED,
    ) -> dict[str, Inhibited]:
        """
        Return which of the alerts that fire are inhibited: by fingerprint.

        1. What fires inhibits, and so does what is over as long as nobody was told of its end (``untold``).
        2. After that it inhibits what began before its end, for the length of that alert's own window: a rate over five
           minutes is high for five minutes more.

        An alert that meets both sides of a rule is not inhibited by one that does so too, itself included.
        """
        held: dict[str, Inhibited] = {}
        for rule in self._rules:
            sources: dict[str, Alert] = {}
            for name, alert in alerts.items():
                with isolation.item("alert", name):
                    if matches_all(rule.source, alert.labels):
                        sources[name] = alert
            for name, alert in alerts.items() if sources else ():
                with isolation.item("alert", name):
                    if (
                        alert.status is AlertStatus.FIRING
                        and name not in held
                        and matches_all(rule.target, alert.labels)
                    ):
                        found = [
                            Inhibited(source, _until(alerts[source], alert, untold=source in untold))
                            for source in _explaining(rule, sources, name, alert)
                        ]
                        by = next((it for it in found if it.until is None or now < it.until), None)
                        if by is not None:
                            held[name] = by
        return held


def _until(source: Alert, target: Alert, *, untold: bool) -> datetime | None:
    if source.status is AlertStatus.FIRING or untold or source.ends is None:
        return None
    began_meanwhile = target.starts <= source.ends + LATE
    return source.ends + target.window + LATE if began_meanwhile else source.ends


def _explaining(rule: InhibitRule, sources: Mapping[str, Alert], name: str, target: Alert) -> Iterator[str]:
    for other, source in sources.items():
        if other == name or (name in sources and matches_all(rule.target, source.labels)):
            continue
        if all(source.labels.get(label, "") == target.labels.get(label, "") for label in rule.equal):
            yield other


def ends_soon(silence: Silence, now: datetime, notice: timedelta) -> bool:
    """Tell whether a silence holds now and will soon end."""
    return silence.active(now) and silence.ends - now <= notice
