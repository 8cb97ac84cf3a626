"""The engines: the sample store, the query threads, and the connection to a remote engine."""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx2

from toban.alerting.remote_engine import RemoteRuleEngine
from toban.alerting.rule_engines import RuleEngineName, RuleEnginePair
from toban.core.metric_registry import MetricRegistry
from toban.core.ports import Clock, QueryEngine, Service
from toban.logs.assembly import Logs
from toban.promql.engine import PromqlEngine
from toban.promql.executor import QueryExecutor
from toban.remote.query_client import RemoteQueryClient
from toban.remote.remote_write import RemoteWriteService
from toban.remote.tiered_engine import TieredEngine
from toban.settings import MetricsSettings
from toban.tsdb.store import Store


@dataclass(frozen=True, slots=True)
class Engines:
    """
    The store, and what evaluates PromQL over it.

    Rules and health checks have a query thread of their own: a slow query of a client delays neither.
    """

    store: Store
    queries: QueryExecutor
    rules: QueryExecutor
    health: QueryExecutor
    outside: RuleEnginePair | None
    """The remote engine, for rule groups that it evaluates."""
    client_queries: QueryEngine
    """Evaluates queries of clients: those that reach beyond the store's retention in the remote engine."""
    services: Sequence[Service]


async def open_engines(
    stack: AsyncExitStack,
    settings: MetricsSettings,
    folder: Path,
    http: httpx2.AsyncClient,
    clock: Clock,
    meters: MetricRegistry,
) -> Engines:
    """Open the store in a folder, start the query threads, connect to the remote engine where one is configured."""
    remote, lookback = settings.remote, settings.lookback_delta
    backlog = remote.backlog if remote and remote.write_url else None
    store = stack.enter_context(Store(folder, settings, clock, meters, backlog=backlog))
    queries, rules, health = [
        await stack.enter_async_context(QueryExecutor(PromqlEngine(store, lookback=lookback))) for _ in range(3)
    ]
    services: list[Service] = [store]
    if remote and store.remote_cursor:
        services.append(RemoteWriteService(remote, store.remote_cursor, http, clock, meters))
    client = RemoteQueryClient(remote, http) if remote and remote.query_url else None
    return Engines(
        store,
        queries,
        rules,
        health,
        RuleEnginePair(RemoteRuleEngine(client, lookback), client) if client else None,
        TieredEngine(queries, client, store.oldest) if client else queries,
        services,
    )


def rule_engines(engines: Engines, logs: Logs) -> dict[RuleEngineName, RuleEnginePair]:
    """Return the engines of rules, by what their groups call them."""
    return {
        RuleEngineName.EMBEDDED: RuleEnginePair(engines.rules, engines.queries),
        **({RuleEngineName.OUTSIDE: engines.outside} if engines.outside else {}),
        RuleEngineName.LOGS: RuleEnginePair(logs.rules, logs.engine),
    }
