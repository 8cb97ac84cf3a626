"""What holds a message back: silences, windows, and alerts that explain others."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from cronsim import CronSim

from toban.core.alerts import Alert, Status
from toban.core.labels import Labels
from toban.core.matching import Matcher, matches
from toban.notify.matching import matchers
from toban.notify.settings import Inhibition, NotifySettings, Window


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

    def says(self) -> str:
        """Return it in words."""
        return ", ".join(map(str, self.matchers))


@dataclass(frozen=True, slots=True)
class Opened:
    """One time that a window is open."""

    name: str
    starts: datetime
    ends: datetime
    matchers: Sequence[Matcher]


@dataclass(frozen=True, slots=True)
class Rule:
    """What holds what back, ready to be asked."""

    source: Sequence[Matcher]
    target: Sequence[Matcher]
    equal: tuple[str, ...]


class Windows:
    """The times in which some alerts are not told, by a schedule in a time zone."""

    def __init__(self, settings: NotifySettings) -> None:
        self._windows = [
            (it, ZoneInfo(it.timezone or settings.timezone), matchers(it.match)) for it in settings.windows
        ]

    def open(self, now: datetime) -> list[Opened]:
        """Return the windows that are open."""
        return [
            Opened(window.name, starts, starts + window.lasts, conditions)
            for window, zone, conditions in self._windows
            if (starts := began(window, zone, now)) is not None
        ]

    def next_change(self, now: datetime) -> datetime | None:
        """Return when a window opens or closes next."""
        times = [opened.ends for opened in self.open(now)]
        times += [opens(window, zone, now) for window, zone, _ in self._windows]
        return min(times, default=None)


def began(window: Window, zone: ZoneInfo, now: datetime) -> datetime | None:
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


def opens(window: Window, zone: ZoneInfo, now: datetime) -> datetime:
    """Return when a window is opened next."""
    return next(iter(CronSim(window.cron, now.astimezone(zone)))).astimezone(UTC)


class Inhibiting:
    """Which alerts explain which others."""

    def __init__(self, rules: Iterable[Inhibition]) -> None:
        self._rules = [Rule(matchers(it.source), matchers(it.target), it.equal) for it in rules]

    def held_back(self, alerts: Mapping[str, Alert]) -> dict[str, str]:
        """
        Return which of the alerts that fire are held back, and by which: fingerprints.

        An alert that meets both sides of a rule is not held back by one that does so too, itself included.
        """
        firing = {name: alert for name, alert in alerts.items() if alert.status is Status.FIRING}
        held: dict[str, str] = {}
        for rule in self._rules:
            sources = [(name, alert.labels) for name, alert in firing.items() if matches(rule.source, alert.labels)]
            if not sources:
                continue
            for name, alert in firing.items():
                if name not in held and matches(rule.target, alert.labels):
                    both = matches(rule.source, alert.labels)
                    for source in _explaining(rule, sources, alert.labels, both=both):
                        if source != name:
                            held[name] = source
                            break
        return held


def _explaining(rule: Rule, sources: Iterable[tuple[str, Labels]], labels: Labels, *, both: bool) -> Iterator[str]:
    for name, source in sources:
        if both and matches(rule.target, source):
            continue
        if all(source.get(label, "") == labels.get(label, "") for label in rule.equal):
            yield name


def ending(silences: Iterable[Silence], now: datetime, notice: timedelta) -> list[Silence]:
    """Return the silences that hold now and will soon end."""
    return [silence for silence in silences if silence.active(now) and silence.ends - now <= notice]
