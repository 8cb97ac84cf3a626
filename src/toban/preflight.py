"""What `toban check` and `toban init` try: each connection once, keeping nothing."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Final

from toban.collect import default_collectors
from toban.collect.preflight import ProbeResult, probe
from toban.core.clock import SystemClock
from toban.core.connection_check import ConnectionCheck
from toban.core.errors import CollectError, DeliveryError, QueryError
from toban.core.log_line import LogLevel
from toban.core.metric_registry import MetricRegistry
from toban.core.query_result import QueryResult
from toban.core.redaction import redact_url
from toban.foundation import open_collector_tools, open_http_client
from toban.health.checks import UnavailableCheck, checks, unreported
from toban.logs.outside.assembly import OutsideTools, check_outside
from toban.logs.sink import SinkTools
from toban.logs.tail.preflight import PatternCheck, check_files
from toban.maintenance.commands import problem_of
from toban.maintenance.settings import all_tasks
from toban.maintenance.task import TaskTools
from toban.notify.assembly import policy
from toban.notify.channel import ChannelTools
from toban.notify.system_notices import channel_test_notification
from toban.oncall.report import schedule_problems
from toban.oncall.service import read_schedule
from toban.remote.query_client import RemoteQueryClient
from toban.remote.remote_write import EmptySampleLog, RemoteWriteService
from toban.service_generation import fly_log_connection
from toban.service_ports import on_call_zone
from toban.settings import Settings
from toban.shop.connections import open_connections
from toban.shop.grants import missing_grants

TEST_LIMIT: Final = timedelta(minutes=1)
"""How long a test notification may take at most, while somebody waits for its result."""


async def probe_targets(settings: Settings) -> tuple[Sequence[ProbeResult], Sequence[UnavailableCheck]]:
    """Look once at every target, keeping nothing; return what was found, and what health can't know."""
    clock, meters = SystemClock(), MetricRegistry()
    async with AsyncExitStack() as stack:
        tools = await open_collector_tools(stack, settings, clock, meters)
        watched = [one for one in default_collectors.with_defaults(settings.collect, settings.shop) if one.enabled]
        found = await asyncio.gather(*(probe(collector, tools) for collector in watched))
    known, unknown = checks(settings.shop)
    return found, [*unknown, *unreported(known)]


async def check_channels(settings: Settings) -> list[tuple[str, ConnectionCheck]]:
    """Try each channel as far as that goes without sending anything."""
    async with AsyncExitStack() as stack:
        tools = await open_collector_tools(stack, settings, SystemClock(), MetricRegistry())
        given = ChannelTools(tools.http, tools.clock)
        proofs = await asyncio.gather(*(channel.check_connection(given) for channel in settings.channels.values()))
    return list(zip(settings.channels, proofs, strict=True))


def unproven(settings: Settings) -> str:
    """Say so when no channel can tell whether a notification arrived; empty otherwise."""
    channels = settings.channels
    if not channels or any(channel.proves_delivery for channel in channels.values()):
        return ""
    return f"No channel can tell whether a notification arrived ({', '.join(channels)}): add one of another kind."


def unreachable_hooks(settings: Settings) -> list[str]:
    """Say for which channels the address is not set at which their services reach toban with what people answer."""
    hooks = {} if settings.notify.address else {name: it.answer_hook for name, it in settings.channels.items()}
    return [
        f"{name}: answers come to {hook} at notify.address, and that is not set: set it to the URL at which the "
        "internet reaches toban, like https://toban.example.com"
        for name, hook in hooks.items()
        if hook
    ]


async def send_test(settings: Settings, name: str) -> ConnectionCheck:
    """Send a test message through a channel; return what came of it."""
    channel, clock, notify = settings.channels[name], SystemClock(), settings.notify
    now = clock.now()
    message = channel_test_notification(policy(notify, {name: channel}), name, now.isoformat(), now)
    async with AsyncExitStack() as stack:
        tools = await open_collector_tools(stack, settings, clock, MetricRegistry())
        given = ChannelTools(tools.http, clock, notify.address or "")
        limit = min(channel.max_duration, TEST_LIMIT).total_seconds()
        try:
            async with asyncio.timeout(limit):
                await channel.send(message, {}, given)
        except TimeoutError:
            return ConnectionCheck(ok=False, message=f"no answer within {limit:g} s")
        except DeliveryError as error:
            return ConnectionCheck(ok=False, message=str(error))
    if refused := given.attempt.refused:
        reasons = ", ".join(f"{recipient}: {refusal.message}" for recipient, refusal in refused.items())
        return ConnectionCheck(ok=False, message=f"refused for {reasons}")
    return ConnectionCheck(ok=True, message="the test message was accepted: look whether it is there")


