"""What is known of notifications at one time, for whoever shows it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Self

from toban.core.alerts import Alert
from toban.core.labels import Labels
from toban.notify import repository
from toban.notify.channel_worker import ChannelWorker
from toban.notify.pipeline_run import PipelineRun, PipelineState, Policy
from toban.notify.repository import RefusedRecipient
from toban.notify.routing import Destination
from toban.state.database import State


@dataclass(frozen=True, slots=True)
class ChannelReport:
    """A channel: how many notifications wait for it, what is wrong with it, and which recipients it refused."""

    name: str
    kind: str
    waiting: int
    error: str
    recipients: Sequence[RefusedRecipient]

    @classmethod
    def of(cls, worker: ChannelWorker) -> Self:
        """Return the report of a channel."""
        recipients = tuple(worker.refused.values())
        return cls(worker.name, worker.channel.kind, worker.waiting.size, worker.problem, recipients)


@dataclass(frozen=True, slots=True)
class NotificationReport:
    """The channels, the policy, the alerts, and the last run of the pipeline."""

    channels: Sequence[ChannelReport]
    policy: Policy
    state: PipelineState
    last_run: PipelineRun
    at: datetime

    def alerts(self) -> dict[str, Alert]:
        """Return the alerts that the pipeline tracks, by fingerprint."""
        return {name: tracked.alert for name, tracked in self.state.alerts.items()}

    def suppressed(self) -> Mapping[str, Sequence[str]]:
        """Return why nobody is notified of firing alerts, by fingerprint."""
        return self.last_run.suppression_reasons()

    def inhibited_by(self, fingerprint: str) -> str | None:
        """Return the fingerprint of the alert that inhibits another."""
        return self.last_run.inhibited_by.get(fingerprint)

    def muted_by(self, fingerprint: str) -> Sequence[str]:
        """Return the maintenance windows that mute an alert."""
        return tuple(self.last_run.muted_by.get(fingerprint, ()))

    def destinations(self, labels: Labels) -> Sequence[Destination]:
        """Return the channels and groups to which an alert with these labels goes."""
        return self.policy.routing.route(labels)


@dataclass(frozen=True, slots=True)
class StageReport:
    """What a stage of the pipeline decided about an alert, when and why."""

    at: datetime
    stage: str
    reason: str


async def stage_history(state: State, fingerprint: str) -> Sequence[StageReport]:
    """Return what the stages decided about an alert, oldest first. Raises ``StateError``."""
    notes = await state.transaction(partial(repository.notes, fingerprint=fingerprint))
    return [StageReport(at, note.stage, note.reason) for at, note in notes]
