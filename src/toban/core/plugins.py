"""Plugins: kinds of collectors, channels and more, found by name and imported when toban.yaml names one."""

import difflib
import importlib
import pkgutil
from collections.abc import Mapping
from typing import Annotated, Generic, TypeVar

from pydantic import Field, GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationInfo, field_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from toban.core.config_types import Section


class Plugin(Section):
    """
    The settings of one plugin: its docstring is its manual.

    The literal in ``kind`` is the word that toban.yaml uses, and the name of the module.
    """

    kind: str
    """The kind; the other settings depend on it."""

    name: Annotated[str, Field(validate_default=True)] = ""
    """The name in labels, logs and messages; by default the kind."""

    @field_validator("name")
    @classmethod
    def _default_name(cls, name: str, info: ValidationInfo) -> str:
        return name or str(info.data.get("kind", ""))


P = TypeVar("P", bound=Plugin)


def named_by_key(value: object) -> object:
    """Return a mapping of plugins as it is written, each with its key as its name."""
    if not isinstance(value, Mapping):
        return value
    return {name: {"name": name, **it} if isinstance(it, Mapping) else it for name, it in value.items()}


class PluginRegistry(Generic[P]):
    """
    The plugins of one package.

    A plugin is a module named by its kind or, where it has modules of its own, a package of that name with a module of
    the same name: ``dns.py``, ``fly/fly.py``. As an annotation, ``Annotated[Collector, COLLECTORS]`` reads a mapping by
    its ``kind``.
    """

    def __init__(self, package: str, root: type[P], noun: str) -> None:
        self.package = package
        self.root = root
        self.noun = noun

    def names(self) -> list[str]:
        """Return all kinds, without importing any."""
        return sorted(module.name for module in pkgutil.iter_modules(importlib.import_module(self.package).__path__))

    def load(self, kind: str) -> type[P]:
        """Import one kind. Raises ``LookupError`` when its module defines no such plugin."""
        module = importlib.import_module(f"{self.package}.{kind}")
        if hasattr(module, "__path__"):
            module = importlib.import_module(f"{self.package}.{kind}.{kind}")
        for found in vars(module).values():
            if isinstance(found, type) and issubclass(found, self.root) and found.__module__ == module.__name__:
                return found
        raise LookupError(f"{module.__name__} defines no {self.noun}")

    def read(self, value: object, info: ValidationInfo) -> P:
        """Read the settings of one plugin; an error names its place."""
        if isinstance(value, self.root):
            return value
        if not isinstance(value, Mapping) or "kind" not in value:
            raise PydanticCustomError(
                "kind_missing", "`kind` is missing: write `kind: {known}`", {"known": self._known()}
            )
        kind = self.check(value["kind"])
        return self.load(kind).model_validate(dict(value), context=info.context)

    def check(self, kind: object) -> str:
        """Return a kind that there is; the error about another one names what is near."""
        if kind in self.names():
            return str(kind)
        raise PydanticCustomError("kind_unknown", "{problem}", {"problem": self._unknown(str(kind))})

    def _known(self) -> str:
        return ", ".join(self.names())

    def _unknown(self, kind: str) -> str:
        near = difflib.get_close_matches(kind, self.names(), 1)
        remedy = f"did you mean {near[0]}?" if near else f"known kinds are {self._known()}"
        return f"unknown {self.noun} {kind!r}: {remedy}"

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.with_info_plain_validator_function(self.read)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"oneOf": [handler(self.load(kind).__pydantic_core_schema__) for kind in self.names()]}
