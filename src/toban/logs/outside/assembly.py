"""Assembles the engine of lines outside."""

from dataclasses import dataclass
from typing import Final

import httpx2

from toban.core.errors import QueryError, ResponseTooLargeError, StoreError
from toban.core.metric_registry import MetricRegistry
from toban.core.ports import Clock
from toban.logs.line_redaction import LineRedactor
from toban.logs.logql.query_limits import LogqlLimits
from toban.logs.outside.client import OutsideClient
from toban.logs.outside.engine import OutsideLogEngine
from toban.logs.outside.loki_client import LokiClient
from toban.logs.outside.request import OutsideRequests
from toban.logs.outside.settings import OutsideLogSettings
from toban.logs.outside.victorialogs_client import VictoriaLogsClient

CLIENTS: Final[dict[str, type[OutsideClient]]] = {"loki": LokiClient, "victorialogs": VictoriaLogsClient}


@dataclass(frozen=True, slots=True)
class OutsideTools:
    """What makes an engine of its settings."""

    http: httpx2.AsyncClient
    clock: Clock
    meters: MetricRegistry

    def engine(self, settings: OutsideLogSettings | None, redactor: LineRedactor) -> OutsideLogEngine | None:
        """Return the engine of some settings, if they name one."""
        return OutsideLogEngine(self.client(settings), self.clock, redactor) if settings else None

    def client(self, settings: OutsideLogSettings) -> OutsideClient:
        """Return the client of an engine."""
        requests = OutsideRequests(settings, self.http, self.clock, self.meters)
        return CLIENTS[settings.kind](settings, requests, LogqlLimits())


async def check_outside(settings: OutsideLogSettings, tools: OutsideTools) -> str:
    """Try the engine, reading next to nothing; return what is wrong, or an empty text."""
    try:
        await tools.client(settings).try_connection()
    except (QueryError, StoreError, ResponseTooLargeError) as error:
        return str(error)
    return ""
