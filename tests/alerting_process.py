"""Evaluation and notification together in virtual time, with a receiver that fails and a process that is killed."""

import random
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import httpx2

from tests.fakes import FakeClock, ListSink
from tests.promql_scripts import ScriptSource
from tests.rule_evaluation import ImmediateEngine
from toban.alerting.acknowledge_commands import AcknowledgeCommands
from toban.alerting.alert_store import AlertStore
from toban.alerting.rule_engines import RuleEngineName, RuleEnginePair
from toban.alerting.rule_file import parse_rule_file
from toban.alerting.service import EvaluationService
from toban.core.alerts import AlertChange
from toban.core.connection_check import ConnectionCheck
from toban.core.errors import DeliveryError, StateError
from toban.core.metric_registry import MetricRegistry
from toban.core.notification import Notification, NotificationKind
from toban.incidents.auditor import IncidentAuditor
from toban.incidents.book import Suppression
from toban.incidents.commands import IncidentCommands
from toban.incidents.policy import IncidentPolicy
from toban.incidents.service import IncidentPorts, IncidentService
from toban.notify.channel import Channel, ChannelTools, Handle
from toban.notify.inhibition import Inhibitor
from toban.notify.maintenance_windows import MaintenanceWindows
from toban.notify.pipeline_run import Policy
from toban.notify.routing import Routing
from toban.notify.service import NotificationService
from toban.notify.settings import NotifySettings
from toban.oncall.policy import personal_channels
from toban.state.backends import SqliteBackend
from toban.state.database import State


class ProcessKilled(BaseException):
    """The process was killed here."""


@dataclass
class Receiver:
    """Stores the messages that it received; ``outcome`` decides the outcome of each attempt."""

    outcome: Callable[[], str] = lambda: "ok"
    received: list[tuple[datetime, Notification]] = field(default_factory=list)

    def kinds(self, name: str) -> dict[str, list[str]]:
        """Return the kinds of a channel's own messages, by notification group, without duplicates."""
        found: dict[str, dict[str, str]] = {}
        for _, it in self.received:
            if it.receiver != name:
                continue
            found.setdefault(it.group_id, {}).setdefault(it.key, it.kind.value)
        return {group: list(kinds.values()) for group, kinds in found.items()}

    def duplicates(self) -> int:
        """Return how many messages were received again."""
        return sum(count - 1 for count in Counter(it.key for _, it in self.received).values())


class MemoryChannel(Channel):
    """A channel whose receiver is in memory."""

    kind: Literal["memory"] = "memory"

    async def send(self, notification: Notification, handle: Handle, tools: ChannelTools) -> Handle:
        receiver = RECEIVERS[self.name]
        outcome = receiver.outcome()
        if outcome == "refused":
            raise DeliveryError(f"{self.name}: answered 404", permanent=True)
        if outcome == "busy":
            raise DeliveryError(f"{self.name}: answered 429", after=7)
        if outcome == "broken":
            raise DeliveryError(f"{self.name}: answered 500")
        if outcome == "dies before":
            raise ProcessKilled
        receiver.received.append((tools.clock.now(), notification))
        if outcome == "half":
            raise DeliveryError(f"{self.name}: the response was cut off")
        if outcome == "dies after":
            raise ProcessKilled
        return {"messages": int(handle.get("messages", 0)) + 1}

    async def check_connection(self, tools: ChannelTools) -> ConnectionCheck:
        return ConnectionCheck(ok=True, message="it is in memory")


RECEIVERS: dict[str, Receiver] = {}
"""The receivers of channels by name: channels are frozen settings."""


