"""Whether a shop has enough events for a service level."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from toban.review.burn_rate import HOUR, burn_windows, events_for_one_failure
from toban.review.service_level import LevelKind, ServiceLevel

USUAL: Final = timedelta(weeks=4)
"""The time from which the number of events an hour is taken."""
TARGETS: Final = (99.9, 99.5, 99.0, 98.0, 95.0, 90.0)
"""Targets that are proposed, in percent."""


def events_an_hour(level: ServiceLevel) -> str:
    """Return a query for the events an hour of the last weeks; for looks, the number itself."""
    if level.kind is LevelKind.LOOKS:
        return f"{HOUR / level.settings.interval:g}"
    return f"{level.total(USUAL)} / {USUAL / HOUR:g}"


def doubts(level: ServiceLevel, events: float) -> Sequence[str]:
    """Return why so many events an hour are too few: where one failure spends the budget too fast, it says little."""
    window, settings = burn_windows(level.settings.period)[0], level.settings
    least = events_for_one_failure(settings.target, window)
    if events >= least:
        return ()
    better = next((it for it in TARGETS if it < settings.target and events_for_one_failure(it, window) <= events), None)
    remedy = f"take {better:g} %, or join services" if better else "join services, or count looks"
    return (
        f"{settings.target:g} % needs at least {least} events an hour, there are {events:.3g}: one bad event counts as"
        f" an outage (alerts wait for {settings.min_bad}, `min_bad`); {remedy}",
    )
