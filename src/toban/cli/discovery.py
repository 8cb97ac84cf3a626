"""Where toban stands, for who sets it up: on Fly.io it can tell much by itself."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Final

import httpx2

from toban.collect.collectors.fly import machines_api
from toban.collect.collectors.fly.machines_api import MachinesApi
from toban.collect.tools import CollectorTools
from toban.core.clock import SystemClock
from toban.core.errors import CollectError
from toban.core.metric_registry import MetricRegistry
from toban.shop.connections import ShopConnections

PATIENCE: Final = 2.0
"""Seconds that a machine of the same private network may take to accept a connection."""

SERVERS: Final = (3000, 8080)
"""Ports on which Vendure's server may listen."""
WORKER: Final = 3020
POSTGRES: Final = 5432

COMMON: Final = ("", "-server", "-api", "-vendure", "-worker", "-db", "-postgres", "-storefront", "-web")
"""How apps of one shop are often called, after what they have in common."""


@dataclass(frozen=True, slots=True)
class Discovery:
    """
    What was found: ``says`` in sentences, ``proposed`` addresses for parts of the shop, ``known`` settings of `shop`.

    ``web`` is how toban should listen there.
    """

    says: tuple[str, ...]
    proposed: Mapping[str, str] = field(default_factory=dict)
    known: Mapping[str, str | list[str]] = field(default_factory=dict)
    web: Mapping[str, str] = field(default_factory=dict)


async def discover(environment: Mapping[str, str]) -> Discovery | None:
    """Return what can be found out where toban stands; nothing on a machine like any other."""
    app = environment.get("FLY_APP_NAME")
    if not app:
        return None
    says = [f"This is a machine of {app} on Fly.io, in {environment.get('FLY_REGION', 'some region')}."]
    known: dict[str, str | list[str]] = {}
    apps = _named_like(app)
    if environment.get("FLY_API_TOKEN"):
        try:
            org, found = await _organisation(environment)
        except CollectError as error:
            says.append(f"FLY_API_TOKEN: {error}")
        else:
            apps = [name for name in found if name != app]
            known = {"fly_token": "${FLY_API_TOKEN}", "fly_org": org, "fly_apps": apps}
            says.append(f"The organisation {org} has the apps {', '.join(apps) or 'none but this one'}.")
    else:
        says.append("With FLY_API_TOKEN (fly tokens create readonly ORG) its machines can be looked at too.")
    proposed, more = await _proposed(apps)
    web = {"listen": "[::]:9119", "metrics": "[::]:9120", "token": "${TOBAN_TOKEN}"}
    return Discovery((*says, *more), proposed, known, web)


async def _organisation(environment: Mapping[str, str]) -> tuple[str, list[str]]:
    """Return the organisation of this machine's app, and its apps. Raises ``CollectError``."""
    address = environment.get("FLY_FLAPS_BASE_URL") or machines_api.ADDRESS
    async with httpx2.AsyncClient() as http:
        tools = CollectorTools(http, SystemClock(), MetricRegistry(), ShopConnections(None, None))
        api = MachinesApi(tools, "fly", address, environment["FLY_API_TOKEN"])
        organization = await api.organization(environment["FLY_APP_NAME"])
        return organization, await api.apps(organization)


async def _proposed(apps: Iterable[str]) -> tuple[dict[str, str], list[str]]:
    """Return addresses of parts of the shop on the private network, and what else was found there."""
    wanted = [*product(apps, (*SERVERS, WORKER, POSTGRES))]
    there = dict(
        zip(wanted, await asyncio.gather(*(is_reachable(_host(app), port) for app, port in wanted)), strict=True)
    )
    proposed: dict[str, str] = {}
    says: list[str] = []
    for (app, port), is_there in there.items():
        if not is_there:
            continue
        if port == POSTGRES:
            says.append(f"A PostgreSQL listens at {_host(app)}:{port}.")
        elif port == WORKER:
            proposed.setdefault("worker", f"http://{_host(app)}:{port}/health")
        else:
            proposed.setdefault("shop_api", f"http://{_host(app)}:{port}/shop-api")
    return proposed, says


async def is_reachable(host: str, port: int) -> bool:
    """Tell whether somebody accepts connections. Names ending in `.internal` are those of machines that run."""
    try:
        async with asyncio.timeout(PATIENCE):
            _, writer = await asyncio.open_connection(host, port)
    except (OSError, TimeoutError, UnicodeError):
        return False
    writer.close()
    return True


def _host(app: str) -> str:
    return f"{app}.internal"


def _named_like(app: str) -> list[str]:
    """Return what the other apps of a shop may be called, by the name of toban's."""
    stem = app.removesuffix("-toban").removesuffix("-watch")
    return [f"{stem}{end}" for end in COMMON if f"{stem}{end}" != app]
