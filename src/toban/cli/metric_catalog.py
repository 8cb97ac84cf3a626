"""Every metric that toban itself makes, as its modules declare them."""

import importlib
import pkgutil
from collections.abc import Iterator, Mapping

import toban
from toban.core.samples import MetricFamily, MetricType
from toban.instruments.metric_sources import COVERAGE


def declared_families() -> list[tuple[str, MetricFamily]]:
    """Return every metric that toban declares, with the module that does."""
    found: dict[str, tuple[str, MetricFamily]] = {}
    for module in pkgutil.walk_packages(toban.__path__, "toban."):
        if module.name.endswith("__main__") or ".migrations" in module.name:
            continue
        for value in vars(importlib.import_module(module.name)).values():
            for family in _in(value):
                found.setdefault(family.name, (module.name, family))
    return [found[name] for name in sorted(found)]


def declared_metrics() -> set[str]:
    """Return what series may be called that toban makes, or that the shop's telemetry brings under names of its own."""
    found = {metric for number in COVERAGE for metric in number.metrics}
    for _, family in declared_families():
        parts = ("_bucket", "_sum", "_count") if family.type is MetricType.HISTOGRAM else ("",)
        found |= {f"{family.name}{part}" for part in parts}
    return found


def transient_metrics() -> dict[str, str]:
    """Return the metrics that come and go, and when they are there."""
    return {family.name: family.present for _, family in declared_families() if family.is_transient}


def _in(value: object) -> Iterator[MetricFamily]:
    if isinstance(value, MetricFamily):
        yield value
    elif isinstance(value, Mapping):
        yield from (inner for inner in value.values() if isinstance(inner, MetricFamily))
    elif isinstance(value, tuple | list | frozenset):
        yield from (inner for inner in value if isinstance(inner, MetricFamily))
