"""Routing: which channels an alert is sent to, and which alerts are sent together."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from toban.core.alerts import priority
from toban.core.labels import Labels, quote
from toban.core.matcher_syntax import parse_matchers
from toban.core.matchers import Matcher, matches_all
from toban.notify.settings import NotifySettings, Route

CHANNELS: Final = "channels"
"""The label by which a rule names the channels of its alerts, separated by commas."""

CACHE_SIZE: Final = 10_000
"""How many label sets are remembered with their destinations."""


@dataclass(frozen=True, slots=True)
class GroupTiming:
    """The intervals of a group: before its first notification, between notifications, and before it is repeated."""

    group_wait: timedelta
    group_interval: timedelta
    repeat_interval: timedelta


@dataclass(frozen=True, slots=True)
class CompiledRoute:
    """A route with its matchers parsed."""

    matchers: Sequence[Matcher]
    channels: tuple[str, ...]
    group_by: tuple[str, ...]
    timing: GroupTiming
    is_continuing: bool
    name: str


@dataclass(frozen=True, slots=True)
class Destination:
    """Where an alert goes: to some channels, in the group of this key."""

    channels: tuple[str, ...]
    group_labels: Labels
    timing: GroupTiming
    why: str
    key: str
    """Identifies the group among others, readable for people."""


class Routing:
    """
    Decides where alerts go.

    1. The first route that matches, and those below it while it says ``continue``.
    2. The alert's own label ``channels``.
    3. By severity: critical alerts go to every channel, the rest to those that page nobody.

    Channels that are not configured are skipped. What is most urgent (P1) also goes to the channels that page.
    Channels of one person alone (``personal``) are only used where they are named: escalations of incidents reach them.
    Where all are personal, those that page nobody are used as well.
    """

    def __init__(self, settings: NotifySettings, channels: Mapping[str, bool], personal: Collection[str] = ()) -> None:
        """``channels`` are the configured ones, each with whether it pages somebody."""
        self._channels = channels
        shared = {name: pages for name, pages in channels.items() if name not in personal}
        quiet = {name: pages for name, pages in channels.items() if not pages}
        self._shared = shared or quiet or channels
        self._timing = GroupTiming(settings.group_wait, settings.group_interval, settings.repeat_interval)
        self._group_by = settings.group_by
        self._routes = [self._compile(route, place) for place, route in enumerate(settings.routes, 1)]
        self._cache: dict[Labels, list[Destination]] = {}

    def _compile(self, route: Route, place: int) -> CompiledRoute:
        default = self._timing
        timing = GroupTiming(
            route.group_wait or default.group_wait,
            route.group_interval or default.group_interval,
            route.repeat_interval or default.repeat_interval,
        )
        return CompiledRoute(
            parse_matchers(route.matchers), route.channels, route.group_by, timing, route.goes_on, f"route {place}"
        )

    def route(self, labels: Labels) -> list[Destination]:
        """Return where an alert with these labels goes: one destination or several."""
        found = self._cache.get(labels)
        if found is None:
            if len(self._cache) >= CACHE_SIZE:
                self._cache.clear()
            found = self._cache[labels] = self._route(labels)
        return found

    def _route(self, labels: Labels) -> list[Destination]:
        found = []
        for route in self._routes:
            if matches_all(route.matchers, labels):
                found.append(self._destination(route.channels, route.group_by, route.timing, labels, route.name))
                if not route.is_continuing:
                    return found
        return found or [self._default(labels)]

    def _default(self, labels: Labels) -> Destination:
        named = tuple(filter(None, (name.strip() for name in labels.get(CHANNELS, "").split(","))))
        if any(name in self._channels for name in named):
            return self._destination(named, self._group_by, self._timing, labels, "its label `channels`")
        severity = labels.get("severity", "warning")
        channels = tuple(name for name, pages in self._shared.items() if severity == "critical" or not pages)
        return self._destination(
            channels or tuple(self._shared), self._group_by, self._timing, labels, f"its severity {severity}"
        )

    def _destination(
        self, channels: Collection[str], group_by: Sequence[str], timing: GroupTiming, labels: Labels, why: str
    ) -> Destination:
        chosen = [name for name in channels if name in self._channels]
        if chosen and priority(labels) == "P1":
            chosen += [name for name, pages in self._shared.items() if pages and name not in chosen]
        chosen = list(dict.fromkeys(chosen))
        group_labels = labels if "..." in group_by else labels.keep(*group_by)
        text = ",".join(f"{name}={quote(value)}" for name, value in group_labels.items())
        key = f"{{{text}}} to {','.join(chosen) or 'nobody'}"
        return Destination(tuple(chosen), group_labels, timing, why, key)


def unknown_channels(settings: NotifySettings, channels: Collection[str]) -> list[str]:
    """Return what settings say of channels that are not configured."""
    named = [("notify.fallback", settings.fallback)] if settings.fallback else []
    for place, route in enumerate(settings.routes):
        named += [(f"notify.routes[{place}].channels", name) for name in route.channels]
    named += [("notify.drill.channels", name) for name in settings.drill.channels]
    known = f"configured are {', '.join(sorted(channels))}" if channels else "none is configured"
    return [f"{where}: unknown channel {name!r}: {known}" for where, name in named if name not in channels]
