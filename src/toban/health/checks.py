"""What is asked to tell whether the shop is well."""

from dataclasses import dataclass
from datetime import timedelta
from enum import Flag, auto
from typing import Final

from toban.shop.settings import ShopSettings


class Part(Flag):
    """The endpoints of the original design that a check belongs to."""

    HEALTH = auto()
    READINESS = auto()
    LIVENESS = auto()


@dataclass(frozen=True, slots=True)
class Check:
    """
    A name, a question in PromQL, a limit and a greatest age.

    It is up while the newest answer, no older than ``age``, is at most ``limit``. ``fault`` is what is said otherwise.
    In the question, ``$age`` stands for the greatest age.
    """

    name: str
    question: str
    limit: float
    fault: str
    parts: Part
    age: timedelta = timedelta(seconds=100)

    @property
    def query(self) -> str:
        """The question with its age put in."""
        return self.question.replace("$age", f"{self.age.total_seconds():.0f}s")


@dataclass(frozen=True, slots=True)
class Unknown:
    """
    A check that can't be made: it is left out rather than guessed.

    ``setting`` is what would make it possible; nothing would where it is empty.
    """

    name: str
    setting: str = ""

    @property
    def reason(self) -> str:
        """Why it can't be made."""
        return f"{self.setting} is not set" if self.setting else "this version of toban has no source for it"


DATABASE: Final = Check(
    "database",
    'max(1 - last_over_time(up{job="postgres"}[$age]))',
    0,
    "the database does not answer",
    Part.HEALTH | Part.READINESS,
)
REDIS: Final = Check(
    "redis",
    'max(1 - last_over_time(up{job="redis"}[$age]))',
    0,
    "Redis does not answer",
    Part.HEALTH | Part.READINESS,
    timedelta(seconds=190),
)
STORAGE: Final = Check(
    "storage",
    'max(last_over_time(system_disk_usage_bytes{job="host",mount="/"}[$age]) / ('
    'last_over_time(system_disk_usage_bytes{job="host",mount="/"}[$age])'
    ' + last_over_time(system_disk_available_bytes{job="host",mount="/"}[$age])))',
    0.85,
    "Used disk storage exceeded the set threshold",
    Part.HEALTH,
)


SOURCELESS: Final = ("memory_heap", "memory_rss", "business-logic")
"""Checks of the original design that need the shop's telemetry, or its catalogue."""


def checks(shop: ShopSettings) -> tuple[list[Check], list[Unknown]]:
    """Return what can be asked about this shop, and what can't."""
    known, unknown = [STORAGE], []
    if shop.database:
        known.append(DATABASE)
    else:
        unknown.append(Unknown("database", "shop.database"))
    if shop.redis:
        known.append(REDIS)
    else:
        unknown.append(Unknown("redis", "shop.redis"))
    unknown += [Unknown(name) for name in SOURCELESS]
    return known, unknown
