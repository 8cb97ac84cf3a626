"""The live status."""

import itertools
from datetime import UTC, datetime, timedelta

import pytest

from toban.cli.commands.status import watch_status
from toban.core.errors import SettingsError, TobanError

STATUS = {
    "state": "healthy",
    "notified": True,
    "version": "1",
    "pages": "http://x",
    "alerts": [],
    "targets": [],
    "figures": [],
    "not_monitored": [],
    "health": [],
    "unavailable_checks": [],
    "services": [],
}
AWAY = TobanError("can't reach toban at x")


class Screen:
    """Keeps what is drawn, and leaves after so many views."""

    def __init__(self, views: int) -> None:
        self.views: list[list[str]] = []
        self._most = views

    def show(self, lines: list[str]) -> None:
        self.views.append(lines)

    def wait(self, seconds: float) -> bool:
        return len(self.views) == self._most


def watched(*responses: object) -> list[list[str]]:
    screen, left = Screen(len(responses)), iter(responses)
    ticks = itertools.count()

    def fetch():
        response = next(left)
        if isinstance(response, BaseException):
            raise response
        return response

    watch_status(screen, fetch, lambda: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=next(ticks)))
    return screen.views


def test_the_status_is_drawn_again_and_again_until_somebody_leaves():
    """
    With the time; Ctrl-C ends it, too.
    """
    first, second = watched(STATUS, STATUS)
    assert first[0].startswith("2026-01-01 00:00:00 UTC")
    assert second[0].startswith("2026-01-01 00:00:01 UTC")
    assert "● healthy" in first[2]
    assert len(watched(STATUS, KeyboardInterrupt())) == 1


def test_a_restart_of_toban_is_survived():
    """
    The last status stays, below since when toban can't be reached.
    """
    _, away, longer, back = watched(STATUS, AWAY, AWAY, STATUS)
    assert away[2] == "▲ not reachable since 00:00:01 UTC: can't reach toban at x"
    assert longer[2] == away[2]
    assert "● healthy" in away[4]
    assert "● healthy" in back[2]


def test_a_mistake_in_the_configuration_ends_it():
    with pytest.raises(SettingsError):
        watched(SettingsError("TOBAN_URL: invalid"))
