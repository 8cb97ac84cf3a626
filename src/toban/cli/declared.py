"""Every metric that toban itself makes, as its modules declare them."""

import importlib
import pkgutil
from collections.abc import Iterator, Mapping

import toban
from toban.core.samples import Family


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


def _in(value: object) -> Iterator[Family]:
    if isinstance(value, Family):
        yield value
    elif isinstance(value, Mapping):
        yield from (inner for inner in value.values() if isinstance(inner, Family))
    elif isinstance(value, tuple | list | frozenset):
        yield from (inner for inner in value if isinstance(inner, Family))
