"""Restart a machine at Fly.io."""

from datetime import timedelta
from typing import Literal

from toban.core.config_types import Duration
from toban.core.errors import ActionError, QueryError, StoreError
from toban.core.samples import milliseconds
from toban.runbooks.action import Action, ActionContext, ActionTools, Plan
from toban.runbooks.fly_machines import NO_TOKEN, FlyMachines

CAN_SELL = 'min(up{job="vendure"}) == 1'
"""Whether the Shop API works."""


class FlyRestart(Action):
    """
    Restart one machine of the shop: the one that the alert is about.

    Never the last healthy one of its process group, unless the shop can't sell any more: then a person must approve it.
    It holds the lease of the machine, so that it does not interfere with a deploy, and waits until the machine is back.
    """

    kind: Literal["fly_restart"] = "fly_restart"

    machine: str = ""
    """The id of the machine; default: the label `instance` of the alert."""

    timeout: Duration = timedelta(minutes=8)

    async def plan(self, context: ActionContext, tools: ActionTools) -> Plan:
        """Look at the machine and at the others of its group. Raises ``ActionError`` where it must not be restarted."""
        wanted = self.machine or context.alert.labels.get("instance", "")
        if not wanted:
            raise ActionError("the alert has no label `instance`: set `machine`")
        machine, others = await FlyMachines(tools).find(wanted)
        if machine.host_status != "ok":
            raise ActionError(f"the host of machine {machine.id} is {machine.host_status}: restarting can't help")
        if machine.state != "started":
            raise ActionError(f"machine {machine.id} is {machine.state}: only a started machine is restarted")
        if reason := machine.crashes(tools.clock.now()):
            raise ActionError(f"machine {machine.id}: {reason}")
        healthy = [it.id for it in others if it.is_healthy]
        if not healthy and await self._can_sell(tools):
            raise ActionError(f"machine {machine.id} is the last healthy one of {machine.group}, and the shop sells")
        rest = f"{len(healthy)} others of {machine.group} are healthy" if healthy else "no other one is healthy"
        return Plan(
            f"restart machine {machine.id} of {machine.app}; {rest}",
            f"{machine.instance_id} {machine.newest_event} {len(healthy) > 0}",
            (machine.name,),
            {"machine": machine.id, "newest_event": machine.newest_event},
            needs_approval=not healthy,
        )

    async def _can_sell(self, tools: ActionTools) -> bool:
        try:
            found = await tools.queries.instant(CAN_SELL, milliseconds(tools.clock.now()))
        except (QueryError, StoreError) as error:
            raise ActionError(f"whether the shop sells is not known: {error}") from error
        return bool(found.series)

    async def run(self, plan: Plan, context: ActionContext, tools: ActionTools) -> str:
        """Restart it under its lease, and wait until it is back. Raises ``ActionError``."""
        api = FlyMachines(tools)
        machine, _ = await api.find(plan.facts["machine"])
        async with api.lease(machine, f"toban {context.key}") as lease:
            machine = await api.read(machine)
            if machine.newest_event != plan.facts["newest_event"]:
                raise ActionError(f"machine {machine.id} changed since this was decided: it is left alone")
            try:
                await api.restart(machine, lease)
            except ActionError:
                # The request may have arrived although no answer came: the events tell.
                if not (await api.read(machine)).happened_since(machine.newest_event, "restart", "exit", "start"):
                    raise
            await api.started_again(machine)
        return f"restarted machine {machine.id} of {machine.app}: it is started, and its checks pass"

    async def look(self, plan: Plan, context: ActionContext, tools: ActionTools) -> str | None:
        """Look for an event after the one that was the newest before the act."""
        machine, _ = await FlyMachines(tools).find(plan.facts["machine"])
        at = machine.happened_since(plan.facts["newest_event"], "restart", "exit", "start")
        return f"machine {machine.id} was restarted at {at:%H:%M:%S} UTC, it is {machine.state}" if at else None

    async def missing(self, tools: ActionTools) -> str:
        """Return what it needs."""
        settings = tools.shop.settings
        if settings.fly_admin_token is None:
            return NO_TOKEN
        return "" if settings.fly_apps else "shop.fly_apps is not set: name the apps whose machines may be restarted"
