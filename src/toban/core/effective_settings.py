"""The settings that are in force: each with its value, without secrets, and the place that it comes from."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from typing import Final

from pydantic import BaseModel, SecretStr

from toban.core.config_file import ConfigPath
from toban.core.config_types import format_duration
from toban.core.redaction import redact_text

HIDDEN: Final = "(secret)"
DEFAULT: Final = "default"


@dataclass(frozen=True, slots=True)
class EffectiveSetting:
    """A setting by its path, like ``channels.ops.kind``; ``origin`` is a line of the file, a variable, or a default."""

    path: str
    value: str
    origin: str

    @property
    def is_default(self) -> bool:
        """Whether nobody set it."""
        return self.origin == DEFAULT


def effective_settings(settings: BaseModel, origins: Mapping[ConfigPath, str]) -> list[EffectiveSetting]:
    """Return all settings of a model and the models in it; ``origins`` says where some come from, by their paths."""
    return [
        EffectiveSetting(".".join(map(str, path)), text, _origin(path, origins)) for path, text in _leaves(settings, ())
    ]


def _origin(path: ConfigPath, origins: Mapping[ConfigPath, str]) -> str:
    """Return where a setting comes from: itself, or a whole that was set without parts of its own."""
    if path in origins:
        return origins[path]
    for size in range(len(path) - 1, 0, -1):
        whole = path[:size]
        if whole in origins:
            has_parts = any(len(it) > size and it[:size] == whole for it in origins)
            return DEFAULT if has_parts else origins[whole]
    return DEFAULT


def _leaves(value: object, path: ConfigPath) -> Iterator[tuple[ConfigPath, str]]:
    """Yield the settings that have no others in them, as texts."""
    if isinstance(value, BaseModel):
        for name, field in type(value).model_fields.items():
            yield from _leaves(getattr(value, name), (*path, field.alias or name))
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _leaves(inner, (*path, str(name)))
        if not value:
            yield path, ""
    elif isinstance(value, tuple | list) and any(isinstance(it, BaseModel) for it in value):
        for place, inner in enumerate(value):
            yield from _leaves(inner, (*path, place))
    else:
        yield path, redact_text(_text(value))


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, SecretStr):
        return HIDDEN
    if isinstance(value, timedelta):
        return format_duration(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, tuple | list | set | frozenset):
        return ", ".join(_text(it) for it in value)
    return str(value)
