"""The section `maintenance` of toban.yaml: tasks by name."""

from collections.abc import Mapping, Sequence
from typing import Annotated, TypeAlias

from pydantic import BeforeValidator

from toban.core.plugins import named_by_key
from toban.maintenance.task import TASKS, Task


def _kind_by_key(value: object) -> object:
    """Return tasks as they are written; one whose name is a kind needs no ``kind``, and no settings."""
    if not isinstance(value, Mapping):
        return value
    kinds = TASKS.names()
    written = {name: {} if it is None and name in kinds else it for name, it in value.items()}
    return named_by_key(
        {
            name: {"kind": name, **it} if name in kinds and isinstance(it, Mapping) else it
            for name, it in written.items()
        }
    )


TaskSettings: TypeAlias = Annotated[dict[str, Annotated[Task, TASKS]], BeforeValidator(_kind_by_key)]
"""Tasks by their names; a name that is a kind needs no `kind`."""


def all_tasks(configured: Mapping[str, Task]) -> Sequence[Task]:
    """Return the configured tasks, and the kinds that are not configured with their defaults, by name."""
    kinds = {it.kind for it in configured.values()}
    defaults = [TASKS.load(kind).model_validate({"kind": kind}) for kind in TASKS.names() if kind not in kinds]
    return sorted([*configured.values(), *defaults], key=lambda it: it.name)
