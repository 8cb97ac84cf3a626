"""Alerts, as alerting tells of them and everybody else hears."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from typing import Any, Final, Self

from toban.core.labels import Labels

ALERTNAME: Final = "alertname"
"""The label that holds an alert's name."""

TOPIC: Final = "alert"
"""Where in the feed changes of alerts are told, as `Alert.as_dict`."""

P1_NAMES: Final = frozenset({"application_down", "database_connection_failed", "order_failure_rate"})
"""The alerts that stop the shop from selling, whatever their severity."""


class AlertStatus(StrEnum):
    """Where an alert stands."""

    PENDING = "pending"
    FIRING = "firing"
    RESOLVED = "resolved"


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """Somebody's word that they look after an alert; it ends with the alert."""

    by: str
    at: datetime
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Alert:
    """
    One thing that is wrong, told from others by its labels.

    ``starts`` is since when its condition was true, ``fired`` when it began to fire, ``ends`` when it was over.
    ``source`` tells who judged: toban, or the name of who sent it. ``link`` leads to what it was judged by. ``window``
    is how far back its query looks: what is over can make it fire for so long.
    """

    labels: Labels
    annotations: Mapping[str, str]
    status: AlertStatus
    starts: datetime
    fired: datetime | None = None
    ends: datetime | None = None
    value: float | None = None
    source: str = "toban"
    link: str = ""
    acknowledged: Acknowledgement | None = None
    window: timedelta = timedelta()

    def annotation(self, annotation: str, language: str) -> str:
        """Return what an annotation says in a language, if it does (``summary_ja``), else in its own words."""
        return self.annotations.get(f"{annotation}_{language}") or self.annotations.get(annotation, "")

    @property
    def name(self) -> str:
        """What it is called."""
        return self.labels.get(ALERTNAME, "")

    @property
    def severity(self) -> str:
        """``critical``, ``warning``, ``info``, or what its rule says instead."""
        return self.labels.get("severity", "warning")

    @property
    def fingerprint(self) -> str:
        """The name by which machines know it: the same as Alertmanager's for the same labels."""
        return _fingerprint(self.labels)

    def resolved(self, at: datetime) -> Self:
        """Return it as over."""
        return replace(self, status=AlertStatus.RESOLVED, ends=at, acknowledged=None)

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data, for the feed and for books."""
        return {
            "labels": dict(self.labels),
            "annotations": dict(self.annotations),
            "status": self.status.value,
            "starts": self.starts.isoformat(),
            "fired": self.fired.isoformat() if self.fired else None,
            "ends": self.ends.isoformat() if self.ends else None,
            # JSON knows neither NaN nor infinity.
            "value": None if self.value is None else repr(self.value),
            "source": self.source,
            "link": self.link,
            "acknowledged": _written(self.acknowledged) if self.acknowledged else None,
            "window": self.window.total_seconds(),
        }

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> Self:
        """Return the alert that `body` wrote down."""
        told = body.get("acknowledged")
        return cls(
            Labels(body["labels"]),
            dict(body["annotations"]),
            AlertStatus(body["status"]),
            datetime.fromisoformat(body["starts"]),
            _moment(body.get("fired")),
            _moment(body.get("ends")),
            None if body.get("value") is None else float(body["value"]),
            body.get("source", "toban"),
            body.get("link", ""),
            Acknowledgement(told["by"], datetime.fromisoformat(told["at"]), told["comment"]) if told else None,
            timedelta(seconds=body.get("window", 0)),
        )


@dataclass(frozen=True, slots=True)
class AlertChange:
    """That an alert fired, was acknowledged, or is over; what alerting tells."""

    alert: Alert
    at: datetime
    why: str = ""
    """Why it changed, where that isn't its condition: its rule is gone, somebody acknowledged it."""

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {"alert": self.alert.as_dict(), "at": self.at.isoformat(), "why": self.why}

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> Self:
        """Return the change that `body` wrote down."""
        return cls(Alert.from_dict(body["alert"]), datetime.fromisoformat(body["at"]), body.get("why", ""))


@lru_cache(10_000)
def _fingerprint(labels: Labels) -> str:
    return fingerprint(labels)


def fingerprint(labels: Mapping[str, str]) -> str:
    """Return the FNV-1a hash (64 bits, 16 hex digits) by which Prometheus and Alertmanager know a set of labels."""
    digest = 0xCBF29CE484222325
    for name, value in sorted(labels.items()):
        for byte in name.encode() + b"\xff" + value.encode() + b"\xff":
            digest = (digest ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return f"{digest:016x}"


PRIORITIES: Final = ("P1", "P2", "P3", "P4")
"""How urgent an alert may be, most first."""


def priority(labels: Mapping[str, str]) -> str:
    """
    Return how urgent an alert is: P1 to P4.

    Its label ``priority`` says so; else P1 is what stops the shop from selling and what is critical, P2 a warning,
    P3 the rest.
    """
    said = labels.get("priority", "").upper()
    if said in PRIORITIES:
        return said
    severity = labels.get("severity", "warning")
    if labels.get(ALERTNAME) in P1_NAMES or severity == "critical":
        return "P1"
    return "P2" if severity == "warning" else "P3"


def _written(said: Acknowledgement) -> dict[str, str]:
    return {"by": said.by, "at": said.at.isoformat(), "comment": said.comment}


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
