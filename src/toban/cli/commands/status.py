"""Show the status of the shop, its targets and toban."""

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol

import click

from toban.cli.client import data_option, get, get_within, json_option
from toban.cli.formatting import MARKS, echo, format_status
from toban.core.errors import SettingsError, TobanError

INTERVAL: Final = 2.0
"""Seconds between two views."""

TIMEOUT: Final = 10.0
"""Seconds within which toban must respond to be reachable."""


class Screen(Protocol):
    """Where the views are drawn."""

    def show(self, lines: list[str]) -> None:
        """Draw lines over the last ones."""

    def wait(self, seconds: float) -> bool:
        """Wait; return whether somebody wants to leave."""


@click.command
@click.option("--watch", is_flag=True, help="Show it live, every two seconds; q ends it.")
@data_option
@json_option
def command(watch: bool, data: Path | None, as_json: bool) -> int:
    """Show the status of the shop, its targets and toban; exit 1 when something is wrong."""
    if watch:
        if as_json:
            raise click.UsageError("--watch draws a view for people: it takes no --json.")
        # Imported here: Python has no terminals on some systems, and no other command needs them.
        from toban.cli.live_screen import LiveScreen

        with LiveScreen() as screen:
            watch_status(screen, partial(get_within, TIMEOUT, "/api/status", data), lambda: datetime.now(UTC))
        return 0
    response = get("/api/status", data)
    echo(json.dumps(response, indent=2, ensure_ascii=False) if as_json else format_status(response))
    return 1 if response["state"] == "unhealthy" else 0


def watch_status(screen: Screen, fetch: Callable[[], Mapping[str, Any]], now: Callable[[], datetime]) -> None:
    """Show the status again and again, also while toban is away, until somebody leaves. Raises ``SettingsError``."""
    last: list[str] = []
    away_since: datetime | None = None
    try:
        while True:
            try:
                last, away_since, error = format_status(fetch()).split("\n"), None, ""
            except SettingsError:
                raise
            except TobanError as failure:
                away_since, error = away_since or now(), str(failure)
            head = f"{now():%Y-%m-%d %H:%M:%S} UTC, every {INTERVAL:g} s; q ends"
            away = (
                [f"{MARKS['unhealthy']} not reachable since {away_since:%H:%M:%S} UTC: {error}", ""]
                if away_since
                else []
            )
            screen.show([head, "", *away, *last])
            if screen.wait(INTERVAL):
                return
    except KeyboardInterrupt:
        return  # Ctrl-C ends it, too
