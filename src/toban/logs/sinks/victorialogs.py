"""VictoriaLogs: https://docs.victoriametrics.com/victorialogs/data-ingestion/#loki-json-api."""

from typing import ClassVar, Literal

from toban.logs.loki_push import LokiPushSink


class VictoriaLogs(LokiPushSink):
    """Push lines to VictoriaLogs."""

    # A message that is JSON stays a message: it would become fields, and be no text any more.
    path: ClassVar[str] = "/insert/loki/api/v1/push?disable_message_parsing=1"
    tenant_header: ClassVar[str] = "accountid"

    kind: Literal["victorialogs"] = "victorialogs"
