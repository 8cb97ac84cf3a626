"""Maintenance windows: recurring times in which some alerts send no notifications."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice, takewhile
from typing import Final
from zoneinfo import ZoneInfo

from toban.core.item_isolation import NOT_ISOLATED, ItemIsolation
from toban.core.matcher_syntax import parse_matchers
from toban.core.matchers import Matcher
from toban.core.schedule import next_occurrence, occurrences
from toban.notify.settings import NotifySettings, Window

MAX_OCCURRENCES: Final = 5_000
"""How often a window may open between two times; what comes after that is left out."""


@dataclass(frozen=True, slots=True)
class OpenWindow:
    """A window that is open now."""

    name: str
    starts: datetime
    ends: datetime
    matchers: Sequence[Matcher]


class MaintenanceWindows:
    """The windows of the settings, each on its cron schedule in a time zone."""

    def __init__(self, settings: NotifySettings) -> None:
        self._windows = [
            (it, ZoneInfo(it.timezone or settings.timezone), parse_matchers(it.matchers))
            for it in settings.maintenance_windows
        ]

    def open(self, now: datetime, isolation: ItemIsolation = NOT_ISOLATED) -> list[OpenWindow]:
        """Return the windows that are open."""
        found = []
        for window, zone, matchers in self._windows:
            with isolation.item("window", window.name):
                starts = opened_at(window, zone, now)
                if starts is not None:
                    found.append(OpenWindow(window.name, starts, starts + window.lasts, matchers))
        return found

    def between(self, begins: datetime, ends: datetime) -> list[tuple[datetime, datetime]]:
        """Return when windows were open between two times, each with its beginning and end, by their beginnings."""
        found = []
        for window, zone, _ in self._windows:
            times = takewhile(lambda at: at < ends, occurrences(window.cron, zone, begins - window.lasts))
            found += [(at, at + window.lasts) for at in islice(times, MAX_OCCURRENCES)]
        return sorted(found)

    def next_change(self, now: datetime, isolation: ItemIsolation = NOT_ISOLATED) -> datetime | None:
        """Return when a window opens or closes next."""
        times = [window.ends for window in self.open(now, isolation)]
        for window, zone, _ in self._windows:
            with isolation.item("window", window.name):
                times.append(next_occurrence(window.cron, zone, now))
        return min(times, default=None)


def opened_at(window: Window, zone: ZoneInfo, now: datetime) -> datetime | None:
    """
    Return when a window opened that is open now; nothing when it is closed.

    It stays open for its whole duration of elapsed time, and opens once where local time occurs twice.
    """
    for at in occurrences(window.cron, zone, now - window.lasts):
        if at > now:
            return None
        if now < at + window.lasts:
            return at
    return None
