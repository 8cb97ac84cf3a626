"""Families that grow: one file a kind, found by the file's name, imported when the configuration names it."""

import difflib
import importlib
import pkgutil
from collections.abc import Mapping
from typing import Any, Generic, TypeVar

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationInfo
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from toban.core.config_types import Section


class Plugin(Section):
    """
    One member of a family: its fields are its settings, its docstring is its manual.

    The literal in ``kind`` is the word people write in `toban.yaml`, and the name of the file.
    """

    kind: str
    """What it is; the rest of this paragraph depends on it."""

    name: str = ""
    """What it is called in labels, logs and messages; its kind, unless there are several."""

    def model_post_init(self, context: Any, /) -> None:
        """Call it by its kind where it has no name of its own."""
        if not self.name:
            # The model is frozen for everybody else; this is still its making.
            object.__setattr__(self, "name", self.kind)


K = TypeVar("K", bound=Plugin)


class PluginRegistry(Generic[K]):
    """
    The members of one family: the modules of one folder.

    Used in an annotation, ``Annotated[Collector, COLLECTORS]`` reads a mapping by its ``kind``.
    """

    def __init__(self, package: str, root: type[K], noun: str) -> None:
        self.package = package
        self.root = root
        self.noun = noun

    def names(self) -> list[str]:
        """Return the words that `kind` may be, without importing any."""
        return sorted(module.name for module in pkgutil.iter_modules(importlib.import_module(self.package).__path__))

    def load(self, kind: str) -> type[K]:
        """Import one kind. Raises ``LookupError`` when its file holds no class of that kind."""
        module = importlib.import_module(f"{self.package}.{kind}")
        for found in vars(module).values():
            if isinstance(found, type) and issubclass(found, self.root) and found.__module__ == module.__name__:
                return found
        raise LookupError(f"{module.__name__} holds no {self.noun}")

    def read(self, value: object, info: ValidationInfo) -> K:
        """Read one paragraph of the configuration; what is wrong is said at its place."""
        if isinstance(value, self.root):
            return value
        if not isinstance(value, Mapping) or "kind" not in value:
            raise PydanticCustomError(
                "kind_missing", "it must say what it is, like `kind: {known}`", {"known": self._known()}
            )
        kind = value["kind"]
        if kind not in self.names():
            raise PydanticCustomError("kind_unknown", "{problem}", {"problem": self._no_such(str(kind))})
        return self.load(kind).model_validate(dict(value), context=info.context)

    def _known(self) -> str:
        return ", ".join(self.names())

    def _no_such(self, kind: str) -> str:
        near = difflib.get_close_matches(kind, self.names(), 1)
        remedy = f"did you mean {near[0]}?" if near else f"there are {self._known()}"
        return f"{kind!r} is no {self.noun}: {remedy}"

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.with_info_plain_validator_function(self.read)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"oneOf": [handler(self.load(kind).__pydantic_core_schema__) for kind in self.names()]}