async def check_remote(settings: Settings) -> list[tuple[str, str]]:
    """Try the remote engine, storing nothing there; return what is wrong with each address, or nothing."""
    remote, clock, found = settings.metrics.remote, SystemClock(), list[tuple[str, str]]()
    if not remote:
        return found
    async with AsyncExitStack() as stack:
        http = (await open_collector_tools(stack, settings, clock, MetricRegistry())).http
        if remote.write_url:
            found.append(
                (
                    redact_url(remote.write_url),
                    await RemoteWriteService(
                        remote, EmptySampleLog(), http, clock, MetricRegistry()
                    ).check_connection(),
                )
            )
        if remote.query_url:
            found.append((redact_url(remote.query_url), await RemoteQueryClient(remote, http).check_connection()))
    return found


async def check_streams(settings: Settings) -> list[tuple[str, str]]:
    """Try the stream of log lines, taking none; return what is wrong with it, or nothing."""
    stream = fly_log_connection(settings)
    return [(redact_url(stream.server), await stream.check())] if stream else []


async def check_log_files(settings: Settings) -> list[PatternCheck]:
    """Try each pattern of log files."""
    return await asyncio.to_thread(check_files, settings.logs.files)


async def check_log_sinks(settings: Settings) -> list[tuple[str, ConnectionCheck]]:
    """Try each sink of log lines as far as that goes without sending a line."""
    sinks, clock = settings.log_sinks, SystemClock()
    async with open_http_client() as http:
        checks = await asyncio.gather(*(sink.check_connection(SinkTools(http, clock)) for sink in sinks.values()))
    return list(zip(sinks, checks, strict=True))


async def check_outside_logs(settings: Settings) -> list[tuple[str, str]]:
    """Try the outside log engine; return what is wrong with it, or nothing."""
    outside = settings.logs.outside
    if not outside:
        return []
    async with open_http_client() as http:
        error = await check_outside(outside, OutsideTools(http, SystemClock(), MetricRegistry()))
    return [(redact_url(outside.url), error)]


def not_sent_outside(settings: Settings) -> str:
    """Say which lines will be missing in the outside log engine, for no sink sends them; empty where all are sent."""
    outside = settings.logs.outside
    if not outside:
        return ""
    sinks = [sink for sink in settings.log_sinks.values() if sink.kind == outside.kind]
    if not sinks:
        return (
            f"No log sink of the kind {outside.kind} sends lines to logs.outside: add one, unless a shipper does that."
        )
    if any(sink.level is LogLevel.DEBUG for sink in sinks):
        return ""
    levels = ", ".join(f"log_sinks.{sink.name} has level: {sink.level}" for sink in sinks)
    return f"Less severe lines are not sent to logs.outside, and are gone when toban deletes them: {levels}."


async def check_programs(settings: Settings) -> list[tuple[str, str]]:
    """Return what is wrong with the programs that each configured maintenance task runs on this machine, or nothing."""
    found, clock = list[tuple[str, str]](), SystemClock()
    async with AsyncExitStack() as stack:
        given = await open_collector_tools(stack, settings, clock, MetricRegistry())
        tools = TaskTools(given.http, clock, given.shop, NoSamples(), on_call_zone(settings), settings.data)
        for task in all_tasks(settings.maintenance):
            if task.not_configured(settings.shop):
                continue
            missing = await problem_of(task.missing_programs(tools))
            if missing is not None:
                found.append((task.name, missing))
    return found


class NoSamples:
    """Stands for toban's own samples, which a check does not open."""

    async def instant(self, query: str, at: int, *, time_limit: timedelta | None = None) -> QueryResult:
        """Refuse. Raises ``QueryError``."""
        raise QueryError("samples are not read here")


async def check_schedule(settings: Settings) -> list[str]:
    """Read the calendars of the on-call schedule once; return what is wrong with the next 30 days."""
    if not settings.on_call.people:
        return []
    now = SystemClock().now()
    async with open_http_client() as http:
        zone = on_call_zone(settings)
        schedule, problems = await read_schedule(settings.on_call, zone, http, now)
    pages = {name: channel.pages for name, channel in settings.channels.items()}
    return [*problems, *schedule_problems(schedule, settings.on_call, pages, zone, now)]


async def missing_rights(settings: Settings) -> list[str]:
    """Return the grants that toban's role lacks in the shop's database; none where nobody can ask."""
    async with open_connections(settings.shop) as shop:
        try:
            return await missing_grants(shop.database, settings.shop.customer_type) if shop.database else []
        except CollectError:
            return []  # that it can't be looked at was said when it was tried
