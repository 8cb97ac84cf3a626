"""The base class and the types of settings, and readable errors."""

import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    PlainSerializer,
    PlainValidator,
    SecretStr,
    ValidationInfo,
    WithJsonSchema,
    model_validator,
)
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import ErrorDetails

from toban.core.config_file import PlainScalar, strip_copied
from toban.core.redaction import redact_url

DURATION_UNITS: Final = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800, "y": 31536000}
SIZES: Final = {
    "B": 1,
    "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
    "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40,
}  # fmt: skip  # a row for each system reads better than a line for each unit


class ConfigSchema(GenerateJsonSchema):
    """Generates a schema whose defaults are written as in `toban.yaml`."""

    def encode_default(self, dft: Any) -> Any:
        """Return a default as it is written."""
        return format_duration(dft) if isinstance(dft, timedelta) else super().encode_default(dft)


class Section(BaseModel):
    """
    A section of the configuration, declared beside the code that uses it.

    Its docstrings are its manual: they become the descriptions of the JSON Schema. It is immutable.
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        validate_default=True,
        hide_input_in_errors=True,
    )

    @model_validator(mode="before")
    @classmethod
    def _remove_nulls(cls, written: Any) -> Any:
        """Remove settings without a value: they count as not set."""
        if not isinstance(written, Mapping):
            return written
        known = {field.alias or name for name, field in cls.model_fields.items()}
        return {key: value for key, value in written.items() if value is not None or key not in known}

    @classmethod
    def model_json_schema(cls, **options: Any) -> dict[str, Any]:  # type: ignore[override]  # only by name
        """Return the JSON Schema of this section."""
        return super().model_json_schema(**{"schema_generator": ConfigSchema, **options})


_DURATION: Final = re.compile("".join(rf"(?:(\d{{1,12}}){unit})?" for unit in ("y", "w", "d", "h", "m", "s", "ms")))


def parse_duration(text: object, *, zero: bool = False) -> timedelta:
    """
    Parse a duration as Prometheus writes it: ``15s``, ``1h30m``, ``90d``; with ``zero``, also ``0`` and ``0s``.

    Raises ``ValueError`` for anything else, a bare number included.
    """
    if isinstance(text, timedelta):
        return text
    if zero and text in ("0", 0):
        return timedelta()
    if isinstance(text, str) and text and (found := _DURATION.fullmatch(text)):
        parts = zip(("y", "w", "d", "h", "m", "s", "ms"), found.groups(), strict=True)
        seconds = sum(int(number) * DURATION_UNITS[unit] for unit, number in parts if number)
        if (seconds > 0 or zero) and seconds <= 200 * DURATION_UNITS["y"]:
            return timedelta(seconds=seconds)
    raise ValueError(f"invalid duration {text!r}: write it like 15s, 5m, 1h30m or 90d")


def format_duration(duration: timedelta) -> str:
    """Return a duration as `parse_duration` parses it."""
    rest = round(duration / timedelta(milliseconds=1))
    parts = []
    for unit in ("d", "h", "m", "s", "ms"):
        count, rest = divmod(rest, round(DURATION_UNITS[unit] * 1000))
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def parse_size(text: object) -> int:
    """
    Parse a size in bytes: ``2GB``, ``512MiB``.

    Raises ``ValueError`` for anything else.
    """
    if isinstance(text, int) and not isinstance(text, bool) and text > 0:
        return text
    if isinstance(text, PlainScalar) and re.fullmatch(r"[0-9]{1,18}", text):
        text = f"{text} B"
    if isinstance(text, str) and (found := re.fullmatch(r"(\d{1,18}(?:\.\d{1,18})?) ?([KMGT]i?B|B)", text)):
        amount = int(float(found[1]) * SIZES[found[2]])
        if amount:
            return amount
    raise ValueError(f"invalid size {text!r}: write it like 512MB or 2GiB")


_ERROR_TEXTS: Final = {
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
    "path_type": "must be a path",
    "string_pattern_mismatch": "must be a name of letters, digits and `_`",
    "invalid_key": "a name must be a word (or in quotes)",
    "extra_forbidden": "unknown setting",
}
"""Readable texts of pydantic's types of errors."""


def readable_error(details: ErrorDetails) -> str:
    """Return an error of pydantic as a readable text."""
    text = _ERROR_TEXTS.get(details["type"])
    return text.format(**details.get("ctx", {})) if text else details["msg"].removeprefix("Value error, ")


def _relative_to_configuration(pattern: object, info: ValidationInfo) -> object:
    folder = (info.context or {}).get("folder")
    return str(Path(folder) / pattern) if isinstance(pattern, str) and folder else pattern


