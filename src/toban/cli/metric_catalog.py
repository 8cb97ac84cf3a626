"""Every metric that toban itself makes, as its modules declare them."""

import importlib
import pkgutil
from collections.abc import Iterator, Mapping

import toban
from toban.core.samples import Family, Type
from toban.instruments.metric_sources import NUMBERS


def families() -> list[tuple[str, Family]]:
    """Return every metric that toban declares, with the module that does."""
    found: dict[str, tuple[str, Family]] = {}
    for module in pkgutil.walk_packages(toban.__path__, "toban."):
        if module.name.endswith("__main__") or ".migrations" in module.name:
            continue
        for value in vars(importlib.import_module(module.name)).values():
            for family in _in(value):
                found.setdefault(family.name, (module.name, family))
    return [found[name] for name in sorted(found)]


def metrics() -> set[str]:
    """Return what series may be called that toban makes, or that the shop's telemetry brings under names of its own."""
    found = {metric for number in NUMBERS for metric in number.metrics}
    for _, family in families():
        parts = ("_bucket", "_sum", "_count") if family.type is Type.HISTOGRAM else ("",)
        found |= {f"{family.name}{part}" for part in parts}
    return found


def transient() -> dict[str, str]:
    """Return the metrics that come and go, and when they are there."""
    return {family.name: family.present for _, family in families() if family.is_transient}


def _in(value: object) -> Iterator[Family]:
    if isinstance(value, Family):
        yield value
    elif isinstance(value, Mapping):
        yield from (inner for inner in value.values() if isinstance(inner, Family))
    elif isinstance(value, tuple | list | frozenset):
        yield from (inner for inner in value if isinstance(inner, Family))
