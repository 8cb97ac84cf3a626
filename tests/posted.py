"""Judging and telling together in virtual time, with a receiver that has bad days and a process that dies anywhere."""

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import httpx2

from tests.fakes import FakeClock, ListSink
from tests.judged import Asked
from tests.promql_scripts import ScriptSource
from toban.alerting.alert_store import AlertStore
from toban.alerting.rule_file import parse_rule_file
from toban.alerting.service import EvaluationService
from toban.core.errors import DeliveryError, StateError
from toban.core.metric_registry import MetricRegistry
from toban.notify.channel import Channel, ChannelTools, ConnectionCheck, Handle
from toban.notify.inhibition import Inhibitor
from toban.notify.maintenance_windows import MaintenanceWindows
from toban.notify.notification import Notification, NotificationKind
from toban.notify.pipeline_run import Policy
from toban.notify.routing import Routing
from toban.notify.service import NotificationService
from toban.notify.settings import NotifySettings
from toban.state.backends import SqliteBackend
from toban.state.database import State


class Killed(BaseException):
    """The process died here."""


@dataclass
class Receiver:
    """Keeps what reached it; ``mood`` is asked for each message how it is answered."""

    mood: Callable[[], str] = lambda: "ok"
    got: list[tuple[datetime, Notification]] = field(default_factory=list)

    def kinds(self, name: str) -> dict[str, list[str]]:
        """Return the kinds of what arrived for a channel itself, by thread, without repetitions."""
        found: dict[str, dict[str, str]] = {}
        for _, it in self.got:
            if it.receiver != name:
                continue
            found.setdefault(it.group_id, {}).setdefault(it.key, it.kind.value)
        return {thread: list(kinds.values()) for thread, kinds in found.items()}

    def doubles(self) -> int:
        """Return how many messages arrived more than once."""
        return sum(many - 1 for many in Counter(it.key for _, it in self.got).values())


class Pretend(Channel):
    """A channel to a receiver in memory."""

    kind: Literal["pretend"] = "pretend"

    async def send(self, notification: Notification, handle: Handle, tools: ChannelTools) -> Handle:
        receiver = RECEIVERS[self.name]
        mood = receiver.mood()
        if mood == "refused":
            raise DeliveryError(f"{self.name}: answered 404", permanent=True)
        if mood == "busy":
            raise DeliveryError(f"{self.name}: answered 429", after=7)
        if mood == "broken":
            raise DeliveryError(f"{self.name}: answered 500")
        if mood == "dies before":
            raise Killed
        receiver.got.append((tools.clock.now(), notification))
        if mood == "half":
            raise DeliveryError(f"{self.name}: the answer broke off")
        if mood == "dies after":
            raise Killed
        return {"messages": int(handle.get("messages", 0)) + 1}

    async def check_connection(self, tools: ChannelTools) -> ConnectionCheck:
        return ConnectionCheck(ok=True, message="it is in memory")


RECEIVERS: dict[str, Receiver] = {}
"""The receivers of channels by name: channels are frozen settings."""


class Life:
    """One life of the process over a folder and a clock that outlive it."""

    def __init__(
        self,
        rules: str,
        source: ScriptSource,
        folder: Path,
        clock: FakeClock,
        channels: Sequence[str] = ("slack",),
        **settings: Any,
    ) -> None:
        self.clock = clock
        self.state = State(SqliteBackend(folder / "toban.db"), clock, MetricRegistry())
        made = {name: Pretend(name=name) for name in channels}
        self._tools = ChannelTools(httpx2.AsyncClient(), clock)
        self.dispatching = NotificationService(
            _house(made, settings), made, self.state, self._tools, clock, MetricRegistry()
        )
        self.ledger = AlertStore(self.state, folder, self.dispatching.wake, self.dispatching.decide_without_state)
        self.evaluating = EvaluationService(
            parse_rule_file(rules, "rules.yaml"),
            timedelta(seconds=15),
            self.ledger,
            Asked(source),
            ListSink(),
            self.state,
            clock,
            MetricRegistry(),
        )
        self._again = clock.now()
        self._judge_at = clock.now()
        self._opened = False

    async def reload(self, channels: Sequence[str], **settings: Any) -> None:
        """Go on with other channels and settings of `notify`."""
        made = {name: Pretend(name=name) for name in channels}
        await self.dispatching.configure(_house(made, settings), made, self._tools)

    async def until(self, end: datetime, every: float = 15) -> None:
        """Live until a time: judge, decide and send, each when it is due."""
        if not self._opened:
            await self.evaluating.open()
            self._opened = True
        while self.clock.now() < end:
            if self.clock.now() >= self._judge_at:
                for bench in self.evaluating.groups:
                    await self.evaluating.evaluate(bench)
                await self.evaluating.evaluate_self()
                self._judge_at = self.clock.now() + timedelta(seconds=every)
            again = await self.dispatching.decide()
            rests = [await self._sent(lane) for lane in self.dispatching.workers.values()]
            now = self.clock.now()
            following = min([self._judge_at, again, *(now + timedelta(seconds=rest) for rest in rests)])
            self.clock.advance(max(0.001, (following - now).total_seconds()))

    async def _sent(self, lane: Any) -> float:
        try:
            return await lane.drain()
        except StateError:
            await lane.send_unclaimed()
            await lane.send_direct()
            return 2.0

    async def close(self) -> None:
        await self.state.__aexit__(None, None, None)


def _house(channels: Mapping[str, Pretend], settings: Mapping[str, Any]) -> Policy:
    notify = NotifySettings.model_validate(settings)
    routing = Routing(notify, {name: name == "pagerduty" for name in channels})
    return Policy(notify, routing, Inhibitor(notify.inhibit), MaintenanceWindows(notify))


def moods(seed: random.Random, weights: Mapping[str, float]) -> Callable[[], str]:
    """Return a mood that changes by chance."""
    return lambda: seed.choices(list(weights), list(weights.values()))[0]


def is_over(kinds: Sequence[str]) -> bool:
    """Tell whether a thread's messages begin and end as they must."""
    return kinds[-1] == NotificationKind.RESOLVED and NotificationKind.RESOLVED not in kinds[:-1]
