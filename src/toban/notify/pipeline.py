"""
What is told now: ``route, group, inhibit, mute, dedupe, send``.

Pure: the picture and the time in, messages and the picture afterwards out. Each stage leaves a note for what it held
back, so that `toban why` can answer. What fails with one alert, thread, silence or window is decided without that one.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from toban.core.alerts import Alert, AlertStatus
from toban.core.item_isolation import NOT_ISOLATED, ItemFailure, ItemIsolation
from toban.core.matchers import matches_all
from toban.notify.flap_detection import ReportedAs, TrackedAlert, is_forgettable, next_change, reported_as, settle
from toban.notify.muting import Inhibited, Inhibitor, MaintenanceWindows, Silence
from toban.notify.notification import Notification, NotificationKind, worst
from toban.notify.notification_group import NotificationGroup, group_id
from toban.notify.rendering import RenderedText, local, render, render_fallback
from toban.notify.routing import Destination, GroupTiming, Routing
from toban.notify.settings import NotifySettings

SOON: Final = timedelta(milliseconds=1)
"""When to decide again at the earliest."""

PARTLY_OVER: Final = timedelta(minutes=5)
"""How long the ends of some alerts of a thread wait for those of the others, so that one mend is one message."""


class StageNote(NamedTuple):
    """Why an alert was or wasn't told: the stage, and a sentence."""

    stage: str
    reason: str


@dataclass(frozen=True, slots=True)
class PipelineState:
    """Everything that is decided from: alerts as heard, by fingerprint, and threads that are open, by id."""

    alerts: Mapping[str, TrackedAlert] = field(default_factory=dict)
    groups: Mapping[str, NotificationGroup] = field(default_factory=dict)

    def without(self, threads: Iterable[str]) -> "PipelineState":
        """Return it without some threads."""
        gone = set(threads)
        return replace(self, groups={name: it for name, it in self.groups.items() if name not in gone})


@dataclass(frozen=True, slots=True)
class Decision:
    """
    What to send, the picture afterwards, notes by fingerprint, and when to decide again at the latest.

    ``failures`` are the items that were left out because deciding about them failed; they stay in the picture.
    ``unreadable`` are threads among them that can't be read at all: they do not stay, and their alerts begin anew.
    """

    messages: Sequence[Notification]
    after: PipelineState
    notes: Mapping[str, Sequence[StageNote]]
    again: datetime | None
    failures: Sequence[ItemFailure] = ()
    unreadable: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Policy:
    """The rules of the house: where alerts go, and what holds them back."""

    settings: NotifySettings
    routing: Routing
    inhibitor: Inhibitor
    windows: MaintenanceWindows

    @property
    def zone(self) -> ZoneInfo:
        """The time zone of times in messages."""
        return ZoneInfo(self.settings.timezone)


