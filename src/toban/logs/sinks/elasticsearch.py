"""Elasticsearch and OpenSearch: the bulk API."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Final, Literal

import orjson
from pydantic import AfterValidator

from toban.core.backoff import RETRYABLE_STATUSES
from toban.core.config_types import Address, Secret, Text
from toban.core.errors import DeliveryError
from toban.core.untyped_json import as_mapping
from toban.logs.line_store import StoredLine
from toban.logs.sink import HttpSink, SinkProbe, SinkRequest
from toban.logs.text_fields import fact_texts

CONFLICT: Final = 409
"""The document is there already: the line was sent before."""


def _index(value: str) -> str:
    if value != value.lower() or not value or value[0] in "-_+." or set(value) & set(' "*\\<|,>/?#:'):
        raise ValueError('an index has lower-case letters, and none of `"*\\<|,>/?#:` or a space')
    return value


class Elasticsearch(HttpSink):
    """
    Write lines to an index or data stream of Elasticsearch or OpenSearch.

    A line has the same id each time that it is sent: it is there once.
    """

    kind: Literal["elasticsearch"] = "elasticsearch"

    url: Address
    """The URL of the server."""

    index: Annotated[Text, AfterValidator(_index)] = "logs-vendure-toban"
    """The index or data stream."""

    api_key: Secret | None = None
    """An API key, encoded as Elasticsearch shows it."""

    def secrets(self) -> Sequence[str]:
        """Return the key."""
        return [self.api_key.get_secret_value()] if self.api_key else []

    content_type: ClassVar[str] = "application/x-ndjson"

    def request(self, lines: Sequence[StoredLine]) -> SinkRequest:
        """Return lines as bulk operations, in the Elastic Common Schema."""
        parts: list[bytes] = []
        for stored in lines:
            parts.append(orjson.dumps({"create": {"_id": f"toban-{stored.position.at}-{stored.position.number}"}}))
            parts.append(orjson.dumps(_document(stored), option=orjson.OPT_NON_STR_KEYS))
        url = f"{self.url.rstrip('/')}/{self.index}/_bulk"
        return SinkRequest(url, b"\n".join([*parts, b""]), self._headers(), self.content_type)

    def probe(self) -> SinkProbe:
        """Return the request for the server's version; a key that may only write gets 403, and is valid."""
        request = SinkRequest(f"{self.url.rstrip('/')}/", b"", self._headers())
        proves = f"takes the key; whether it may write to {self.index} shows the first line"
        return SinkProbe(request, proves, "GET", {403: "cluster:monitor"})

    def _headers(self) -> dict[str, str]:
        return {"authorization": f"ApiKey {self.api_key.get_secret_value()}"} if self.api_key else {}

    def rejected(self, response: Any, lines: Sequence[StoredLine]) -> Mapping[str, int]:
        """Count the operations that failed; where the server had no room for some, all are sent again."""
        items = as_mapping(response).get("items")
        if not isinstance(items, list) or len(items) != len(lines):
            raise DeliveryError(f"{self.name}: the response is not that of a bulk request: is a proxy between?")
        failed = Counter[str]()
        for item in items:
            status = as_mapping(as_mapping(item).get("create")).get("status")
            if not isinstance(status, int) or status >= 500 or status in RETRYABLE_STATUSES:
                raise DeliveryError(f"{self.name}: the server had no room for some lines")
            failed["rejected"] += status >= 400 and status != CONFLICT
        return failed


def _document(stored: StoredLine) -> Mapping[str, object]:
    line = stored.line
    fields: dict[str, object] = {
        "@timestamp": stored.position.at,
        "message": line.message,
        "log.level": line.level.value,
        "log.logger": line.context,
        "service.name": line.service,
        "service.environment": line.environment,
        "service.node.name": line.instance,
        "event.category": line.category,
        "trace.id": line.trace_id,
        "error.stack_trace": line.trace,
        # As texts: a field that is a number once and a text later would be rejected.
        "labels": fact_texts(line),
    }
    return {name: value for name, value in fields.items() if value not in ("", {})}
