"""A firing: one alert from when it fired until it resolved, and what came of it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Final, Self
from zoneinfo import ZoneInfo

from toban.core.alerts import priority
from toban.core.labels import Labels

AFTERWARDS: Final = timedelta(hours=1)
"""For how long after its end an act still belongs to a firing."""

BRIEF: Final = timedelta(minutes=5)
"""A firing that nobody acknowledged and that ended sooner was useless."""

MAX_ACTS: Final = 20
"""How many acts of a firing are kept."""


@dataclass(frozen=True, slots=True)
class FiringAct:
    """Something that was done about a firing: by a runbook, a person or a deploy."""

    kind: str
    at: datetime
    by: str = ""


@dataclass(frozen=True, slots=True)
class Firing:
    """
    One alert from when it fired until it resolved.

    ``began`` is since when its condition was met, ``why`` why it ended if not by its condition. ``messages`` counts
    accepted notifications that it fires, ``pages`` those of channels that wake people. ``month`` is the month in which
    it fired, in the shop's time zone.
    """

    rule: str
    fingerprint: str
    labels: Labels
    began: datetime
    fired: datetime
    month: str
    ended: datetime | None = None
    why: str = ""
    source: str = "toban"
    acknowledged: datetime | None = None
    acknowledged_by: str = ""
    first_message: datetime | None = None
    messages: int = 0
    pages: int = 0
    acts: tuple[FiringAct, ...] = ()
    id: int = field(default=0, compare=False)
    """Its number; 0 before it is stored."""

    @property
    def priority(self) -> str:
        """Its priority."""
        return priority(self.labels)

    @property
    def duration(self) -> timedelta | None:
        """For how long it fired; None while it fires."""
        return None if self.ended is None else max(timedelta(), self.ended - self.fired)

    @property
    def is_useless(self) -> bool:
        """Whether it was over before anybody looked."""
        return self.duration is not None and self.duration < BRIEF and self.acknowledged is None

    def takes(self, at: datetime) -> bool:
        """Return whether what is done at a time belongs to it."""
        return self.fired <= at and (self.ended is None or at <= self.ended + AFTERWARDS)

    def with_act(self, act: FiringAct) -> Self:
        """Return it with one act more, unless it is known."""
        if act in self.acts or len(self.acts) >= MAX_ACTS:
            return self
        return replace(self, acts=(*self.acts, act))

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data, without what its table has columns for."""
        return {
            "labels": dict(self.labels),
            "began": self.began.isoformat(),
            "month": self.month,
            "why": self.why,
            "source": self.source,
            "acknowledged": _text(self.acknowledged),
            "acknowledged_by": self.acknowledged_by,
            "first_message": _text(self.first_message),
            "messages": self.messages,
            "pages": self.pages,
            "acts": [{"kind": it.kind, "at": it.at.isoformat(), "by": it.by} for it in self.acts],
        }

    @classmethod
    def from_row(
        cls, number: int, rule: str, name: str, fired: datetime, ended: datetime | None, body: Mapping[str, Any]
    ) -> Self:
        """Return the firing of a row; ``name`` is its fingerprint."""
        return cls(
            rule,
            name,
            Labels(body["labels"]),
            datetime.fromisoformat(body["began"]),
            fired,
            body["month"],
            ended,
            body["why"],
            body["source"],
            _time(body["acknowledged"]),
            body["acknowledged_by"],
            _time(body["first_message"]),
            body["messages"],
            body["pages"],
            tuple(FiringAct(it["kind"], datetime.fromisoformat(it["at"]), it["by"]) for it in body["acts"]),
            number,
        )


@dataclass(frozen=True, slots=True)
class MonthSum:
    """What the firings of a rule in a month come to."""

    fired: int = 0
    ended: int = 0
    seconds: float = 0.0
    acknowledged: int = 0
    acted_on: int = 0
    useless: int = 0
    messages: int = 0
    pages: int = 0

    @classmethod
    def of(cls, firing: Firing) -> Self:
        """Return the sum of one firing."""
        duration = firing.duration
        return cls(
            1,
            int(duration is not None),
            duration.total_seconds() if duration is not None else 0.0,
            int(firing.acknowledged is not None),
            int(bool(firing.acts)),
            int(firing.is_useless),
            firing.messages,
            firing.pages,
        )

    def changed(self, before: "MonthSum | None", after: "MonthSum") -> "MonthSum":
        """Return it after a firing has changed from one sum to another; it is new where there is none before."""
        mine, old, new = self.as_dict(), (before or MonthSum()).as_dict(), after.as_dict()
        return MonthSum(**{name: mine[name] - old[name] + new[name] for name in mine})

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        return asdict(self)

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> Self:
        """Return it from what ``as_dict`` returned."""
        return cls(**body)


def month_of(at: datetime, zone: ZoneInfo) -> str:
    """Return the month of a time, like 2026-11."""
    return f"{at.astimezone(zone):%Y-%m}"


def _text(at: datetime | None) -> str | None:
    return at.isoformat() if at else None


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