class _Deciding:
    """One decision, stage by stage."""

    def __init__(
        self,
        house: Policy,
        picture: PipelineState,
        silences: Iterable[Silence],
        now: datetime,
        isolation: ItemIsolation,
    ) -> None:
        self.house = house
        self.now = now
        self.isolation = isolation
        self.flapping = house.settings.flapping
        self.before = picture
        self.silences: list[Silence] = []
        for silence in silences:
            with isolation.item("silence", silence.id):
                silence.check(now)
                if silence.active(now) and not isolation.failed("silence", silence.id):
                    self.silences.append(silence)
        self.heard: dict[str, TrackedAlert] = {}
        for name, heard in picture.alerts.items():
            with isolation.item("alert", name):
                heard.check(now)
                if not isolation.failed("alert", name):
                    self.heard[name] = settle(heard.no_later(now), now, self.flapping)
        self.threads: dict[str, NotificationGroup] = {}
        self.left_out: dict[str, NotificationGroup] = {}
        self.unreadable = set(picture.groups)
        for name, thread in picture.groups.items():
            with isolation.item("thread", name):
                thread.check(now)
                self.unreadable.remove(name)
                # What fails stays as it is, and so do its alerts.
                (self.left_out if isolation.failed("thread", name) else self.threads)[name] = thread.no_later(now)
        self.ways: dict[str, list[Destination]] = {}
        self.notes: dict[str, list[StageNote]] = {}
        self.held: dict[str, str] = {}
        self.muted: set[str] = set()
        self.messages: list[Notification] = []
        self.wake: list[datetime] = []

    def decide(self) -> Decision:
        """Go through all stages."""
        self.route()
        self.inhibit()
        self.mute()
        self.group()
        for name, thread in list(self.threads.items()):
            with self.isolation.item("thread", name):
                self.dedupe_and_send(thread)
        self.forget()
        # What was left out is tried again the next time.
        failed = {name: it for name, it in self.before.alerts.items() if self.isolation.failed("alert", name)}
        return Decision(
            self.messages,
            PipelineState({**failed, **self.heard}, {**self.left_out, **self.threads}),
            self.notes,
            self.again(),
            failures=self.isolation.failures,
            unreadable=frozenset(self.unreadable),
        )

    @property
    def spoken_of(self) -> set[str]:
        """The alerts that belong to a thread already."""
        threads = [*self.threads.values(), *self.left_out.values()]
        return {name for thread in threads for name in thread.members}

    def note(self, name: str, stage: str, says: str) -> None:
        """Leave a note for an alert."""
        self.notes.setdefault(name, []).append(StageNote(stage, says))

    def route(self) -> None:
        """Find where each alert goes."""
        for name, heard in self.heard.items():
            with self.isolation.item("alert", name):
                self.ways[name] = self.house.routing.route(heard.alert.labels)
                for way in self.ways[name]:
                    self.note(name, "route", f"to {', '.join(way.channels) or 'nobody'} by {way.why}")

    def group(self) -> None:
        """
        Give each alert that may be told a thread: the one that speaks of it, one with the same key, or a new one.

        A thread is named after the first alert that could be told, so that it has the same name after a restart.
        What explains an alert that was told before it belongs to that one's thread: one cause is one incident,
        whichever is seen first.
        """
        by_key = self._keys()
        spoken_of = self.spoken_of
        for name, heard in sorted(self.heard.items(), key=lambda it: (it[1].since, it[0])):
            if name in spoken_of or heard.alert.status is not AlertStatus.FIRING or self._quiet(name):
                continue
            for way in self.ways.get(name, ()):
                if not way.channels:
                    continue
                if way.key not in by_key and (effect := self._told_effect(name, way)):
                    by_key[way.key] = effect
                if way.key not in by_key:
                    new = NotificationGroup(
                        group_id(way.key, name, heard.since), way.key, way.channels, way.group, self.now
                    )
                    self.threads[new.id], by_key[way.key] = new, new.id
                thread = self.threads[by_key[way.key]]
                self.threads[thread.id] = replace(thread, members=thread.members | {name})

    def _keys(self) -> dict[str, str]:
        """Return the threads by their keys, and by those of alerts that belong to another's thread."""
        found = {thread.key: thread.id for thread in self.threads.values()}
        for thread in self.threads.values():
            for name in sorted(thread.members):
                ways = self.ways.get(name, ())
                if all(way.key != thread.key for way in ways):
                    for way in ways:
                        if set(way.channels) <= set(thread.channels):
                            found.setdefault(way.key, thread.id)
        return found

    def _told_effect(self, name: str, way: Destination) -> str | None:
        """Return the thread that told, to all who are to hear of an alert, of something that it explains."""
        for thread in self.threads.values():
            if set(way.channels) <= set(thread.channels) and any(self.held.get(it) == name for it in thread.reported):
                return thread.id
        return None

    def _timing(self, thread: NotificationGroup) -> GroupTiming:
        """Return how patient a thread is: as the routes of its alerts say today."""
        for name in sorted(thread.members):
            for way in self.ways.get(name, []):
                if way.key == thread.key:
                    return way.timing
        settings = self.house.settings
        return GroupTiming(settings.group_wait, settings.group_interval, settings.repeat_interval)

    def inhibit(self) -> None:
        """Find what is explained by something else."""
        for name, by in inhibited(
            self.house, PipelineState(self.heard, self.threads), self.now, self.isolation
        ).items():
            self.held[name] = by.source
            source = self.heard[by.source].alert
            if by.until is not None:
                self.wake.append(by.until)
                says = f"inhibited by {source.name}, which is over, until {self._time(by.until)}"
            elif source.status is AlertStatus.RESOLVED:
                says = f"inhibited by {source.name} until its end is sent"
            else:
                says = f"inhibited while {source.name} fires"
            self.note(name, "inhibit", says)

    def mute(self) -> None:
        """Find what nobody wants to hear of now."""
        opened = self.house.windows.open(self.now, self.isolation)
        for name, heard in self.heard.items():
            if heard.alert.status is AlertStatus.FIRING:
                for silence in self.silences:
                    with self.isolation.item("silence", silence.id):
                        self._silence(name, heard, silence)
                for window in opened:
                    with self.isolation.item("window", window.name):
                        if matches_all(window.matchers, heard.alert.labels):
                            self.muted.add(name)
                            self.note(name, "mute", f"window {window.name!r} is open until {self._time(window.ends)}")
        self.wake += [silence.ends for silence in self.silences]
        if (change := self.house.windows.next_change(self.now, self.isolation)) is not None:
            self.wake.append(change)

    def _silence(self, name: str, heard: TrackedAlert, silence: Silence) -> None:
        if matches_all(silence.matchers, heard.alert.labels):
            self.muted.add(name)
            says = f"silence {silence.id} by {silence.by} until {self._time(silence.ends)}: {silence.comment}"
            self.note(name, "mute", says)

    def dedupe_and_send(self, thread: NotificationGroup) -> None:
        """Compare what there is to say of a thread with what was said, and say what is new when it is time."""
        now, timing = self.now, self._timing(thread)
        speak = {name: self._speak(thread, name) for name in thread.members}
        current = {name: it for name, it in speak.items() if it is not None}
        news = {name: it for name, it in current.items() if it is not thread.reported.get(name)}
        told = {**thread.reported, **current}
        ended = {name for name, it in told.items() if it is ReportedAs.RESOLVED}
        live = set(told) - ended
        if not thread.reported and not live:
            for name in thread.members - self.muted - set(self.held):
                self.note(name, "dedupe", "over before anybody was told")
            del self.threads[thread.id]
            return
        if not live:
            kind = NotificationKind.RESOLVED
        elif news and all(it is ReportedAs.ACKNOWLEDGED for it in news.values()):
            kind = NotificationKind.ACKNOWLEDGED
        elif ReportedAs.UNSTABLE in news.values():
            kind = NotificationKind.UNSTABLE
        elif news:
            kind = NotificationKind.FIRING
        else:
            kind = NotificationKind.REMINDER
        due = self._due(thread, timing, kind, told, news)
        if due is None:
            self._say_nothing_new(thread, None)
            return
        if due > now:
            self.wake.append(due)
            self._say_nothing_new(thread, due)
            return
        self._send(thread, kind, told, news)

    def _speak(self, thread: NotificationGroup, name: str) -> ReportedAs | None:
        """Return how to speak of an alert now; nothing when it isn't spoken of."""
        heard = self.heard.get(name)
        told = thread.reported.get(name)
        if heard is None:
            # It was over for so long that it was forgotten; who heard of it must hear of its end.
            return ReportedAs.RESOLVED if told else None
        if (later := next_change(heard, self.now, self.flapping)) is not None:
            self.wake.append(later)
        now = reported_as(heard, told, self.now, self.flapping)
        if told is None and (now is ReportedAs.RESOLVED or name in self.held or name in self.muted):
            return None
        if (name in self.held or name in self.muted) and now is not ReportedAs.RESOLVED:
            # Known already, and nobody wants news of it; its end is told all the same.
            return told
        return now

    def _due(
        self,
        thread: NotificationGroup,
        timing: GroupTiming,
        kind: NotificationKind,
        told: Mapping[str, ReportedAs],
        news: Mapping[str, ReportedAs],
    ) -> datetime | None:
        """Return when a message of this kind may leave; nothing when none is wanted."""
        if thread.notified is None:
            return thread.opened + timing.group_wait
        if kind is NotificationKind.ACKNOWLEDGED:
            return self.now
        if (
            kind is NotificationKind.FIRING
            and all(it is ReportedAs.RESOLVED for it in news.values())
            # What is held back until an end is told does not wait.
            and not any(source in news for source in self.held.values())
        ):
            ends = [at for name in news if name in self.heard and (at := self.heard[name].alert.ends) is not None]
            return max([thread.notified + timing.group_interval, *(at + PARTLY_OVER for at in ends)])
        if kind is not NotificationKind.REMINDER:
            return thread.notified + timing.group_interval
        unheard = [name for name, it in told.items() if it is ReportedAs.FIRING and not self._quiet(name)]
        return thread.notified + timing.repeat_interval if unheard else None

    def _quiet(self, name: str) -> bool:
        return name in self.held or name in self.muted

    def _say_nothing_new(self, thread: NotificationGroup, due: datetime | None) -> None:
        for name in thread.members:
            if self._quiet(name):
                continue
            if thread.notified is None and due:
                says = f"waits for others until {self._time(due)}"
            elif due:
                says = f"told at {self._time(thread.notified)}; next at {self._time(due)}"
            else:
                says = f"told at {self._time(thread.notified)}; nothing more to say until it changes"
            self.note(name, "dedupe", says)

    def _send(
        self,
        thread: NotificationGroup,
        kind: NotificationKind,
        told: Mapping[str, ReportedAs],
        news: Mapping[str, ReportedAs],
    ) -> None:
        live = [name for name, it in told.items() if it is not ReportedAs.RESOLVED]
        alerts = [self.heard[name].alert for name in [*live, *(set(news) - set(live))] if name in self.heard]
        alerts.sort(
            key=lambda alert: (alert.status is AlertStatus.RESOLVED, alert.fired or alert.starts, alert.fingerprint)
        )
        severities = [self.heard[name].alert.severity for name in live if name in self.heard]
        severity = worst([*severities, thread.severity] if thread.severity else severities)
        held = [self.heard[name].alert for name, source in self.held.items() if source in live]
        words = self._worded(thread, kind, alerts, held)
        for channel in thread.channels:
            self.messages.append(
                Notification(
                    thread=thread.id,
                    number=thread.number,
                    key=f"{thread.id}.{thread.number}.{channel}",
                    kind=kind,
                    severity=severity,
                    title=words.title,
                    lines=words.lines,
                    facts=words.facts,
                    links=words.links,
                    at=self.now,
                    since=thread.opened,
                    language=self.house.settings.language,
                    alerts=tuple(alerts),
                    group=thread.group,
                    receiver=channel,
                )
            )
        for name in {*live, *news}:
            self.note(name, "send", f"{kind.value} to {', '.join(thread.channels)} at {self._time(self.now)}")
        if ReportedAs.RESOLVED in told.values():
            # What it inhibited may be told now.
            self.wake.append(self.now + SOON)
        if kind is NotificationKind.RESOLVED:
            del self.threads[thread.id]
            return
        if ReportedAs.FIRING in told.values():
            self.wake.append(self.now + self._timing(thread).repeat_interval)
        self.threads[thread.id] = replace(
            thread,
            reported={name: it for name, it in told.items() if it is not ReportedAs.RESOLVED},
            members=thread.members - {name for name, it in told.items() if it is ReportedAs.RESOLVED},
            number=thread.number + 1,
            notified=self.now,
            severity=severity,
            title=words.title,
        )

    def _worded(
        self, thread: NotificationGroup, kind: NotificationKind, alerts: Sequence[Alert], held: Sequence[Alert]
    ) -> RenderedText:
        settings = self.house.settings
        try:
            return render(
                alerts,
                kind,
                language=settings.language,
                zone=self.house.zone,
                now=self.now,
                since=thread.opened,
                held_back=held,
                others=self._others(thread, alerts),
                acknowledged=next((alert.acknowledged for alert in alerts if alert.acknowledged), None),
                group=thread.group,
                title=thread.title,
                address=settings.address or "",
            )
        except Exception as error:
            # Whoever should hear of the alerts still does.
            self.isolation.record("message", thread.id, error)
            return render_fallback(alerts, thread.title, settings.language)

    def _others(self, thread: NotificationGroup, alerts: Sequence[Alert]) -> list[Alert]:
        """Return what else fires and is not inhibited: it may be the cause."""
        known = {alert.fingerprint for alert in alerts} | thread.members | set(self.held)
        found = [heard.alert for name, heard in self.heard.items() if name not in known]
        return [it for it in found if it.status is AlertStatus.FIRING and it.severity != "info"]

    def forget(self) -> None:
        """Let go of alerts that have been over for long and are spoken of nowhere."""
        spoken_of = self.spoken_of
        for name, heard in list(self.heard.items()):
            with self.isolation.item("alert", name):
                if name not in spoken_of and is_forgettable(heard, self.now):
                    del self.heard[name]

    def again(self) -> datetime | None:
        """Return when to decide again at the latest."""
        soon = self.now + SOON
        return min((max(at, soon) for at in self.wake if at > self.now), default=None)

    def _time(self, at: datetime | None) -> str:
        return f"{local(at, self.house.zone):%Y-%m-%d %H:%M:%S}" if at else "never"


