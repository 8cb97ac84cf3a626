"""Alerts and their changes, as alerting publishes them in the event log."""

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
"""The topic of changes of alerts in the event log; their bodies are `AlertChange.as_dict`."""


class AlertStatus(StrEnum):
    """The state of an alert."""

    PENDING = "pending"
    FIRING = "firing"
    RESOLVED = "resolved"


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """Who has acknowledged an alert, when, and with which comment; it ends when the alert resolves."""

    by: str
    at: datetime
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Alert:
    """
    An alert, identified by its labels.

    ``starts`` is since when its condition is met, ``fired`` when it began to fire, ``ends`` when it resolved.
    ``source`` is who evaluated it: toban, or the name of who posted it. ``link`` leads to its expression. ``window`` is
    the shortest range of its query: a cause that has ended can make it fire for so long.
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
        """Return an annotation in a language (``summary_ja``) if there is one, else without."""
        return self.annotations.get(f"{annotation}_{language}") or self.annotations.get(annotation, "")

    @property
    def name(self) -> str:
        """Its name."""
        return self.labels.get(ALERTNAME, "")

    @property
    def severity(self) -> str:
        """``critical``, ``warning``, ``info``, or another value of its label."""
        return self.labels.get("severity", "warning")

    @property
    def fingerprint(self) -> str:
        """Its fingerprint: the same as Alertmanager's for the same labels."""
        return _fingerprint(self.labels)

    def resolved(self, at: datetime) -> Self:
        """Return it as resolved."""
        return replace(self, status=AlertStatus.RESOLVED, ends=at, acknowledged=None)

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data, for the event log and tables."""
        return {
            "labels": dict(self.labels),
            "annotations": dict(self.annotations),
            "status": self.status.value,
            "starts": self.starts.isoformat(),
            "fired": self.fired.isoformat() if self.fired else None,
            "ends": self.ends.isoformat() if self.ends else None,
            # JSON has neither NaN nor infinity.
            "value": None if self.value is None else repr(self.value),
            "source": self.source,
            "link": self.link,
            "acknowledged": _acknowledgement_dict(self.acknowledged) if self.acknowledged else None,
            "window": self.window.total_seconds(),
        }

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> Self:
        """Return the alert that `as_dict` returned."""
        acknowledged = body.get("acknowledged")
        return cls(
            Labels(body["labels"]),
            dict(body["annotations"]),
            AlertStatus(body["status"]),
            datetime.fromisoformat(body["starts"]),
            _parse_time(body.get("fired")),
            _parse_time(body.get("ends")),
            None if body.get("value") is None else float(body["value"]),
            body.get("source", "toban"),
            body.get("link", ""),
            _parse_acknowledgement(acknowledged) if acknowledged else None,
            timedelta(seconds=body.get("window", 0)),
        )


@dataclass(frozen=True, slots=True)
class AlertChange:
    """A change of an alert: it fired, was acknowledged, or resolved."""

    alert: Alert
    at: datetime
    why: str = ""
    """Why it changed, if not by its condition: its rule was removed, somebody acknowledged it."""

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {"alert": self.alert.as_dict(), "at": self.at.isoformat(), "why": self.why}

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> Self:
        """Return the change that `as_dict` returned."""
        return cls(Alert.from_dict(body["alert"]), datetime.fromisoformat(body["at"]), body.get("why", ""))


@lru_cache(10_000)
def _fingerprint(labels: Labels) -> str:
    return fingerprint(labels)


def fingerprint(labels: Mapping[str, str]) -> str:
    """Return the FNV-1a hash (64 bits, 16 hex digits) by which Prometheus and Alertmanager identify labels."""
    digest = 0xCBF29CE484222325
    for name, value in sorted(labels.items()):
        for byte in name.encode() + b"\xff" + value.encode() + b"\xff":
            digest = (digest ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return f"{digest:016x}"


PRIORITIES: Final = ("P1", "P2", "P3", "P4")
"""The priorities of alerts, most urgent first."""

PRIORITY_OF_NAME: Final[Mapping[str, str]] = {
    "application_down": "P1",
    "database_connection_failed": "P1",
    "order_failure_rate": "P1",
}
"""
The priorities of alerts without a label ``priority`` whose names say that the shop can't sell.

A rule sets its own priority by that label. This table is for rules that do not know it: those of a Prometheus that
posts its alerts, with the names of the original design and perhaps another severity.
"""


def priority(labels: Mapping[str, str]) -> str:
    """
    Return the priority of an alert: P1 to P4.

    It is the label ``priority``, else that of the alert's name, else P1 if critical, P2 if a warning, P3 otherwise.
    """
    label = labels.get("priority", "").upper()
    if label in PRIORITIES:
        return label
    if by_name := PRIORITY_OF_NAME.get(labels.get(ALERTNAME, "")):
        return by_name
    severity = labels.get("severity", "warning")
    return {"critical": "P1", "warning": "P2"}.get(severity, "P3")


def _acknowledgement_dict(acknowledgement: Acknowledgement) -> dict[str, str]:
    return {"by": acknowledgement.by, "at": acknowledgement.at.isoformat(), "comment": acknowledgement.comment}


def _parse_acknowledgement(body: Mapping[str, str]) -> Acknowledgement:
    return Acknowledgement(body["by"], datetime.fromisoformat(body["at"]), body["comment"])


def _parse_time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
