"""The true incidents of the past, by the incident book and by what was done about firings."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from toban.core.incident_record import IncidentRecord
from toban.core.text_limits import one_line
from toban.review.firing import Firing

EARLY: Final = timedelta(minutes=15)
"""How much earlier than an incident a firing still finds it."""
REAL: Final = frozenset({"runbook", "note"})
"""Acts that say that a firing was about a true incident; a silence may say that it was not."""
MOST_INCIDENTS: Final = 1_000
TITLE_LENGTH: Final = 100


@dataclass(frozen=True, slots=True)
class TrueIncident:
    """
    A time in which something was wrong.

    ``id`` is its number in the incident book. Where that has none, it is 0 and the title is that of the rules on whose
    firings somebody acted.
    """

    title: str
    begins: datetime
    ends: datetime
    id: int = 0
    title_ja: str = ""

    @property
    def name(self) -> str:
        """What people call it."""
        return self.named("en")

    def named(self, language: str) -> str:
        """Return what people call it in a language."""
        title = (self.title_ja if language == "ja" else "") or self.title
        return f"#{self.id} {title}" if self.id else title

    def is_found_at(self, fired: Sequence[datetime]) -> datetime | None:
        """Return the first of some times, in order, at which a firing finds it."""
        place = bisect_left(fired, self.begins - EARLY)
        return fired[place] if place < len(fired) and fired[place] <= self.ends else None


def true_incidents(
    firings: Sequence[Firing], records: Sequence[IncidentRecord], now: datetime, most: int = MOST_INCIDENTS
) -> list[TrueIncident]:
    """
    Return the true incidents, oldest first; the newest ones where there are more than ``most``.

    A firing about which somebody did something belongs to the incident of the book that was open then; those that
    belong to none are one incident where they touch.
    """
    book = [
        TrueIncident(_title(it.title), it.begins, max(it.begins, it.ends or now), it.id, _title(it.title_ja))
        for it in records
    ]
    others: list[TrueIncident] = []
    real = [it for it in firings if any(act.kind in REAL for act in it.acts)]
    for firing in sorted(real, key=lambda it: it.began):
        begins, ends = firing.began, max(firing.began, firing.ended or now)
        if any(it.begins - EARLY <= ends and begins <= it.ends for it in book):
            continue
        if others and begins <= others[-1].ends + EARLY:
            last = others[-1]
            title = last.title if firing.rule in last.title.split(", ") else f"{last.title}, {firing.rule}"
            others[-1] = replace(last, ends=max(ends, last.ends), title=title[:TITLE_LENGTH])
        else:
            others.append(TrueIncident(firing.rule[:TITLE_LENGTH], begins, ends))
    return sorted([*book, *others], key=lambda it: (it.begins, it.id))[-most:]


def _title(text: str) -> str:
    return one_line(text)[:TITLE_LENGTH]


def unnoticed(incidents: Sequence[TrueIncident], firings: Sequence[Firing]) -> list[TrueIncident]:
    """Return the incidents in which nothing began to fire: nothing told anybody."""
    fired = sorted(it.fired for it in firings)
    return [it for it in incidents if it.is_found_at(fired) is None]
