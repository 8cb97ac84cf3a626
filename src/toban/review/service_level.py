"""A service level: how its events are counted, in PromQL."""

import re
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from fractions import Fraction
from typing import Final

from toban.core.config_types import format_duration
from toban.promql import parser
from toban.review import burn_rate
from toban.review.metric_families import LEVEL, LOOKS
from toban.review.settings import ServiceLevelSettings

SERVICE: Final = "shop"


class LevelKind(StrEnum):
    """What a service level counts."""

    LOOKS = "looks"
    EVENTS = "events"
    DURATIONS = "durations"


@dataclass(frozen=True, slots=True)
class ServiceLevel:
    """A service level by its name."""

    name: str
    settings: ServiceLevelSettings

    @property
    def kind(self) -> LevelKind:
        """What it counts."""
        if self.settings.histogram:
            return LevelKind.DURATIONS
        return LevelKind.EVENTS if self.settings.bad else LevelKind.LOOKS

    @property
    def budget(self) -> Fraction:
        """The share of events that may be bad."""
        return burn_rate.budget(self.settings.target)

    @property
    def labels(self) -> dict[str, str]:
        """The labels of its series, by Sloth's names."""
        return {"sloth_id": f"{SERVICE}-{self.name}", "sloth_service": SERVICE, LEVEL: self.name}

    def series(self, metric: str) -> str:
        """Return the selector of one of its series."""
        return f'{metric}{{sloth_id="{SERVICE}-{self.name}"}}'

    @property
    def observed(self) -> str:
        """A query that has a value while what it reads is there."""
        it = self.settings
        if it.histogram:
            return f"count({_part(it.histogram, '_count')}) > bool 0"
        if it.bad and it.total:
            return f"count({it.total}) > bool 0"
        if it.bad:
            return f"(count({it.good}) or count({it.bad})) > bool 0"
        (comparison,) = parser.comparisons(str(it.good))
        return f"count({comparison.left}) > bool 0"

    @property
    def look(self) -> str:
        """A query for one look: 1 where all series are good, 0 otherwise."""
        (comparison,) = parser.comparisons(str(self.settings.good))
        return f"min({comparison.left} {comparison.operator} bool {comparison.right})"

    def total(self, window: timedelta) -> str:
        """Return a query for all events in a window; it has no value where none were counted ever."""
        it, span = self.settings, format_duration(window)
        if it.histogram:
            return f"sum(increase({_part(it.histogram, '_count')}[{span}]))"
        if it.total:
            return f"sum(increase({it.total}[{span}]))"
        if it.bad:
            good, bad = f"sum(increase({it.good}[{span}]))", f"sum(increase({it.bad}[{span}]))"
            return f"(({good} or 0 * {bad}) + ({bad} or 0 * {good}))"
        return f"sum(count_over_time({self.series(LOOKS.name)}[{span}]))"

    def bad(self, window: timedelta) -> str:
        """Return a query for the bad events in a window; 0 where there were only good ones."""
        it, span = self.settings, format_duration(window)
        if it.histogram:
            return f"({self.total(window)} - sum(increase({self._bucket}[{span}])))"
        if it.bad:
            total = self.total(window) if it.total else f"sum(increase({it.good}[{span}]))"
            return f"(sum(increase({it.bad}[{span}])) or 0 * {total})"
        return f"({self.total(window)} - sum(sum_over_time({self.series(LOOKS.name)}[{span}])))"

    @property
    def bucket(self) -> str:
        """A query that has a value if the histogram has the bucket that counts what is good; empty for other kinds."""
        return f"count({self._bucket})" if self.settings.histogram else ""

    @property
    def _bucket(self) -> str:
        bound = _bound(self.settings.below or 0)
        return _part(str(self.settings.histogram), "_bucket", f'le=~"{bound}"')


def _part(histogram: str, suffix: str, matcher: str = "") -> str:
    """Return the selector of a part of a histogram, with one matcher more."""
    name, brace, matchers = histogram.partition("{")
    inside = matchers.rstrip().removesuffix("}").strip().rstrip(",") if brace else ""
    found = ", ".join(filter(None, (inside, matcher)))
    return f"{name.strip()}{suffix}" + (f"{{{found}}}" if found else "")


def _bound(below: float) -> str:
    """Return a pattern for a bound as exporters write it: `1` or `1.0`."""
    text = re.escape(f"{below:g}").replace("\\", "\\\\")
    return text if "." in text or "e" in text else f"{text}|{text}\\\\.0"
