"""The workers of all channels: started, reconfigured, and asked for their health together."""

import asyncio
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection

from toban.core.lifecycle import SERVICE_STOP_SECONDS
from toban.core.metric_registry import MetricRegistry
from toban.core.notification import Notification
from toban.notify.channel import Channel, ChannelTools
from toban.notify.channel_worker import ChannelWorker
from toban.notify.queued_notifications import CHANNEL_QUEUES, queue_of, reroute
from toban.state import outbox
from toban.state.database import State

ALL_DUE: Final = timedelta(days=3650)
"""Beyond any time at which a message may be due."""
BATCH: Final = 2_000
"""How many messages are rerouted in one statement."""
STUCK: Final = timedelta(minutes=2)
"""How long a message may wait before notify is unhealthy."""


class ChannelWorkers:
    """One worker for each channel, by its name."""

    def __init__(self, state: State, meters: MetricRegistry) -> None:
        self.by_name: dict[str, ChannelWorker] = {}
        self._state = state
        self._meters = meters
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._group: asyncio.TaskGroup | None = None
        self._fallback = ""
        self._orphaned: list[Notification] = []
        """Messages in memory for channels that are no longer configured."""

    def set_channels(self, channels: Mapping[str, Channel], fallback: str, tools: ChannelTools) -> None:
        """Make a worker for each channel; one whose channel is unchanged goes on."""
        before, self.by_name, self._fallback = self.by_name, {}, fallback
        for name, channel in channels.items():
            reroute_to, worker = fallback_of(name, channels, fallback), before.get(name)
            if worker and worker.channel == channel:
                worker.configure(reroute_to, tools)
            else:
                worker = ChannelWorker(channel, reroute_to, self._state, tools, self._meters, self._wake, worker)
            self.by_name[name] = worker

    async def replace_channels(self, channels: Mapping[str, Channel], fallback: str, tools: ChannelTools) -> bool:
        """
        Go on with other channels; those that are unchanged are not interrupted.

        Return whether one is gone: what waits for it in state must be rerouted.
        """
        ended = [name for name, worker in self.by_name.items() if channels.get(name) != worker.channel]
        tasks = [self._tasks.pop(name) for name in ended if name in self._tasks]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=SERVICE_STOP_SECONDS)
        removed = [name for name in ended if name not in channels]
        self._orphaned += [it for name in removed for it in self.by_name[name].direct]
        self.set_channels(channels, fallback, tools)
        self.start(self._group)
        return bool(removed)

    def start(self, group: asyncio.TaskGroup | None) -> None:
        """Start the workers that don't run yet, once there is a group to run them in."""
        self._group = group
        for name, worker in self.by_name.items() if group else ():
            if group and name not in self._tasks:
                self._tasks[name] = group.create_task(worker.run(), name=f"channel {name}")

    def wake(self) -> None:
        """Wake all workers: there may be something to send."""
        for worker in self.by_name.values():
            worker.wake()

    def _wake(self, name: str) -> None:
        self.by_name[name].wake()

    @property
    def _default(self) -> str:
        """The channel of messages whose own channel is gone; empty where there is none at all."""
        return self._fallback or next(iter(self.by_name), "")

    def enqueue(self, connection: Connection, message: Notification, now: datetime) -> None:
        """Put a message in its channel's queue; when that channel is gone, in the default one's."""
        channel = message.receiver if message.receiver in self.by_name else self._default
        if channel:
            outbox.enqueue(connection, queue_of(channel), message.key, message.as_dict(), now, message.group_id)

    def reroute_orphaned(self, connection: Connection, now: datetime) -> None:
        """Reroute what waits in state for channels that are no longer configured."""
        for queue in outbox.queues(connection, CHANNEL_QUEUES):
            channel = queue.removeprefix(CHANNEL_QUEUES)
            if channel not in self.by_name:
                self._reroute_queue(connection, queue, channel, now)

    def _reroute_queue(self, connection: Connection, queue: str, channel: str, now: datetime) -> None:
        to = self._default
        # A message behind another of its group can be claimed once that is gone.
        while messages := outbox.claim(connection, queue, now + ALL_DUE, timedelta(), BATCH):
            for message in messages:
                try:
                    if to:
                        why = "this channel was removed from the configuration"
                        reroute(connection, message, channel, to, why, now)
                except outbox.UnreadableMessageError as error:
                    outbox.quarantine_message(connection, message, error, now)
                else:
                    outbox.drop(connection, message, "channel removed")

    def send_from_memory(self, message: Notification) -> None:
        """Send a message that can't be put in the outbox, because state is unavailable."""
        if message.receiver in self.by_name:
            self.by_name[message.receiver].send_from_memory(message)

    def in_memory(self) -> list[Notification]:
        """Return the messages that are only in memory."""
        return [*self._orphaned, *(message for worker in self.by_name.values() for message in worker.direct)]

    def clear_memory(self) -> None:
        """Forget the messages in memory: they are in the outbox."""
        for worker in self.by_name.values():
            worker.direct.clear()
        self._orphaned.clear()

    def problems(self, now: datetime) -> Iterator[str]:
        """Say which channels and recipients can't be reached, and since long enough to matter."""
        for worker in self.by_name.values():
            if (failure := worker.failure) and (failure.permanent or now - failure.since >= STUCK):
                yield f"{worker.name}: {'rejected' if failure.permanent else 'failing'}: {failure.message}"
            for it in worker.refused.values():
                if it.permanent or now - it.since >= STUCK:
                    yield f"{worker.name}: {it.name} is rejected: {it.message}"

    def is_delivering(self, now: datetime) -> bool:
        """Tell whether one channel at least delivers; true where there is none."""
        stuck = [
            worker.failure is not None
            or (worker.waiting.since is not None and now - worker.waiting.since > STUCK and worker.waiting.size > 0)
            for worker in self.by_name.values()
        ]
        return not stuck or not all(stuck)


def fallback_of(name: str, channels: Mapping[str, Channel], chosen: str) -> str:
    """Return the channel for what another one can't deliver: the chosen one, else one that pages nobody."""
    if chosen and chosen != name:
        return chosen
    others = sorted((channel.pages, other) for other, channel in channels.items() if other != name)
    return others[0][1] if others else ""
