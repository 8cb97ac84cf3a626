"""
Time lines of alerts and notifications in virtual time.

    line = Line()
    line.at("0s").fires("disk")
    for at in line.between("1m", "5m", "1m"):
        at.fires("web", instance="b")
    assert line.want("1h") == ["10s firing disk", "1m10s firing webb"]
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from toban.core.alerts import Acknowledgement, Alert, AlertChange, AlertStatus
from toban.core.config_types import format_duration, parse_duration
from toban.core.labels import Labels
from toban.core.matcher_syntax import parse_matchers
from toban.core.notification import Notification
from toban.notify.flap_detection import TrackedAlert, track_change
from toban.notify.inhibition import Inhibitor
from toban.notify.maintenance_windows import MaintenanceWindows
from toban.notify.notification_group import NotificationGroup
from toban.notify.pipeline import Decision, decide
from toban.notify.pipeline_run import PipelineState, Policy
from toban.notify.routing import Routing
from toban.notify.settings import NotifySettings
from toban.notify.silences import Silence

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
CHANNELS = {"slack": False, "email": False, "pagerduty": True}

Event = Callable[["Timeline"], None]


def length(text: str) -> timedelta:
    return timedelta() if text == "0s" else parse_duration(text)


def policy(settings: Mapping[str, object], channels: Mapping[str, bool] = CHANNELS) -> Policy:
    read = NotifySettings.model_validate(settings)
    return Policy(read, Routing(read, channels), Inhibitor(read.inhibit), MaintenanceWindows(read))


class TimelineStep:
    """What happens at one time of a line."""

    def __init__(self, line: "Timeline", when: datetime) -> None:
        self._line = line
        self._when = when

    def fires(self, name: str, **labels: str) -> "TimelineStep":
        return self._then(lambda line: line._change(name, labels, AlertStatus.FIRING, self._when))

    def ends(self, name: str, **labels: str) -> "TimelineStep":
        return self._then(lambda line: line._change(name, labels, AlertStatus.RESOLVED, self._when))

    def acknowledged(self, name: str, by: str = "ann", **labels: str) -> "TimelineStep":
        return self._then(lambda line: line._acknowledge(name, labels, by, self._when))

    def silence(self, condition: str, lasts: str) -> "TimelineStep":
        ends = self._when + length(lasts)
        silence = Silence("s1", tuple(parse_matchers([condition])), self._when, ends, "ann", "tea", self._when)
        return self._then(lambda line: line.silences.append(silence))

    def nothing(self) -> "TimelineStep":
        """Something is decided, though nothing happened."""
        return self._then(lambda line: None)

    def _then(self, event: Event) -> "TimelineStep":
        self._line._events.append((self._when, event))
        return self


class Timeline:
    """
    One time line: what happens, and what was told when.

    ``restarts`` writes the state down and reads it again after every decision.
    """

    def __init__(
        self,
        channels: Mapping[str, bool] = CHANNELS,
        *,
        began: datetime = BEGAN,
        restarts: Callable[[], bool] = lambda: False,
        **settings: object,
    ) -> None:
        self.policy = policy(settings, channels)
        self.began = began
        self.state = PipelineState()
        self.silences: list[Silence] = []
        self.messages: list[Notification] = []
        self.decision: Decision | None = None
        self._events: list[tuple[datetime, Event]] = []
        self._restarts = restarts

    def at(self, when: str) -> TimelineStep:
        return TimelineStep(self, self.began + length(when))

    def between(self, start: str, end: str, every: str) -> Iterator[TimelineStep]:
        """Return each time from a start to before an end."""
        when = self.began + length(start)
        while when < self.began + length(end):
            yield TimelineStep(self, when)
            when += length(every)

    def want(self, until: str) -> list[str]:
        """Play the line and return what was told: when, of which kind, of what, to whom if not to slack alone."""
        self.play(self.began + length(until))
        found: dict[tuple[str, int], list[Notification]] = {}
        for message in self.messages:
            found.setdefault((message.group_id, message.number), []).append(message)
        return [self._shown(messages) for messages in found.values()]

    def play(self, until: datetime) -> None:
        events = sorted(self._events, key=lambda it: it[0])
        now = self.began
        while True:
            while events and events[0][0] <= now:
                events.pop(0)[1](self)
            again = self._decide(now)
            following = [at for at in (again, events[0][0] if events else None) if at is not None]
            if not following or min(following) > until:
                return
            now = min(following)

    def _decide(self, now: datetime) -> datetime | None:
        self.decision = decide(self.policy, self.state, self.silences, now)
        self.messages += self.decision.messages
        self.state = self.decision.after
        if self._restarts():
            self.state = reread(self.state)
        return self.decision.run_again

    def _change(self, name: str, labels: Mapping[str, str], status: AlertStatus, when: datetime) -> None:
        alert = alert_of(name, labels, when)
        before = self.state.alerts.get(alert.fingerprint)
        if status is AlertStatus.RESOLVED:
            alert = (before.alert if before else alert).resolved(when)
        self.hear(AlertChange(alert, when))

    def _acknowledge(self, name: str, labels: Mapping[str, str], by: str, when: datetime) -> None:
        before = self.state.alerts[alert_of(name, labels, when).fingerprint].alert
        self.hear(AlertChange(replace(before, acknowledged=Acknowledgement(by, when)), when))

    def hear(self, change: AlertChange) -> None:
        name = change.alert.fingerprint
        tracked = track_change(self.state.alerts.get(name), change, self.policy.settings.flapping)
        self.state = replace(self.state, alerts={**self.state.alerts, name: tracked})

    def _shown(self, messages: list[Notification]) -> str:
        first = messages[0]
        names = sorted({alert.name + alert.labels.get("instance", "") for alert in first.alerts})
        channels = [message.receiver for message in messages]
        to = "" if channels == ["slack"] else f" to {','.join(channels)}"
        return f"{format_duration(first.at - self.began)} {first.kind.value} {','.join(names)}{to}"


def alert_of(name: str, labels: Mapping[str, str], when: datetime) -> Alert:
    """Return an alert that fires; ``window`` among the labels is how far back its query looks."""
    window = length(labels.get("window", "0s"))
    own = {label: value for label, value in labels.items() if label != "window"}
    given = Labels({"alertname": name, "severity": "warning", "channels": "slack", **own})
    return Alert(given, {"summary": f"{name} is wrong"}, AlertStatus.FIRING, when, fired=when, value=1.0, window=window)


def reread(state: PipelineState) -> PipelineState:
    """Return a state as it is read after it was written."""
    return PipelineState(
        {name: TrackedAlert.from_dict(tracked.as_dict()) for name, tracked in state.alerts.items()},
        {name: NotificationGroup.from_dict(thread.as_dict()) for name, thread in state.groups.items()},
    )
