"""Start a stopped machine at Fly.io."""

from datetime import timedelta
from typing import Literal

from toban.core.config_types import Duration
from toban.core.errors import ActionError
from toban.runbooks.action import Action, ActionContext, ActionTools, Plan
from toban.runbooks.fly_machines import NO_TOKEN, FlyMachines, wanted_machine


class FlyStart(Action):
    """Start one stopped machine of the shop, under its lease, and wait until it is there."""

    kind: Literal["fly_start"] = "fly_start"

    machine: str = ""
    """The id of the machine; default: the label `instance` of the alert."""

    timeout: Duration = timedelta(minutes=8)

    async def plan(self, context: ActionContext, tools: ActionTools) -> Plan:
        """Look at the machine. Raises ``ActionError`` where it can't be started."""
        machine, _ = await FlyMachines(tools).find(wanted_machine(self.machine, context))
        if machine.state not in {"stopped", "suspended", "created"}:
            raise ActionError(f"machine {machine.id} is {machine.state}: only a stopped machine is started")
        if reason := machine.crashes(tools.clock.now()):
            raise ActionError(f"machine {machine.id}: {reason}")
        return Plan(
            f"start machine {machine.id} of {machine.app}",
            f"{machine.instance_id} {machine.newest_event}",
            (machine.name,),
            {"machine": machine.id, "newest_event": machine.newest_event},
        )

    async def run(self, plan: Plan, context: ActionContext, tools: ActionTools) -> str:
        """Start it under its lease, and wait until it is there. Raises ``ActionError``."""
        api = FlyMachines(tools)
        machine, _ = await api.find(plan.facts["machine"])
        async with api.lease(machine, f"toban {context.key}") as lease:
            await api.start(machine, lease)
            await api.started_again(machine)
        return f"started machine {machine.id} of {machine.app}: its checks pass"

    async def look(self, plan: Plan, context: ActionContext, tools: ActionTools) -> str | None:
        """Look for a start after the event that was the newest before the act."""
        api = FlyMachines(tools)
        machine, _ = await api.find(plan.facts["machine"])
        await api.release_left(machine, f"toban {context.key}")
        at = machine.happened_since(plan.facts["newest_event"], "start")
        return f"machine {machine.id} was started at {at:%H:%M:%S} UTC" if at else None

    async def missing(self, tools: ActionTools) -> str:
        """Return what it needs."""
        settings = tools.shop.settings
        if settings.fly_admin_token is None:
            return NO_TOKEN
        return "" if settings.fly_apps else "shop.fly_apps is not set: name the apps whose machines may be started"
