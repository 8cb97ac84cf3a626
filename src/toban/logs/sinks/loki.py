"""Loki: https://grafana.com/docs/loki/latest/reference/loki-http-api/#ingest-logs."""

from typing import ClassVar, Literal

from toban.logs.loki_push import LokiPushSink


class Loki(LokiPushSink):
    """Push lines to Grafana Loki, or to Grafana Cloud."""

    path: ClassVar[str] = "/loki/api/v1/push"
    tenant_header: ClassVar[str] = "x-scope-orgid"

    kind: Literal["loki"] = "loki"
