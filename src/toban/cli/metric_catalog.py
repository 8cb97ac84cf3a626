"""All metrics that toban exposes, as its modules declare them."""

import importlib
import pkgutil
from collections.abc import Iterator, Mapping

import toban
from toban.core.samples import MetricFamily, MetricType
from toban.instruments.metric_sources import COVERAGE


def declared_families() -> list[tuple[str, MetricFamily]]:
    """Return all declared metric families, with the modules that declare them."""
    found: dict[str, tuple[str, MetricFamily]] = {}
    for module in pkgutil.walk_packages(toban.__path__, "toban."):
        if module.name.endswith("__main__") or ".migrations" in module.name:
            continue
        for value in vars(importlib.import_module(module.name)).values():
            for family in _in(value):
                found.setdefault(family.name, (module.name, family))
    return [found[name] for name in sorted(found)]


def declared_metrics() -> set[str]:
    """Return the names of all series that toban or the shop's telemetry may have."""
    found = {metric for part in COVERAGE for metric in part.metrics}
    for _, family in declared_families():
        parts = ("_bucket", "_sum", "_count") if family.type is MetricType.HISTOGRAM else ("",)
        found |= {f"{family.name}{part}" for part in parts}
    return found


def transient_metrics() -> dict[str, str]:
    """Return the metrics that are not always there, and when they are."""
    return {family.name: family.present for _, family in declared_families() if family.is_transient}


def _in(value: object) -> Iterator[MetricFamily]:
    if isinstance(value, MetricFamily):
        yield value
    elif isinstance(value, Mapping):
        yield from (inner for inner in value.values() if isinstance(inner, MetricFamily))
    elif isinstance(value, tuple | list | frozenset):
        yield from (inner for inner in value if isinstance(inner, MetricFamily))
