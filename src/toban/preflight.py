"""What `toban check` and `toban init` try: each connection once, keeping nothing."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack

from toban.collect import default_collectors
from toban.collect.preflight import Tried, tried_out
from toban.core.clock import SystemClock
from toban.core.errors import CollectError, DeliveryError
from toban.core.metric_registry import Meters
from toban.core.redaction import address_shown
from toban.generation import lent_tools, streams
from toban.health.checks import Unknown, checks, untold
from toban.instruments.cardinality import Budgets
from toban.logs.recent_lines import Recent
from toban.notify.channel import Proof
from toban.notify.channel import Tools as NotifyTools
from toban.notify.muting import Inhibiting, Windows
from toban.notify.pipeline import House
from toban.notify.routing import Routing
from toban.notify.system_notices import drill
from toban.remote.query_client import Asking
from toban.remote.remote_write import Nothing, Writing
from toban.settings import Settings
from toban.shop.connections import lent
from toban.shop.grants import lacking


async def tried(settings: Settings) -> tuple[Sequence[Tried], Sequence[Unknown]]:
    """Look once at every target, keeping nothing; return what was found, and what health can't know."""
    clock, meters = SystemClock(), Meters()
    async with AsyncExitStack() as stack:
        tools = await lent_tools(stack, settings, clock, meters)
        watched = [one for one in default_collectors.collectors(settings.collect, settings.shop) if one.enabled]
        found = await asyncio.gather(*(tried_out(collector, tools) for collector in watched))
    known, unknown = checks(settings.shop)
    return found, [*unknown, *untold(known)]


async def proved(settings: Settings) -> list[tuple[str, Proof]]:
    """Try each channel as far as that goes without sending anything."""
    async with AsyncExitStack() as stack:
        tools = await lent_tools(stack, settings, SystemClock(), Meters())
        given = NotifyTools(tools.http, tools.clock)
        proofs = await asyncio.gather(*(channel.prove(given) for channel in settings.channels.values()))
    return list(zip(settings.channels, proofs, strict=True))


async def sent(settings: Settings, name: str) -> Proof:
    """Send a test message through a channel; return what came of it."""
    channel, clock, notify = settings.channels[name], SystemClock(), settings.notify
    house = House(notify, Routing(notify, {name: channel.pages}), Inhibiting([]), Windows(notify))
    now = clock.now()
    async with AsyncExitStack() as stack:
        tools = await lent_tools(stack, settings, clock, Meters())
        given = NotifyTools(tools.http, clock, notify.address or "")
        try:
            async with asyncio.timeout(channel.timeout.total_seconds()):
                handle = await channel.send(drill(house, name, f"test-{now.isoformat()}", now), {}, given)
        except TimeoutError:
            return Proof(ok=False, says=f"no answer within {channel.timeout.total_seconds():g} s")
        except DeliveryError as error:
            return Proof(ok=False, says=str(error))
    if handle.get("refused"):
        return Proof(ok=False, says=f"refused for {', '.join(f'{it}: {why}' for it, why in handle['refused'].items())}")
    return Proof(ok=True, says="the test message was accepted: look whether it is there")


async def remote_tried(settings: Settings) -> list[tuple[str, str]]:
    """Try the outside engine, storing nothing there; return what is wrong with each address, or nothing."""
    remote, clock, found = settings.metrics.remote, SystemClock(), list[tuple[str, str]]()
    if not remote:
        return found
    async with AsyncExitStack() as stack:
        http = (await lent_tools(stack, settings, clock, Meters())).http
        if remote.write_url:
            found.append(
                (address_shown(remote.write_url), await Writing(remote, Nothing(), http, clock, Meters()).prove())
            )
        if remote.query_url:
            found.append((address_shown(remote.query_url), await Asking(remote, http).prove()))
    return found


async def streams_tried(settings: Settings) -> list[tuple[str, str]]:
    """Try each stream of log lines, taking none; return what is wrong with each, or nothing."""
    clock, meters = SystemClock(), Meters()
    found = streams(settings, Recent(meters, Budgets(meters)), clock, meters)
    return [(address_shown(one.server), await one.prove()) for one in found]


async def lacks(settings: Settings) -> list[str]:
    """Return the grants that toban's role lacks in the shop's database; none where nobody can ask."""
    async with lent(settings.shop) as shop:
        try:
            return await lacking(shop.database, settings.shop.customer_type) if shop.database else []
        except CollectError:
            return []  # that it can't be looked at was said when it was tried
