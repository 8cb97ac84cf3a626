"""Restart a machine at Fly.io."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Literal, Self

from pydantic import model_validator

from toban.core.config_types import Duration
from toban.core.errors import ActionError, QueryError, StoreError
from toban.core.samples import milliseconds
from toban.runbooks.action import CAN_SELL, Action, ActionContext, ActionTools, Plan
from toban.runbooks.fly_machines import NO_TOKEN, FlyMachines, wanted_machine


class FlyRestart(Action):
    """
    Restart the machine of the shop that the alert is about, or with `groups` those of process groups, one by one.

    Never the last healthy one of several in its process group, unless the shop can't sell any more and a person
    approves it. The only machine of a group is restarted when the shop can't sell; while it sells a person must approve
    it. It holds the lease of the machine, so that it does not interfere with a deploy, and waits until the machine is
    back.
    """

    kind: Literal["fly_restart"] = "fly_restart"

    machine: str = ""
    """The id of the machine; default: the label `instance` of the alert."""

    groups: tuple[str, ...] = ()
    """Process groups whose started machines are restarted, in this order, like `[worker, app]`: each is an act."""

    timeout: Duration = timedelta(minutes=8)

    @model_validator(mode="after")
    def _choose(self) -> Self:
        if self.machine and self.groups:
            raise ValueError("set `machine` or `groups`: one machine, or those of groups")
        return self

    async def plan(self, context: ActionContext, tools: ActionTools) -> Plan:
        """Look at the machine and at the others of its group. Raises ``ActionError`` where it must not be restarted."""
        machines = FlyMachines(tools)
        if not self.groups:
            return await self._restart(machines, wanted_machine(self.machine, context), (), tools)
        found = await machines.of_groups(self.groups)
        rest = [it for it in found if not it.happened_since(milliseconds(context.started), "start")]
        if not rest:
            return Plan(f"no machine of {', '.join(self.groups)} is left to restart", needed=False)
        return await self._restart(machines, rest[0].id, [it.id for it in rest[1:]], tools)

    async def _restart(self, machines: FlyMachines, name: str, then: Sequence[str], tools: ActionTools) -> Plan:
        machine, others = await machines.find(name)
        if machine.host_status != "ok":
            raise ActionError(f"the host of machine {machine.id} is {machine.host_status}: restarting can't help")
        if machine.state != "started":
            raise ActionError(f"machine {machine.id} is {machine.state}: only a started machine is restarted")
        if reason := machine.crashes(tools.clock.now()):
            raise ActionError(f"machine {machine.id}: {reason}")
        healthy = [it.id for it in others if it.is_healthy]
        sells = not healthy and await self._can_sell(tools)
        if others and sells:
            raise ActionError(f"machine {machine.id} is the last healthy one of {machine.group}, and the shop sells")
        if healthy:
            reason = f"healthy others of {machine.group}: {len(healthy)}"
        elif others:
            reason = "no other one is healthy"
        else:
            reason = f"it is the only one of {machine.group}, and the shop {'sells' if sells else 'does not sell'}"
        description = f"restart machine {machine.id} of {machine.app}; {reason}"
        return Plan(
            f"{description}; then {', '.join(then)}, one by one" if then else description,
            " ".join(map(str, (machine.instance_id, machine.newest_event, bool(healthy), sells, *then))),
            (machine.name,),
            {"machine": machine.id, "newest_event": machine.newest_event, "others_healthy": bool(healthy)},
            needs_approval=not healthy and (bool(others) or sells),
            goes_on=bool(then),
        )

    async def _can_sell(self, tools: ActionTools) -> bool:
        try:
            return await tools.has_result(CAN_SELL)
        except (QueryError, StoreError) as error:
            raise ActionError(f"whether the shop sells is not known: {error}") from error

    async def run(self, plan: Plan, context: ActionContext, tools: ActionTools) -> str:
        """Restart it under its lease, and wait until it is back. Raises ``ActionError``."""
        api = FlyMachines(tools)
        machine, others = await api.find(plan.facts["machine"])
        if plan.facts["others_healthy"] and not any(it.is_healthy for it in others):
            raise ActionError(f"no other machine of {machine.group} is healthy any more: {machine.id} is left alone")
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
        api = FlyMachines(tools)
        machine, _ = await api.find(plan.facts["machine"])
        await api.release_left(machine, f"toban {context.key}")
        at = machine.happened_since(plan.facts["newest_event"], "restart", "exit", "start")
        return f"machine {machine.id} was restarted at {at:%H:%M:%S} UTC, it is {machine.state}" if at else None

    async def missing(self, tools: ActionTools) -> str:
        """Return what it needs."""
        settings = tools.shop.settings
        if settings.fly_admin_token is None:
            return NO_TOKEN
        return "" if settings.fly_apps else "shop.fly_apps is not set: name the apps whose machines may be restarted"
