"""What every part of `toban.yaml` is made of."""

import os
import re
from datetime import timedelta
from typing import Annotated, Any, Final
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    PlainSerializer,
    SecretStr,
    ValidationInfo,
    WithJsonSchema,
)
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import ErrorDetails

from toban.core.redaction import address_shown

UNITS: Final = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800, "y": 31536000}
SIZES: Final = {
    "B": 1,
    "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
    "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40,
}  # fmt: skip  # one row a system reads better than one line a unit


class Schema(GenerateJsonSchema):
    """Writes a schema in which defaults stand as they would in `toban.yaml`."""

    def encode_default(self, dft: Any) -> Any:
        """Write a default."""
        return written(dft) if isinstance(dft, timedelta) else super().encode_default(dft)


class Section(BaseModel):
    """
    One part of the configuration, declared beside the code that it is for.

    Its docstrings are its manual: they become the descriptions of the JSON Schema. It never changes once read.
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        validate_default=True,
        hide_input_in_errors=True,
    )

    @classmethod
    def model_json_schema(cls, **options: Any) -> dict[str, Any]:  # type: ignore[override]  # only by name
        """Return the JSON Schema of this part."""
        return super().model_json_schema(**{"schema_generator": Schema, **options})


_DURATION: Final = re.compile("".join(rf"(?:(\d{{1,12}}){unit})?" for unit in ("y", "w", "d", "h", "m", "s", "ms")))


def duration(text: object, *, zero: bool = False) -> timedelta:
    """
    Read a duration as Prometheus writes it: ``15s``, ``1h30m``, ``90d``; ``0``, ``0s`` and the like where ``zero``.

    Raises ``ValueError`` for anything else, a bare number included.
    """
    if isinstance(text, timedelta):
        return text
    if zero and text in ("0", 0):
        return timedelta()
    if isinstance(text, str) and text and (found := _DURATION.fullmatch(text)):
        parts = zip(("y", "w", "d", "h", "m", "s", "ms"), found.groups(), strict=True)
        seconds = sum(int(number) * UNITS[unit] for unit, number in parts if number)
        if (seconds > 0 or zero) and seconds <= 200 * UNITS["y"]:
            return timedelta(seconds=seconds)
    raise ValueError(f"{text!r} is no length of time: write it like 15s, 5m, 1h30m or 90d")


def written(length: timedelta) -> str:
    """Write a length of time as `duration` reads it."""
    rest = round(length / timedelta(milliseconds=1))
    parts = []
    for unit in ("d", "h", "m", "s", "ms"):
        many, rest = divmod(rest, round(UNITS[unit] * 1000))
        if many:
            parts.append(f"{many}{unit}")
    return "".join(parts) or "0s"


def size(text: object) -> int:
    """
    Read an amount of bytes: ``2GB``, ``512MiB``.

    Raises ``ValueError`` for anything else.
    """
    if isinstance(text, int) and not isinstance(text, bool) and text > 0:
        return text
    if isinstance(text, str) and (found := re.fullmatch(r"(\d+(?:\.\d+)?) ?([KMGT]i?B|B)", text)):
        amount = int(float(found[1]) * SIZES[found[2]])
        if amount:
            return amount
    raise ValueError(f"{text!r} is no size: write it like 512MB or 2GiB")


_WORDS: Final = {
    "missing": "is missing",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "string_type": "must be a text: put it in quotes",
    "string_unicode": "must be valid Unicode",
    "list_type": "must be a list, like [a, b]",
    "tuple_type": "must be a list, like [a, b]",
    "set_type": "must be a list, like [a, b]",
    "frozen_set_type": "must be a list, like [a, b]",
    "dict_type": "must be names with values, like {{name: value}}",
    "model_type": "must be names with values, like {{name: value}}",
    "model_attributes_type": "must be names with values, like {{name: value}}",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_parsing_size": "must be a smaller whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "string_too_short": "must have at least {min_length} characters",
    "string_too_long": "must have at most {max_length} characters",
    "too_short": "must have at least {min_length} entries",
    "too_long": "must have at most {max_length} entries",
    "literal_error": "must be {expected}",
    "enum": "must be {expected}",
}
"""What pydantic's kinds of mistakes are for people."""


def worded(details: ErrorDetails) -> str:
    """Return a mistake that pydantic found in words for people."""
    words = _WORDS.get(details["type"])
    return words.format(**details.get("ctx", {})) if words else details["msg"].removeprefix("Value error, ")


def from_environment(value: object, info: ValidationInfo) -> object:
    """
    Put the environment's values where ``${NAME}`` stands.

    Raises ``ValueError`` naming the variable that is not set.
    """
    if not isinstance(value, str):
        return value
    environment = (info.context or {}).get("environment", os.environ)

    def known(found: re.Match[str]) -> str:
        if found[1] not in environment:
            raise ValueError(f"${{{found[1]}}} is not set in the environment: set it, or write the value here")
        return str(environment[found[1]])

    return re.sub(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}", known, value)


def _web_address(value: str) -> str:
    wrong = f"{address_shown(value)!r} is no address: write it like https://shop.example/"
    try:
        parts = urlsplit(value)
        _ = parts.port
    except ValueError:  # whose words repeat a piece of it, which may be a password's
        raise ValueError(wrong) from None
    if "@" in parts.netloc:
        raise ValueError("a user or password in an address ends up in labels and logs: use headers")
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError(wrong)
    return value


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"{name!r} is no time zone: write it like UTC or Asia/Tokyo") from error
    return name


def _schema(example: str, description: str) -> Any:
    return WithJsonSchema({"type": "string", "examples": [example], "description": description})


Duration = Annotated[
    timedelta, BeforeValidator(duration), PlainSerializer(written), _schema("15s", "A length of time: 15s, 5m, 90d.")
]
"""A length of time, written like ``15s``."""

Size = Annotated[int, BeforeValidator(size), _schema("2GB", "An amount of bytes: 512MB, 2GiB.")]
"""An amount of bytes, written like ``2GB``."""

Secret = Annotated[SecretStr, BeforeValidator(from_environment)]
"""Something that must never be shown; ``${NAME}`` takes it from the environment."""

Text = Annotated[str, BeforeValidator(from_environment)]
"""A text in which ``${NAME}`` is taken from the environment."""

Address = Annotated[
    str,
    BeforeValidator(from_environment),
    AfterValidator(_web_address),
    _schema("https://shop.example/", "An address."),
]
"""An http or https address without credentials; ``${NAME}`` is taken from the environment."""

Zone = Annotated[str, AfterValidator(_zone)]
"""The name of a time zone, written like ``Asia/Tokyo``."""
