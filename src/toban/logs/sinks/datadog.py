"""Datadog: https://docs.datadoghq.com/api/latest/logs/#send-logs."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import ClassVar, Final, Literal
from urllib.parse import urlsplit

import orjson

from toban.core.config_types import Address, Secret, Text
from toban.core.log_line import LogLine
from toban.core.untyped_json import json_text
from toban.logs.line_store import StoredLine
from toban.logs.sink import HttpSink, SinkProbe, SinkRequest

STATUSES: Final = {"warn": "warning", "verbose": "debug"}
"""Datadog's names of levels, where they are others."""

MAX_LINE: Final = 900_000
"""Bytes of one log: Datadog cuts longer ones without a word."""


class Datadog(HttpSink):
    """Send lines to Datadog's intake. It takes lines of the last 18 hours: older ones are dropped and counted."""

    max_lines: ClassVar[int] = 1_000
    max_bytes: ClassVar[int] = 4_250_000
    max_age: ClassVar[timedelta | None] = timedelta(hours=17, minutes=50)

    kind: Literal["datadog"] = "datadog"

    api_key: Secret
    """An API key of the site."""

    site: Text = "datadoghq.com"
    """The site of the account: `datadoghq.eu`, `ap1.datadoghq.com`, …"""

    url: Address | None = None
    """The URL of the intake, where it is another one than the site's."""

    service: Text = "vendure"
    """The service of lines that name none."""

    source: Text = "nodejs"
    """The source, by which Datadog chooses a pipeline."""

    source_category: Text = "vendure"
    """The tag `sourcecategory`."""

    tags: Mapping[str, str] = {}
    """Further tags of all lines."""

    def secrets(self) -> Sequence[str]:
        """Return the key."""
        return [self.api_key.get_secret_value()]

    def request(self, lines: Sequence[StoredLine]) -> SinkRequest:
        """Return lines as an array of logs."""
        url = self.url or f"https://http-intake.logs.{self.site}/api/v2/logs"
        body = b"[%s]" % b",".join(self._log(stored) for stored in lines)
        return SinkRequest(url, body, {"dd-api-key": self.api_key.get_secret_value()})

    def probe(self) -> SinkProbe:
        """Return the request that says whether the site knows the key; another intake may not have it."""
        key = {"dd-api-key": self.api_key.get_secret_value()}
        if self.url is None:
            url = f"https://api.{self.site}/api/v1/validate"
            return SinkProbe(SinkRequest(url, b"", key), f"{self.site} knows the key", "GET")
        parts = urlsplit(self.url)
        url = f"{parts.scheme}://{parts.netloc}/api/v1/validate"
        return SinkProbe(
            SinkRequest(url, b"", key),
            "reachable; whether it takes the key shows the first line",
            "GET",
            {404: "", 405: ""},
        )

    def _log(self, stored: StoredLine) -> bytes:
        line = stored.line
        fields: dict[str, object] = {
            **line.facts,
            "ddsource": self.source,
            "ddtags": ",".join(f"{name}:{value}" for name, value in self._tags(line).items() if value),
            "hostname": line.instance,
            "service": line.service or self.service,
            "message": line.message,
            "status": STATUSES.get(line.level, line.level.value),
            "timestamp": stored.position.at,
            "context": line.context,
            "category": line.category,
            "trace_id": line.trace_id,
            "error.stack": line.trace,
        }
        log = json_text({name: value for name, value in fields.items() if value != ""}).encode()
        if len(log) <= MAX_LINE:
            return log
        return orjson.dumps(
            {name: fields[name] for name in ("ddsource", "ddtags", "service", "status", "timestamp")}
            | {"message": line.message, "truncated": True}
        )

    def _tags(self, line: LogLine) -> dict[str, str]:
        """Return the tags of a line; in a value a comma would begin the next tag."""
        found = {
            **self.tags,
            "environment": line.environment,
            "instance": line.instance,
            "sourcecategory": self.source_category,
        }
        return {name: value.replace(",", "_") for name, value in found.items()}
