"""The section `maintenance` of toban.yaml: tasks by name."""

import difflib
from collections.abc import Mapping, Sequence
from typing import Annotated, TypeAlias

from pydantic import BeforeValidator

from toban.core.plugins import named_by_key
from toban.maintenance.task import TASKS, Task


def _kind_by_key(value: object) -> object:
    """Return tasks as they are written; one whose name is a kind needs no ``kind``, and no settings."""
    if not isinstance(value, Mapping):
        return value
    return named_by_key({name: _with_kind(str(name), it) for name, it in value.items()})


def _with_kind(name: str, written: object) -> object:
    kinds = TASKS.names()
    written = {} if written is None and name in kinds else written
    if not isinstance(written, Mapping) or "kind" in written:
        return written
    # What is nearly a kind is a mistake in writing: as a kind it is refused with the one that is meant.
    is_kind = name in kinds or difflib.get_close_matches(name, kinds, 1)
    return {"kind": name, **written} if is_kind else written


TaskSettings: TypeAlias = Annotated[dict[str, Annotated[Task, TASKS]], BeforeValidator(_kind_by_key)]
"""Tasks by their names; a name that is a kind needs no `kind`."""


def all_tasks(configured: Mapping[str, Task]) -> Sequence[Task]:
    """Return the configured tasks, and the kinds that are not configured with their defaults, by name."""
    kinds = {it.kind for it in configured.values()}
    defaults = [TASKS.load(kind).model_validate({"kind": kind}) for kind in TASKS.names() if kind not in kinds]
    return sorted([*configured.values(), *defaults], key=lambda it: it.name)
