"""Close idle connections of the shop's Redis."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final, Literal

from toban.core.config_types import Duration, format_duration
from toban.core.errors import ActionError, CollectError
from toban.runbooks.action import Action, ActionContext, ActionTools, Plan

MOST: Final = 10
"""How many connections one act closes."""


class RedisClientsKill(Action):
    """
    Close connections of the shop's Redis that have been idle for long, the longest idle first, ten at most.

    Never those of replicas, of subscribers and of workers that wait for jobs: they are idle by their nature.
    """

    kind: Literal["redis_clients_kill"] = "redis_clients_kill"

    idle: Duration = timedelta(hours=1)
    """How long a connection must be idle."""

    async def plan(self, context: ActionContext, tools: ActionTools) -> Plan:
        """Choose the connections. Raises ``ActionError`` where there is none to close."""
        clients = await _clients(tools)
        limit = self.idle.total_seconds()
        idle = [it for it in clients if int(it.get("idle", 0)) > limit and _is_plain(it)]
        chosen = sorted(idle, key=lambda it: -int(it["idle"]))[:MOST]
        idle_for = format_duration(self.idle)
        if not chosen:
            raise ActionError(f"none of the {len(clients)} connections of Redis is idle for {idle_for}")
        return Plan(
            f"close {len(chosen)} of {len(clients)} connections of Redis that are idle for {idle_for}",
            "idle",
            ("redis connections",),
            {"ids": [it["id"] for it in chosen]},
        )

    async def run(self, plan: Plan, context: ActionContext, tools: ActionTools) -> str:
        """Close those that are still idle. Raises ``ActionError`` where none was closed."""
        limit = self.idle.total_seconds()
        now = {it["id"]: it for it in await _clients(tools)}
        closed = 0
        for client in plan.facts["ids"]:
            if client in now and int(now[client].get("idle", 0)) > limit and _is_plain(now[client]):
                closed += bool(await _execute(tools, "CLIENT", "KILL", "ID", client))
        if not closed:
            raise ActionError("no connection was closed: all are used again, or gone")
        return f"closed {closed} idle connections of Redis: {len(await _clients(tools))} are open"

    async def look(self, plan: Plan, context: ActionContext, tools: ActionTools) -> str | None:
        """Count how many of the connections are gone."""
        there = {it["id"] for it in await _clients(tools)}
        gone = [client for client in plan.facts["ids"] if client not in there]
        return f"{len(gone)} of {len(plan.facts['ids'])} connections are gone" if gone else None

    async def missing(self, tools: ActionTools) -> str:
        """Return what it needs."""
        return "" if tools.shop.redis else "shop.redis is not set"


def _is_plain(it: Mapping[str, str]) -> bool:
    """Tell whether a connection waits for nothing: it is no replica, subscriber, or worker in a blocking command."""
    is_normal = set(it.get("flags", "")) <= {"N"}
    subscribes = any(it.get(name, "0") != "0" for name in ("sub", "psub", "ssub"))
    return is_normal and not subscribes and it.get("name", "") != "toban"


async def _clients(tools: ActionTools) -> list[dict[str, str]]:
    """Return the connections, each as CLIENT LIST describes it."""
    listed = await _execute(tools, "CLIENT", "LIST")
    text = listed.decode("utf-8", "replace") if isinstance(listed, bytes) else str(listed)
    return [
        dict(part.partition("=")[::2] for part in line.split(" ") if "=" in part) for line in text.splitlines() if line
    ]


async def _execute(tools: ActionTools, *command: str) -> Any:
    if tools.shop.redis is None:
        raise ActionError("shop.redis is not set")
    try:
        return await tools.shop.redis.execute(*command)
    except CollectError as error:
        raise ActionError(str(error)) from error