class AlertingProcess:
    """The alerting part of one toban process, over a folder and a clock that outlive it."""

    def __init__(
        self,
        rules: str,
        source: ScriptSource,
        folder: Path,
        clock: FakeClock,
        channels: Sequence[str] = ("slack",),
        incidents: IncidentPolicy | None = None,
        **settings: Any,
    ) -> None:
        """``incidents`` opens incidents under a policy; without one there are none."""
        self.clock = clock
        self.state = State(SqliteBackend(folder / "toban.db"), clock, MetricRegistry())
        memory_channels = {name: MemoryChannel(name=name) for name in channels}
        self._tools = ChannelTools(httpx2.AsyncClient(), clock)
        personal = personal_channels(incidents.on_call) if incidents else frozenset()
        self.notification = NotificationService(
            _policy(memory_channels, settings, personal),
            memory_channels,
            self.state,
            self._tools,
            clock,
            MetricRegistry(),
        )
        self.alert_store = AlertStore(self.state, folder, self.notification.wake, self._change_without_state)
        self.incidents: IncidentService | None = None
        if incidents:
            ports = IncidentPorts(incidents, self._suppression, AcknowledgeCommands(self.alert_store, clock))
            self.incidents = IncidentService(ports, self.notification, self.state, clock, MetricRegistry())
            self.commands = IncidentCommands(self.incidents, self.state, clock)
            self.auditor = IncidentAuditor(self.incidents, self.state, clock, MetricRegistry())
        engine = ImmediateEngine(source)
        self.evaluation = EvaluationService(
            parse_rule_file(rules, "rules.yaml"),
            timedelta(seconds=15),
            self.alert_store,
            {RuleEngineName.EMBEDDED: RuleEnginePair(engine, engine)},
            ListSink(),
            self.state,
            clock,
            MetricRegistry(),
        )
        self._evaluate_at = clock.now()
        self._opened = False

    async def _change_without_state(self, changes: Sequence[AlertChange]) -> None:
        await self.notification.decide_without_state(changes)
        if self.incidents:
            await self.incidents.change_without_state(changes)

    def _suppression(self) -> Suppression:
        run = self.notification.last_run
        return Suppression(run.inhibited_by, run.lingering, frozenset((*run.silenced_by, *run.muted_by)))

    async def reload(self, channels: Sequence[str], **settings: Any) -> None:
        """Reload other channels and settings of `notify`."""
        memory_channels = {name: MemoryChannel(name=name) for name in channels}
        await self.notification.configure(_policy(memory_channels, settings), memory_channels, self._tools)

    async def until(self, end: datetime, interval: float = 15) -> None:
        """Run until a time: evaluate, decide and send, each when it is due."""
        if not self._opened:
            await self.evaluation.open()
            self._opened = True
        while self.clock.now() < end:
            if self.clock.now() >= self._evaluate_at:
                for group in self.evaluation.groups:
                    await self.evaluation.evaluate(group)
                await self.evaluation.evaluate_self()
                self._evaluate_at = self.clock.now() + timedelta(seconds=interval)
            decide_at = await self.notification.decide()
            if self.incidents:
                decide_at = min(decide_at, await self.incidents.decide())
            waits = [await self._send(worker) for worker in self.notification.workers.values()]
            now = self.clock.now()
            following = min([self._evaluate_at, decide_at, *(now + timedelta(seconds=wait) for wait in waits)])
            self.clock.advance(max(0.001, (following - now).total_seconds()))

    async def _send(self, worker: Any) -> float:
        try:
            return await worker.drain()
        except StateError:
            await worker.send_unclaimed()
            await worker.send_direct()
            return 2.0

    async def close(self) -> None:
        await self.state.__aexit__(None, None, None)


def _policy(
    channels: Mapping[str, MemoryChannel], settings: Mapping[str, Any], personal: Collection[str] = ()
) -> Policy:
    notify = NotifySettings.model_validate(settings)
    routing = Routing(notify, {name: name == "pagerduty" for name in channels}, personal)
    return Policy(notify, routing, Inhibitor(notify.inhibit), MaintenanceWindows(notify))


def random_outcomes(seed: random.Random, weights: Mapping[str, float]) -> Callable[[], str]:
    """Return a function that draws outcomes by their weights."""
    return lambda: seed.choices(list(weights), list(weights.values()))[0]


def ends_resolved(kinds: Sequence[str]) -> bool:
    """Return whether a group's messages end with their only resolution."""
    return kinds[-1] == NotificationKind.RESOLVED and NotificationKind.RESOLVED not in kinds[:-1]
