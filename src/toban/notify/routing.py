"""Which channels hear of an alert, and what is told together."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from toban.core.alerts import priority
from toban.core.labels import Labels, quote
from toban.core.matchers import Matcher, matches_all
from toban.notify.matcher_syntax import parse_matchers
from toban.notify.settings import NotifySettings, Route

CHANNELS = "channels"
"""The label by which a rule names the channels of its alerts, separated by commas."""


@dataclass(frozen=True, slots=True)
class GroupTiming:
    """How long a group waits before its first message, between news, and before it is told again."""

    group_wait: timedelta
    group_interval: timedelta
    repeat_interval: timedelta


@dataclass(frozen=True, slots=True)
class CompiledRoute:
    """One route, ready to be taken."""

    matchers: Sequence[Matcher]
    channels: tuple[str, ...]
    group_by: tuple[str, ...]
    timing: GroupTiming
    goes_on: bool
    name: str


@dataclass(frozen=True, slots=True)
class Destination:
    """Where an alert goes: to some channels, together with those of the same key."""

    channels: tuple[str, ...]
    group: Labels
    timing: GroupTiming
    why: str

    @property
    def key(self) -> str:
        """What tells a group from others: in words, for people and machines."""
        labels = ",".join(f"{name}={quote(value)}" for name, value in self.group.items())
        return f"{{{labels}}} to {','.join(self.channels) or 'nobody'}"


class Routing:
    """
    Decides where alerts go.

    1. The first route that fits, and those below it while it says so.
    2. The alert's own label ``channels``.
    3. By its severity: what is critical to every channel, the rest to those that wake nobody.

    A channel that is not there is passed over. What is most urgent (P1) also goes to those that wake somebody.
    """

    def __init__(self, settings: NotifySettings, channels: Mapping[str, bool]) -> None:
        """``channels`` are those there are, each with whether it wakes somebody."""
        self._channels = channels
        self._usual = GroupTiming(settings.group_wait, settings.group_interval, settings.repeat_interval)
        self._group_by = settings.group_by
        self._ways = [self._way(route, place) for place, route in enumerate(settings.routes, 1)]

    def _way(self, route: Route, place: int) -> CompiledRoute:
        usual = self._usual
        timing = GroupTiming(
            route.group_wait or usual.group_wait,
            route.group_interval or usual.group_interval,
            route.repeat_interval or usual.repeat_interval,
        )
        return CompiledRoute(
            parse_matchers(route.matchers), route.channels, route.group_by, timing, route.goes_on, f"route {place}"
        )

    def route(self, labels: Labels) -> list[Destination]:
        """Return where an alert with these labels goes; to one place or several."""
        taken = []
        for way in self._ways:
            if matches_all(way.matchers, labels):
                taken.append(self._taken(way.channels, way.group_by, way.timing, labels, way.name))
                if not way.goes_on:
                    return taken
        return taken or [self._by_itself(labels)]

    def _by_itself(self, labels: Labels) -> Destination:
        named = tuple(filter(None, (name.strip() for name in labels.get(CHANNELS, "").split(","))))
        if any(name in self._channels for name in named):
            return self._taken(named, self._group_by, self._usual, labels, "its label `channels`")
        severity = labels.get("severity", "warning")
        everybody = severity == "critical"
        channels = tuple(name for name, pages in self._channels.items() if everybody or not pages)
        return self._taken(
            channels or tuple(self._channels), self._group_by, self._usual, labels, f"its severity {severity}"
        )

    def _taken(
        self, channels: Collection[str], group_by: Sequence[str], timing: GroupTiming, labels: Labels, why: str
    ) -> Destination:
        there = [name for name in channels if name in self._channels]
        if there and priority(labels) == "P1":
            there += [name for name, pages in self._channels.items() if pages and name not in there]
        group = labels if "..." in group_by else labels.keep(*group_by)
        return Destination(tuple(dict.fromkeys(there)), group, timing, why)


def unknown_channels(settings: NotifySettings, channels: Collection[str]) -> list[str]:
    """Return what settings say of channels that are not there."""
    said = [("notify.fallback", settings.fallback)] if settings.fallback else []
    for place, route in enumerate(settings.routes):
        said += [(f"notify.routes[{place}].channels", name) for name in route.channels]
    said += [("notify.drill.channels", name) for name in settings.drill.channels]
    there = f"there are {', '.join(sorted(channels))}" if channels else "there is none"
    return [f"{where}: {name!r} is no channel: {there}" for where, name in said if name not in channels]
