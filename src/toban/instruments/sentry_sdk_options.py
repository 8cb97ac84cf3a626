"""Options of Sentry's SDK that send no secret, for `ErrorMonitor` and for toban's own errors."""

import re
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator, SecretStr

from toban.core.errors import SettingsError
from toban.core.redaction import MAX_DEPTH, REDACTED, is_secret, redact, redact_text

if TYPE_CHECKING:
    from sentry_sdk.types import Event, Hint

Callback = Callable[["Event", "Hint"], "Event | None"]

WRITTEN_BY_SDK: Final = frozenset(
    {"event_id", "timestamp", "start_timestamp", "platform", "level", "sdk", "modules", "type"}
)
"""Fields of an event that hold nothing of the program."""

_RELEASE: Final = re.compile(r"(?:([\w.-]{1,100})@)?(?:v?[0-9][\w.+-]{0,40}|[0-9a-f]{40})")
"""A release, as ``shop@1.2.0`` or a commit: it looks like an e-mail address or a key, and is none."""

_OPTION_NAME: Final = re.compile(r"-{0,2}[\w.-]{1,60}")

INSTALL: Final = "sentry-sdk is not installed: pip install 'toban[sentry]'"


def check_dsn(dsn: str) -> str:
    """Return a DSN. Raises ``ValueError`` for a text that is none, without showing it."""
    parts = urlsplit(dsn)
    if parts.scheme not in {"http", "https"} or not parts.username or not parts.hostname or not parts.path.strip("/"):
        raise ValueError("a DSN looks like https://KEY@HOST/PROJECT")
    return dsn


def _check_secret(value: SecretStr) -> SecretStr:
    check_dsn(value.get_secret_value())
    return value


IS_DSN: Final = AfterValidator(_check_secret)
"""Makes a secret of the settings a DSN."""


def load_sdk() -> ModuleType:
    """Import the SDK, with what is used of it. Raises ``SettingsError`` where it is not installed."""
    try:
        import sentry_sdk.integrations.logging
        import sentry_sdk.utils
    except ImportError as error:
        raise SettingsError(INSTALL) from error
    return sentry_sdk


def redacting(callback: Callback | None = None) -> Callback:
    """Return a `before_send` that redacts what another one returns."""

    def before_send(event: "Event", hint: "Hint") -> "Event | None":
        kept = callback(event, hint) if callback else event
        return None if kept is None else redact_event(kept, hint)

    return before_send


def options(dsn: str, environment: str) -> dict[str, Any]:
    """Return the options that hold for every use."""
    return {
        "dsn": dsn,
        "environment": environment,
        # Variables and source lines hold passwords under any name.
        "include_local_variables": False,
        "include_source_context": False,
        # The SDK would add headers to every request, also to those that are no part of the shop.
        "trace_propagation_targets": [],
        "before_send": redacting(),
        "before_send_transaction": redacting(),
    }


def redact_event(event: "Event", hint: "Hint") -> "Event":
    """
    Return an event without secrets, in every place: by the names of its fields, and in its texts.

    Each text is searched up to the limit of `redact`, by itself: one long breadcrumb costs no other.
    """
    for name, value in list(event.items()):
        if name not in WRITTEN_BY_SDK and not (name == "release" and _is_release(value)):
            event[name] = _redacted(value, MAX_DEPTH)  # type: ignore[literal-required]  # the SDK's type lists its fields
    entry = event.get("logentry")
    if isinstance(entry, dict) and "params" in entry:
        # Without their names; the formatted text has them too.
        entry["params"] = [REDACTED]
    return event


def _is_release(value: object) -> bool:
    found = _RELEASE.fullmatch(str(value))
    return found is not None and redact_text(found[1] or "") == (found[1] or "")


def _redacted(value: object, levels: int) -> object:
    if levels == 0:
        return REDACTED
    if isinstance(value, Mapping):
        return _redacted_fields(value, levels - 1)
    if isinstance(value, list | tuple):
        # Pairs, as of headers and tags, and arguments of a command: the value comes after its name.
        names = ["", *value]
        return [
            REDACTED if _names_secret(name) else _redacted(inner, levels - 1)
            for name, inner in zip(names, value, strict=False)
        ]
    return redact(value)


def _redacted_fields(fields: Mapping[Any, Any], levels: int) -> dict[str, object]:
    is_pair = any(_names_secret(fields.get(name)) for name in ("name", "key"))
    return {
        redact_text(str(name)): REDACTED
        if is_secret(str(name)) or (is_pair and name == "value")
        else _redacted(inner, levels)
        for name, inner in fields.items()
    }


def _names_secret(name: object) -> bool:
    return isinstance(name, str) and _OPTION_NAME.fullmatch(name) is not None and is_secret(name)
