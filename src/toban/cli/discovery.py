"""Discovery of the environment for `toban init`: on Fly.io much can be found out."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Final

import httpx2

from toban.collect.collectors.fly.machines_api import MachinesApi
from toban.collect.tools import CollectorTools
from toban.core.clock import SystemClock
from toban.core.errors import CollectError
from toban.core.metric_registry import MetricRegistry
from toban.shop.connections import ShopConnections
from toban.shop.fly import MACHINES_API

CONNECT_TIMEOUT: Final = 2.0
"""Seconds that a machine of the same private network may take to accept a connection."""

SERVERS: Final = (3000, 8080)
"""Ports on which Vendure's server may listen."""
WORKER: Final = 3020
POSTGRES: Final = 5432

COMMON: Final = ("", "-server", "-api", "-vendure", "-worker", "-db", "-postgres", "-storefront", "-web")
"""The usual suffixes of the names of one shop's apps."""


@dataclass(frozen=True, slots=True)
class Discovery:
    """
    What was found: ``messages`` about it, ``proposed`` addresses of parts of the shop, ``known`` settings of `shop`.

    ``web`` are the settings of the section `web` for this environment.
    """

    messages: tuple[str, ...]
    proposed: Mapping[str, str] = field(default_factory=dict)
    known: Mapping[str, str | list[str]] = field(default_factory=dict)
    web: Mapping[str, str] = field(default_factory=dict)


async def discover(environment: Mapping[str, str]) -> Discovery | None:
    """Return what is known of this environment; nothing outside of Fly.io."""
    app = environment.get("FLY_APP_NAME")
    if not app:
        return None
    messages = [f"This is a machine of {app} on Fly.io, in {environment.get('FLY_REGION', 'some region')}."]
    known: dict[str, str | list[str]] = {}
    apps = _named_like(app)
    if environment.get("FLY_API_TOKEN"):
        try:
            org, found = await _organisation(environment)
        except CollectError as error:
            messages.append(f"FLY_API_TOKEN: {error}")
        else:
            apps = [name for name in found if name != app]
            known = {"fly_token": "${FLY_API_TOKEN}", "fly_org": org, "fly_apps": apps}
            messages.append(f"The organisation {org} has the apps {', '.join(apps) or 'none but this one'}.")
    else:
        messages.append("With FLY_API_TOKEN (fly tokens create readonly ORG) its machines can be monitored too.")
    proposed, more = await _proposed(apps)
    web = {"listen": "[::]:9119", "metrics": "[::]:9120", "token": "${TOBAN_TOKEN}"}
    return Discovery((*messages, *more), proposed, known, web)


async def _organisation(environment: Mapping[str, str]) -> tuple[str, list[str]]:
    """Return the organisation of this machine's app, and its apps. Raises ``CollectError``."""
    address = environment.get("FLY_FLAPS_BASE_URL") or MACHINES_API
    async with httpx2.AsyncClient() as http:
        tools = CollectorTools(http, SystemClock(), MetricRegistry(), ShopConnections(None, None))
        api = MachinesApi(tools, "fly", address, environment["FLY_API_TOKEN"])
        organization = await api.organization(environment["FLY_APP_NAME"])
        return organization, await api.apps(organization)


async def _proposed(apps: Iterable[str]) -> tuple[dict[str, str], list[str]]:
    """Return addresses of parts of the shop on the private network, and what else was found there."""
    wanted = [*product(apps, (*SERVERS, WORKER, POSTGRES))]
    reachable = dict(
        zip(wanted, await asyncio.gather(*(is_reachable(_host(app), port) for app, port in wanted)), strict=True)
    )
    proposed: dict[str, str] = {}
    messages: list[str] = []
    for (app, port), is_up in reachable.items():
        if not is_up:
            continue
        if port == POSTGRES:
            messages.append(f"PostgreSQL listens at {_host(app)}:{port}.")
        elif port == WORKER:
            proposed.setdefault("worker", f"http://{_host(app)}:{port}/health")
        else:
            proposed.setdefault("shop_api", f"http://{_host(app)}:{port}/shop-api")
    return proposed, messages


async def is_reachable(host: str, port: int) -> bool:
    """Tell whether a port accepts connections. Names ending in `.internal` are those of running machines."""
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT):
            _, writer = await asyncio.open_connection(host, port)
    except (OSError, TimeoutError, UnicodeError):
        return False
    writer.close()
    return True


def _host(app: str) -> str:
    return f"{app}.internal"


def _named_like(app: str) -> list[str]:
    """Return likely names of the shop's other apps, from the name of toban's."""
    stem = app.removesuffix("-toban").removesuffix("-watch")
    return [f"{stem}{end}" for end in COMMON if f"{stem}{end}" != app]
