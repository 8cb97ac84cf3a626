"""Loki's push API, which VictoriaLogs takes too: /loki/api/v1/push."""

from abc import ABC
from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import ClassVar

import orjson

from toban.core.config_types import Address, Secret, Text
from toban.logs.line_store import StoredLine
from toban.logs.outside.line_mapping import outside_line
from toban.logs.sink import HttpSink, SinkProbe, SinkRequest


class LokiPushSink(HttpSink, ABC):
    """Pushes lines by stream."""

    max_lines: ClassVar[int] = 2_000
    path: ClassVar[str]
    """The path of the push API."""

    tenant_header: ClassVar[str]
    """The header that names the tenant."""

    url: Address
    """The URL of the server, without a path."""

    tenant: Text | None = None
    """The tenant, where the server has several."""

    user: Text | None = None
    """The user, where the server asks for one."""

    password: Secret | None = None
    """The password or token of the user."""

    labels: Mapping[str, str] = {}
    """Further labels of all streams."""

    def secrets(self) -> Sequence[str]:
        """Return the password."""
        return [self.password.get_secret_value()] if self.password else []

    def request(self, lines: Sequence[StoredLine]) -> SinkRequest:
        """Return lines by stream, in the order of time in each."""
        streams: dict[tuple[tuple[str, str], ...], list[list[object]]] = {}
        for stored in sorted(lines, key=lambda it: it.position):
            line = outside_line(stored.line, stored.position.nanoseconds, self.labels)
            values = streams.setdefault(tuple(sorted(line.stream.items())), [])
            values.append([str(line.at), line.text, line.metadata])
        body = orjson.dumps({"streams": [{"stream": dict(key), "values": it} for key, it in streams.items()]})
        return self._request(body)

    def probe(self) -> SinkProbe:
        """Return a push of no streams: Loki rejects it with 422 where it takes the credentials."""
        understood = {400: "stream", 422: "stream"}
        return SinkProbe(self._request(b'{"streams":[]}'), "takes these credentials", understood=understood)

    def _request(self, body: bytes) -> SinkRequest:
        headers: dict[str, str] = {self.tenant_header: self.tenant} if self.tenant else {}
        if self.user and self.password:
            pair = f"{self.user}:{self.password.get_secret_value()}"
            headers["authorization"] = f"Basic {b64encode(pair.encode()).decode()}"
        return SinkRequest(f"{self.url.rstrip('/')}{self.path}", body, headers)
