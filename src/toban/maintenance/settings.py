"""The section `maintenance` of toban.yaml."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated

from pydantic import BeforeValidator, Field

from toban.core.config_types import Duration, Section, Zone
from toban.core.plugins import named_by_key
from toban.maintenance.task import TASKS, Task


def _kind_by_key(value: object) -> object:
    """Return tasks as they are written; one whose name is a kind needs no ``kind``."""
    if not isinstance(value, Mapping):
        return value
    kinds = TASKS.names()
    named = {
        name: {"kind": name, **({} if it is None else it)}
        if name in kinds and (it is None or isinstance(it, Mapping))
        else it
        for name, it in value.items()
    }
    return named_by_key(named)


class MaintenanceSettings(Section):
    """Maintenance tasks: when they run, and what each may do."""

    timezone: Zone = ""
    """The time zone of the schedules; default: that of `notify`."""

    tasks: Annotated[dict[str, Annotated[Task, TASKS]], BeforeValidator(_kind_by_key)] = Field(default_factory=dict)
    """
    Tasks by names of your own; a name that is a kind needs no `kind`.

    Kinds that are not named here run with their defaults, where what they need is configured; `mode: off` ends that.
    """

    may_start_late: Duration = timedelta(hours=2)
    """How long after its time a task may start, when something kept it from that: an alert, a deploy, another task."""

    def all_tasks(self) -> list[Task]:
        """Return the configured tasks, and the other kinds with their defaults, by name."""
        kinds = {it.kind for it in self.tasks.values()}
        defaults = [TASKS.load(kind).model_validate({"kind": kind}) for kind in TASKS.names() if kind not in kinds]
        return sorted([*self.tasks.values(), *defaults], key=lambda it: it.name)
