"""Sentry: https://develop.sentry.dev/sdk/data-model/envelopes/."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Final, Literal
from urllib.parse import urlsplit
from uuid import UUID, uuid5

import orjson

import toban
from toban.core.config_types import Secret
from toban.core.log_line import GRAPHQL_ERROR, LogLevel
from toban.instruments.sentry_sdk_options import IS_DSN
from toban.logs.line_store import StoredLine
from toban.logs.sink import HttpSink, SinkRequest
from toban.logs.text_fields import metadata

EVENTS: Final = UUID("6f1c3a52-6a0e-4f7c-9d7e-1a3c0f8c5d11")
"""The namespace of event ids: a line that is sent twice is one event."""

LEVELS: Final = {LogLevel.WARN: "warning", LogLevel.VERBOSE: "debug"}


class Sentry(HttpSink):
    """
    Report lines to Sentry as events: by default errors alone. Equal messages of a context become one issue.

    Lines of one request with one error are one event.
    """

    max_lines: ClassVar[int] = 1
    max_bytes: ClassVar[int] = 1_000_000

    kind: Literal["sentry"] = "sentry"

    dsn: Annotated[Secret, IS_DSN]
    """The DSN of the project."""

    level: LogLevel = LogLevel.ERROR
    """Lines of this level and more severe ones are sent."""

    def secrets(self) -> Sequence[str]:
        """Return the key."""
        return [urlsplit(self.dsn.get_secret_value()).username or ""]

    def request(self, lines: Sequence[StoredLine]) -> SinkRequest:
        """Return an envelope with one event: it can hold no more."""
        parts = urlsplit(self.dsn.get_secret_value())
        prefix, _, project = parts.path.rstrip("/").rpartition("/")
        host = parts.netloc.rpartition("@")[2]
        event = _event(lines[0])
        header = orjson.dumps({"event_id": event["event_id"]})
        item = orjson.dumps(event)
        start = orjson.dumps({"type": "event", "content_type": "application/json", "length": len(item)})
        auth = f"Sentry sentry_version=7, sentry_client=toban/{toban.__version__}, sentry_key={parts.username}"
        return SinkRequest(
            f"{parts.scheme}://{host}{prefix}/api/{project}/envelope/",
            b"\n".join([header, start, item, b""]),
            {"x-sentry-auth": auth},
            "application/x-sentry-envelope",
        )

    def probe(self) -> str:
        """Return what the settings have checked: there is no request that stores nothing."""
        return "the DSN is well-formed; whether Sentry takes it shows the first error"

    def rejected(self, response: Any, lines: Sequence[StoredLine]) -> Mapping[str, int]:
        """Return nothing: Sentry takes what it answers with 200."""
        return {}


def _event(stored: StoredLine) -> Mapping[str, Any]:
    line = stored.line
    event: dict[str, Any] = {
        "event_id": _event_id(stored),
        "timestamp": stored.position.at / 1000,
        "platform": "node",
        "level": LEVELS.get(line.level, line.level.value),
        "logger": line.context,
        "message": line.message[:8192],
        "environment": line.environment,
        "server_name": line.instance,
        "tags": {
            name: value[:200] for name, value in (("service", line.service), ("category", line.category)) if value
        },
        "extra": {**metadata(line), **({"stack": line.trace} if line.trace else {})},
    }
    return {name: value for name, value in event.items() if value}


def _event_id(stored: StoredLine) -> str:
    """
    Return an id that is the same when a line is sent again, and for all lines about one error of a request.

    Vendure logs an error that nothing expected twice, and toban logs the failed GraphQL request.
    """
    line, position = stored.line, stored.position
    message = line.message.removeprefix(GRAPHQL_ERROR)
    about = f"{line.trace_id} {message}" if line.trace_id else f"{position.at} {position.number} {line.message}"
    return uuid5(EVENTS, about).hex
