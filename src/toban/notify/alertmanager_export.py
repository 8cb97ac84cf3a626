"""Exports routes and channels as a configuration of Alertmanager, as far as it supports them."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from cronsim import CronSim
from pydantic import SecretStr

from toban.core.alerts import ALERTNAME, PRIORITIES, PRIORITY_OF_NAME
from toban.core.config_types import format_duration as length
from toban.core.labels import quote
from toban.core.matcher_syntax import parse_matchers
from toban.notify.channel import AlertmanagerReceiver, Channel, SecretFile
from toban.notify.default_inhibitions import INHIBITIONS
from toban.notify.routing import CHANNELS
from toban.notify.settings import NotifySettings, Window

NOBODY: Final = "nobody"
DAY: Final = timedelta(days=1)
EVERY_DAY: Final = frozenset(range(1, 32))
EVERY_MONTH: Final = frozenset(range(1, 13))
EVERY_WEEKDAY: Final = frozenset(range(7))
WEEKDAYS: Final = ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")

# The conditions of `core.alerts.priority`, each of which makes an alert P1.
_ANY: Final = "|".join(PRIORITIES)
_P1_NAMES: Final = "|".join(sorted(name for name, priority in PRIORITY_OF_NAME.items() if priority == "P1"))
URGENT: Final = (
    ('priority=~"(?i)P1"',),
    (f'priority!~"(?i){_ANY}"', 'severity="critical"'),
    (f'priority!~"(?i){_ANY}"', f'{ALERTNAME}=~"{_P1_NAMES}"'),
)


@dataclass
class AlertmanagerConfig:
    """A configuration, the files with its secrets, and what Alertmanager does not support."""

    settings: dict[str, Any] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)


def alertmanager(
    settings: NotifySettings, channels: Mapping[str, Channel], labelled: Collection[str], folder: str = "secrets"
) -> AlertmanagerConfig:
    """
    Return the configuration with which Alertmanager notifies the same people.

    ``labelled`` are the values of the label ``channels`` in the rules. Secrets go to files in ``folder``.
    """
    found = AlertmanagerConfig(lost=["flap detection and the fallback channel are toban's own"])

    def secret_file(name: str, secret: SecretStr) -> str:
        found.secrets[name] = secret.get_secret_value()
        return f"{folder}/{name}"

    receivers = dict(_receivers(channels, secret_file, found))
    tree = _RouteTree(settings, {name: channels[name].pages for name in receivers})
    for window in settings.maintenance_windows:
        tree.mute(window, found)
    routes = list(tree.routes(sorted(labelled)))
    found.settings = {
        "route": {"receiver": NOBODY, **tree.grouping(settings.group_by), "routes": routes},
        "receivers": [{"name": NOBODY}, *(_receiver(names, receivers) for names in sorted(tree.used))],
        "inhibit_rules": [
            {
                "source_matchers": [_matcher(text) for text in rule.source_matchers],
                "target_matchers": [_matcher(text) for text in rule.target_matchers],
                **({"equal": list(rule.equal)} if rule.equal else {}),
            }
            for rule in (*INHIBITIONS, *settings.inhibit)
        ],
    }
    if tree.times:
        found.settings["time_intervals"] = tree.times
    return found


def _receivers(
    channels: Mapping[str, Channel], secret_file: SecretFile, found: AlertmanagerConfig
) -> Iterator[tuple[str, AlertmanagerReceiver]]:
    for name, channel in channels.items():
        receiver = channel.receiver(secret_file)
        if receiver is None:
            found.lost.append(f"{name}: Alertmanager has no receiver like {channel.kind}")
            continue
        if receiver.lost:
            found.lost.append(f"{name}: {receiver.lost}")
        yield name, receiver


def _receiver(names: Sequence[str], receivers: Mapping[str, AlertmanagerReceiver]) -> dict[str, Any]:
    parts: dict[str, Any] = {"name": "+".join(names)}
    for name in names:
        receiver = receivers[name]
        parts.setdefault(receiver.sort, []).append({"send_resolved": True, **receiver.settings})
    return parts


def _matcher(text: str) -> str:
    """Return matchers as every version of Alertmanager reads them: with quoted values."""
    return ", ".join(map(str, parse_matchers([text])))


class _RouteTree:
    """Builds the routes that `routing.Routing` follows."""

    def __init__(self, settings: NotifySettings, channels: Mapping[str, bool]) -> None:
        self._settings = settings
        self._channels = channels
        self.used: set[tuple[str, ...]] = set()
        self.times: list[dict[str, Any]] = []

    def grouping(self, group_by: Sequence[str], route: Any = None) -> dict[str, Any]:
        """Return the grouping and the intervals of a route."""
        default = self._settings
        return {
            "group_by": list(group_by),
            "group_wait": length((route and route.group_wait) or default.group_wait),
            "group_interval": length((route and route.group_interval) or default.group_interval),
            "repeat_interval": length((route and route.repeat_interval) or default.repeat_interval),
        }

    def mute(self, window: Window, found: AlertmanagerConfig) -> None:
        """Add a window, if it can be written as time intervals."""
        zone = window.timezone or self._settings.timezone
        times = None if window.matchers else intervals(window, zone)
        if times is None:
            why = "it has matchers" if window.matchers else "its schedule has no equivalent"
            found.lost.append(f"window {window.name}: {why}")
        else:
            self.times.append({"name": window.name, "time_intervals": times})

    def routes(self, labelled: Iterable[str]) -> Iterator[dict[str, Any]]:
        """Return all routes below the root, in the order in which they are tried."""
        continuing = [route for route in self._settings.routes if route.goes_on]
        for route in self._settings.routes:
            more = {"continue": True} if route.goes_on else {}
            yield self._route(route.matchers, route.channels, {**self.grouping(route.group_by, route), **more})
        # Alerts that a continuing route matched don't go on to the default routes.
        for route in continuing:
            yield self._with_matchers({"receiver": NOBODY}, route.matchers)
        for value in labelled:
            names = [name.strip() for name in value.split(",")]
            if any(name in self._channels for name in names):
                yield self._route([f"{CHANNELS}={quote(value)}"], names, {})
        quiet = [name for name, pages in self._channels.items() if not pages] or list(self._channels)
        yield self._route(['severity="critical"'], list(self._channels), {})
        yield self._route([], quiet, {})

    def _route(self, match: Sequence[str], channels: Iterable[str], more: Mapping[str, Any]) -> dict[str, Any]:
        known = list(dict.fromkeys(name for name in channels if name in self._channels))
        muted = {"mute_time_intervals": [it["name"] for it in self.times]} if self.times else {}
        route = self._with_matchers({"receiver": self._receiver_name(known), **more, **muted}, match)
        paging = [name for name, pages in self._channels.items() if pages and name not in known]
        if known and paging:
            urgent = self._receiver_name([*known, *paging])
            route["routes"] = [self._with_matchers({"receiver": urgent, **muted}, conditions) for conditions in URGENT]
        return route

    def _with_matchers(self, route: dict[str, Any], match: Sequence[str]) -> dict[str, Any]:
        return {**({"matchers": [_matcher(text) for text in match]} if match else {}), **route}

    def _receiver_name(self, channels: Sequence[str]) -> str:
        if not channels:
            return NOBODY
        self.used.add(tuple(channels))
        return "+".join(channels)


def intervals(window: Window, zone: str) -> list[dict[str, Any]] | None:
    """
    Return a window as time intervals of Alertmanager; nothing where it has no equivalent.

    Its intervals are within one day: a window that lasts for days has no equivalent, and one over midnight only where
    it opens on days of the week.
    """
    cron = CronSim(window.cron, datetime(2026, 1, 1, tzinfo=UTC))
    days = {weekday % 7 for weekday in cron.weekdays if isinstance(weekday, int)}
    plain = cron.days <= EVERY_DAY and len(days) == len({*map(str, cron.weekdays)} - {"7"})
    starts = [timedelta(hours=hour, minutes=minute) for hour in sorted(cron.hours) for minute in sorted(cron.minutes)]
    over_midnight = any(start + window.lasts > DAY for start in starts)
    by_date = cron.days != EVERY_DAY or cron.months != EVERY_MONTH
    both = cron.days != EVERY_DAY and days != EVERY_WEEKDAY
    if not plain or both or len(starts) > len(WEEKDAYS) or window.lasts > DAY or (over_midnight and by_date):
        return None
    found = []
    for start in starts:
        ends = start + window.lasts
        found.append(_interval(cron, days, start, min(ends, DAY), zone))
        if ends > DAY:
            found.append(_interval(cron, {(day + 1) % 7 for day in days}, timedelta(), ends - DAY, zone))
    return found


def _interval(cron: CronSim, days: set[int], start: timedelta, end: timedelta, zone: str) -> dict[str, Any]:
    parts: dict[str, Any] = {"times": [{"start_time": _clock(start), "end_time": _clock(end)}], "location": zone}
    if days != EVERY_WEEKDAY:
        parts["weekdays"] = [WEEKDAYS[day] for day in sorted(days)]
    if cron.days != EVERY_DAY:
        parts["days_of_month"] = [str(day) for day in sorted(cron.days)]
    if cron.months != EVERY_MONTH:
        parts["months"] = [str(month) for month in sorted(cron.months)]
    return parts


def _clock(at: timedelta) -> str:
    hours, minutes = divmod(int(at.total_seconds()) // 60, 60)
    return f"{hours:02}:{minutes:02}"