FilePattern = Annotated[str, BeforeValidator(_relative_to_configuration)]
"""A setting that names files; one that is not absolute is relative to the folder of the configuration."""


def _stripped(value: object) -> object:
    return strip_copied(value) if isinstance(value, str) else value


def _trimmed(value: object) -> object:
    return value.strip() if isinstance(value, str) else value


def _printable(value: SecretStr) -> SecretStr:
    if re.search(r"[\x00-\x1f\x7f]", value.get_secret_value()):
        raise ValueError("it contains a line break or another control character: was too much copied?")
    return value


def _web_address(value: str) -> str:
    if not is_web_address(value):
        raise ValueError(f"invalid URL {redact_url(value)!r}: write it like https://shop.example/")
    if "@" in urlsplit(value).netloc:
        raise ValueError("a user or password in a URL would be in labels and logs: use headers")
    return value


def _secret_web_address(value: SecretStr) -> SecretStr:
    if not is_web_address(value.get_secret_value()):
        raise ValueError("invalid URL: it must begin with https://")
    return value


def is_web_address(text: str) -> bool:
    """Return whether a text is an http or https URL."""
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        return False
    # urlsplit ignores line breaks; a client does not.
    return parts.scheme in {"http", "https"} and bool(parts.hostname) and not re.search(r"[\x00-\x20\x7f]", text)


def require_scheme(*schemes: str) -> AfterValidator:
    """Return a validator that rejects a secret URL with another scheme; the scheme may be in capitals."""

    def check(value: SecretStr) -> SecretStr:
        scheme, separator, rest = value.get_secret_value().partition("://")
        if scheme.lower() not in schemes:
            raise ValueError(f"the URL must begin with {' or '.join(f'{scheme}://' for scheme in schemes)}")
        return SecretStr(f"{scheme.lower()}{separator}{rest}")

    return AfterValidator(check)


def _host(value: str) -> str:
    host = value.removeprefix("[").removesuffix("]")
    if not re.fullmatch(r"[\w.-]+|[0-9A-Fa-f:.]+(%\w+)?", host):
        raise ValueError(
            f"invalid host name {redact_url(value)!r}: write it like mail.example.com, without scheme and port"
        )
    return host


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"unknown time zone {name!r}: write it like UTC or Asia/Tokyo") from error
    return name


def _schema(example: str, description: str) -> Any:
    return WithJsonSchema({"type": "string", "examples": [example], "description": description})


Duration = Annotated[
    timedelta,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration),
    _schema("15s", "A duration: 15s, 5m, 90d."),
]
"""A duration, written like ``15s``."""

Size = Annotated[int, BeforeValidator(parse_size), _schema("2GB", "A size in bytes: 512MB, 2GiB.")]
"""A size in bytes, written like ``2GB``."""

Secret = Annotated[SecretStr, BeforeValidator(_stripped), AfterValidator(_printable)]
"""A secret, stripped of what copying adds (`core.config_file.strip_copied`)."""

SecretAddress = Annotated[Secret, AfterValidator(_secret_web_address)]
"""A secret http or https URL: whoever knows it may post there."""

Text = Annotated[str, BeforeValidator(_trimmed)]
"""A text, stripped of white space."""

Host = Annotated[str, BeforeValidator(_stripped), AfterValidator(_host)]
"""The name or IP address of a host, without scheme and port."""

Address = Annotated[
    str,
    BeforeValidator(_stripped),
    AfterValidator(_web_address),
    _schema("https://shop.example/", "A URL."),
]
"""An http or https URL without credentials, stripped of what copying adds."""


def _body(value: object) -> object:
    """Return a text as it is; in a mapping, convert scalars without quotes as YAML does."""
    if isinstance(value, str):
        return str(value)
    if not isinstance(value, dict):
        raise ValueError("must be a text, or names with values, like {name: value}")  # noqa: TRY004  # pydantic reports ValueError
    return {name: _typed(inner) for name, inner in value.items()}


def _typed(value: object) -> object:
    if isinstance(value, dict):
        return {name: _typed(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_typed(inner) for inner in value]
    return _scalar(value) if isinstance(value, PlainScalar) else value


_NUMBER: Final = re.compile(r"[-+]?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")


def _scalar(text: str) -> object:
    if text in {"true", "false"}:
        return text == "true"
    found = _NUMBER.fullmatch(text)
    if not found:
        return str(text)
    return float(text) if found[2] or found[3] else int(text)


Body = Annotated[
    str | dict[str, Any], PlainValidator(_body), WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "object"}]})
]
"""A text, or a mapping with any values of JSON."""

Zone = Annotated[str, AfterValidator(_zone)]
"""A time zone, written like ``Asia/Tokyo``."""
