"""One run of the notification pipeline: its inputs, and what its stages have found so far."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final, NamedTuple, Self
from zoneinfo import ZoneInfo

from toban.core.notification import Notification, NotificationKind
from toban.notify.flap_detection import ReportedAs, TrackedAlert
from toban.notify.inhibition import Inhibitor
from toban.notify.maintenance_windows import MaintenanceWindows
from toban.notify.notification_group import NotificationGroup
from toban.notify.rendering import local
from toban.notify.routing import Destination, GroupTiming, Routing
from toban.notify.settings import NotifySettings
from toban.notify.silences import Silence

SOON: Final = timedelta(milliseconds=1)
"""How soon the pipeline may run again."""


class StageNote(NamedTuple):
    """What a stage did with an alert, and why."""

    stage: str
    reason: str


@dataclass(frozen=True, slots=True)
class PipelineState:
    """What the pipeline remembers between runs: alerts by fingerprint, and open notification groups by id."""

    alerts: Mapping[str, TrackedAlert] = field(default_factory=dict)
    groups: Mapping[str, NotificationGroup] = field(default_factory=dict)

    def without_groups(self, ids: Iterable[str]) -> Self:
        """Return it without some groups."""
        removed = set(ids)
        return replace(self, groups={name: it for name, it in self.groups.items() if name not in removed})


@dataclass(frozen=True, slots=True)
class Policy:
    """What the configuration says about notifications: where alerts go, and what suppresses them."""

    settings: NotifySettings
    routing: Routing
    inhibitor: Inhibitor
    windows: MaintenanceWindows

    @property
    def zone(self) -> ZoneInfo:
        """The time zone of times in messages."""
        return ZoneInfo(self.settings.timezone)


@dataclass(frozen=True, slots=True)
class PendingNotification:
    """
    A notification that is due for a group.

    ``reports`` is how each alert of the group is reported now, ``changes`` those of them that differ from the last
    notification.
    """

    group: NotificationGroup
    kind: NotificationKind
    reports: Mapping[str, ReportedAs]
    changes: Mapping[str, ReportedAs]
    timing: GroupTiming


@dataclass(frozen=True, slots=True)
class PipelineRun:
    """
    Inputs of a run and results of the stages that have run; alerts are named by fingerprint, groups by id.

    ``failed_groups`` are left out because deciding about them failed; they stay as they are, and so do their alerts.
    """

    policy: Policy
    now: datetime
    silences: Sequence[Silence]
    alerts: Mapping[str, TrackedAlert]
    groups: Mapping[str, NotificationGroup]
    failed_groups: Mapping[str, NotificationGroup] = field(default_factory=dict)

    destinations: Mapping[str, Sequence[Destination]] = field(default_factory=dict)
    inhibited_by: Mapping[str, str] = field(default_factory=dict)
    """The source that inhibits each inhibited alert."""
    lingering: frozenset[str] = frozenset()
    """The inhibited alerts whose source is resolved: they fire as long as their windows reach back to it."""
    silenced_by: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """The ids of the silences that match each silenced alert."""
    muted_by: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """The open maintenance windows that match each alert."""
    pending: Sequence[PendingNotification] = ()
    messages: Sequence[Notification] = ()
    notes: Mapping[str, Sequence[StageNote]] = field(default_factory=dict)
    wake_at: Sequence[datetime] = ()
    """Times at which the pipeline may decide otherwise although no alert changes."""

    @property
    def grouped(self) -> set[str]:
        """The alerts that belong to a group."""
        groups = [*self.groups.values(), *self.failed_groups.values()]
        return {name for group in groups for name in group.members}

    def is_suppressed(self, name: str) -> bool:
        """Tell whether an alert is inhibited, silenced or muted."""
        return name in self.inhibited_by or name in self.silenced_by or name in self.muted_by

    def suppression_reasons(self) -> dict[str, list[str]]:
        """Return why suppressed alerts send no notifications."""
        reasons = {
            name: [note.reason for note in notes if note.stage in {"inhibit", "mute"}]
            for name, notes in self.notes.items()
        }
        return {name: found for name, found in reasons.items() if found}

    def noted(self, stage: str, reasons: Iterable[tuple[str, str]], wake_at: Iterable[datetime] = ()) -> Self:
        """Return it with what a stage noted about alerts, and when to run again."""
        notes = {name: list(found) for name, found in self.notes.items()}
        for name, reason in reasons:
            notes.setdefault(name, []).append(StageNote(stage, reason))
        return replace(self, notes=notes, wake_at=(*self.wake_at, *wake_at))

    def local_time(self, at: datetime | None) -> str:
        """Return a time as the team's clocks show it."""
        return f"{local(at, self.policy.zone):%Y-%m-%d %H:%M:%S %Z}".rstrip() if at else "never"