def inhibited(
    house: Policy, picture: PipelineState, now: datetime, isolation: ItemIsolation = NOT_ISOLATED
) -> dict[str, Inhibited]:
    """Return which alerts are inhibited, by which, and until when where that is known: by fingerprint."""
    alerts = {name: heard.alert for name, heard in picture.alerts.items()}
    told = {name for thread in picture.groups.values() for name in thread.reported}
    untold = frozenset(it for it in told if it in alerts and alerts[it].status is AlertStatus.RESOLVED)
    return house.inhibitor.inhibited(alerts, now, untold, isolation)


def suppressed(
    house: Policy, picture: PipelineState, silences: Iterable[Silence], now: datetime
) -> dict[str, list[str]]:
    """Return why nobody is notified of alerts that fire, in words, by fingerprint: inhibited, silenced, in a window."""
    found: dict[str, list[str]] = {}
    for name, by in inhibited(house, picture, now).items():
        found.setdefault(name, []).append(f"inhibited by {picture.alerts[by.source].alert.name}")
    opened = house.windows.open(now)
    active = [silence for silence in silences if silence.active(now)]
    for name, heard in picture.alerts.items():
        if heard.alert.status is AlertStatus.FIRING:
            said = [
                f"silenced by {it.by or 'somebody'} until {local(it.ends, house.zone):%Y-%m-%d %H:%M %Z}"
                for it in active
                if matches_all(it.matchers, heard.alert.labels)
            ]
            said += [f"in window {it.name}" for it in opened if matches_all(it.matchers, heard.alert.labels)]
            if said:
                found.setdefault(name, []).extend(said)
    return found


def decide(house: Policy, picture: PipelineState, silences: Iterable[Silence], now: datetime) -> Decision:
    """
    Decide what is told now.

    When an item fails, all is decided once more without it, so that the others are told as if it were not there.
    """
    isolation, silences = ItemIsolation(), list(silences)
    while True:
        known = len(isolation.failures)
        decision = _Deciding(house, picture, silences, now, isolation).decide()
        if len(isolation.failures) == known:
            return decision
