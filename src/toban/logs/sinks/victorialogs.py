"""VictoriaLogs: https://docs.victoriametrics.com/victorialogs/data-ingestion/#loki-json-api."""

from typing import ClassVar, Literal

from toban.logs.loki_push import LokiPushSink


class VictoriaLogs(LokiPushSink):
    """Push lines to VictoriaLogs."""

    path: ClassVar[str] = "/insert/loki/api/v1/push"
    tenant_header: ClassVar[str] = "accountid"

    kind: Literal["victorialogs"] = "victorialogs"
