"""Silences: alerts that somebody wants no notifications of, for a time."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from toban.core.matchers import Matcher


@dataclass(frozen=True, slots=True)
class Silence:
    """Matchers, and the time in which alerts that meet all of them send no notifications."""

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
        """Use everything that is ever used of it; what is wrong with it raises here."""
        self.active(now)
        for matcher in self.matchers:
            matcher.accepts("")
        for text in (self.id, self.by, self.comment):
            text.encode()

    def may_become(self, changed: "Silence", now: datetime) -> bool:
        """
        Tell whether a change keeps the id, as in Alertmanager: the same matchers; the same start where it has begun.

        https://github.com/prometheus/alertmanager/blob/main/silence/silence.go (canUpdate)
        """
        if self.matchers != changed.matchers or self.ends <= now:
            return False
        if self.active(now):
            return int(self.starts.timestamp()) == int(changed.starts.timestamp())
        return changed.starts >= now

    def ends_soon(self, now: datetime, notice: timedelta) -> bool:
        """Tell whether it holds now and will soon end."""
        return self.active(now) and self.ends - now <= notice

    def matchers_text(self) -> str:
        """Return the matchers as people write them."""
        return ", ".join(map(str, self.matchers))
