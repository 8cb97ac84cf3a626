"""
A night of incidents in virtual time, read minute by minute.

    night = Night({"on_call": {"people": {"ann": {"channels": ["phone"]}}}})
    night.at("2:14").fires("application_down", priority="P1")
    assert night.until("2:20") == ["2:14:10 phone firing: You are called: ..."]
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from toban.core.alerts import Acknowledgement, Alert, AlertChange, AlertStatus
from toban.core.labels import Labels
from toban.core.notification import Notification
from toban.incidents import lifecycle
from toban.incidents.book import IncidentBook, Suppression, advance
from toban.incidents.incident import Incident, TimelineEntry
from toban.incidents.lifecycle import Change
from toban.incidents.policy import IncidentPolicy
from toban.incidents.settings import IncidentSettings, Priority
from toban.oncall.duty import AlwaysOnDuty, Duty
from toban.oncall.settings import OnCallSettings

CHANNELS = {"slack": False, "phone": True, "sms": True, "mail": False}
DAY = datetime(2026, 3, 4, tzinfo=UTC)
"""A Wednesday."""


class Shifts:
    """A duty whose shifts are written out: (start, people), the first one before everything."""

    def __init__(self, *shifts: tuple[str, tuple[str, ...]]) -> None:
        self._shifts = [(moment(at), people) for at, people in shifts]

    def on_call(self, at: datetime) -> tuple[str, ...]:
        begun = [people for start, people in self._shifts if start <= at]
        return begun[-1] if begun else self._shifts[0][1]

    def next_on_call(self, at: datetime) -> tuple[str, ...]:
        return next((people for start, people in self._shifts if start > at), ())

    def next_change(self, at: datetime) -> datetime | None:
        return next((start for start, _ in self._shifts if start > at), None)


def moment(text: str) -> datetime:
    """Return the time of `2:14`, `2:14:30` or `3d 10:00`."""
    days, _, clock = text.rpartition("d ")
    hours, minutes, *seconds = (int(part) for part in clock.split(":"))
    return DAY + timedelta(days=int(days or 0), hours=hours, minutes=minutes, seconds=seconds[0] if seconds else 0)


def policy(
    on_call: Mapping[str, object] | None = None,
    incidents: Mapping[str, object] | None = None,
    duty: Duty | None = None,
    channels: Mapping[str, bool] = CHANNELS,
    zone: str = "UTC",
    calling: frozenset[str] = frozenset(),
) -> IncidentPolicy:
    people = OnCallSettings.model_validate(on_call or {})
    settings = IncidentSettings.model_validate(incidents or {})
    known = duty or AlwaysOnDuty(people.people)
    return IncidentPolicy(people, known, channels, ZoneInfo(zone), calling=calling, settings=settings)


class Night:
    """Incidents from one time to the next; ``restarts`` writes the book down and reads it after every decision."""

    def __init__(self, policy: IncidentPolicy, *, restarts: bool = False) -> None:
        self.policy = policy
        self.suppression = Suppression()
        self.book = IncidentBook()
        self.now = DAY
        self.messages: list[Notification] = []
        self.entries: list[TimelineEntry] = []
        self.withdrawn: list[int] = []
        self.annotations: dict[str, str] = {}
        self._restarts = restarts
        self._wake: datetime | None = None

    def at(self, text: str) -> "Night":
        """Let time pass until then; each decision happens when the one before asked for it."""
        end = moment(text)
        while self._wake is not None and self._wake < end:
            self.now = max(self._wake, self.now)
            self._decide([])
        self.now = end
        self._decide([])
        return self

    def fires(self, name: str, *, ago: int = 0, **labels: str) -> "Night":
        alert = self._alert(name, labels)
        starts = self.now - timedelta(seconds=ago)
        return self._change(replace(alert, status=AlertStatus.FIRING, starts=starts, fired=self.now))

    def ends(self, name: str, **labels: str) -> "Night":
        found = self._known(self._alert(name, labels))
        return self._change(found.resolved(self.now))

    def acknowledged_alert(self, name: str, by: str, **labels: str) -> "Night":
        found = self._known(self._alert(name, labels))
        return self._change(replace(found, acknowledged=Acknowledgement(by, self.now)))

    def does(self, command: Callable[[IncidentPolicy, Incident, datetime], Change], number: int = 1) -> "Night":
        self._take(command(self.policy, self.book.incidents[number], self.now))
        self._decide([])
        return self

    def declares(self, title: str, priority: Priority, by: str) -> "Night":
        self._take(lifecycle.opened(self.book.next_id, title, priority, self.now, self.now, by))
        self._decide([])
        return self

    def acknowledges(self, by: str, number: int = 1) -> "Night":
        return self.does(lambda policy, incident, now: lifecycle.acknowledged(policy, incident, by, now), number)

    def sent(self) -> list[str]:
        """Return what was sent since the last call: time, channel, kind and the sentence that says why."""
        found = [f"{self._clock(it.at)} {it.receiver} {it.kind.value}: {it.lines[0]}" for it in self.messages]
        self.messages.clear()
        return found

    def timeline(self, number: int = 1) -> list[str]:
        """Return the entries of an incident: time, kind and actor."""
        return [
            f"{self._clock(it.at)} {it.kind.value}{f' {it.actor}' if it.actor else ''}"
            for it in self.entries
            if it.incident == number
        ]

    def _clock(self, at: datetime) -> str:
        days = (at - DAY).days
        text = f"{at:%H:%M:%S}".removesuffix(":00")
        return f"{days}d {text}" if days else text

    def _alert(self, name: str, labels: Mapping[str, str]) -> Alert:
        text = {"summary": name.replace("_", " ").capitalize(), **self.annotations}
        return Alert(Labels({"alertname": name, **labels}), text, AlertStatus.FIRING, self.now)

    def _known(self, alert: Alert) -> Alert:
        holders = [*(it.alerts for it in self.book.incidents.values()), self.book.waiting]
        return next(found[alert.fingerprint] for found in holders if alert.fingerprint in found)

    def _change(self, alert: Alert) -> "Night":
        self._decide([AlertChange(alert, self.now)])
        return self

    def _decide(self, changes: list[AlertChange]) -> None:
        if self._restarts:
            incidents = {it.id: Incident.from_dict(it.id, it.as_dict()) for it in self.book.incidents.values()}
            waiting = {name: Alert.from_dict(it.as_dict()) for name, it in self.book.waiting.items()}
            self.book = IncidentBook(incidents, waiting, self.book.next_id)
        result = advance(self.policy, self.book, changes, self.suppression, self.now)
        assert not result.failures, result.failures
        self.book, self._wake = result.book, result.run_again
        self.messages += result.messages
        self.entries += result.entries
        self.withdrawn += result.withdrawn

    def _take(self, change: Change) -> None:
        self.book = replace(self.book, incidents={**self.book.incidents, change.incident.id: change.incident})
        self.messages += change.messages
        self.entries += change.entries
