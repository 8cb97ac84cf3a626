"""Look for indexes that are unused, superfluous or missing, and for settings that don't fit; change nothing."""

import asyncio
import os
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, ClassVar, Final, Literal

from toban.core.config_types import Duration, Size
from toban.core.errors import ActionError
from toban.core.samples import MetricFamily, gauge
from toban.core.schedule import Schedule
from toban.maintenance import postgres_advice, postgres_indexes, shop_rows
from toban.maintenance.inspection import Inspection
from toban.maintenance.postgres_indexes import Index
from toban.maintenance.task import Finding, Severity, TaskPlan, TaskTools
from toban.shop.settings import ShopSettings

UNUSED: Final = gauge(
    "toban_postgres_advice_unused_bytes",
    "Size of the indexes that nothing uses, or that others make superfluous.",
    "bytes",
    labels=("task",),
)

INDEXES: Final = """
SELECT n.nspname AS schema, c.relname AS name, n.nspname || '.' || t.relname AS table,
       a.amname AS method, i.indisunique AS unique, i.indisvalid AS valid,
       coalesce(s.idx_scan, 0) AS scans, pg_relation_size(c.oid) AS bytes,
       EXISTS (SELECT FROM pg_constraint con WHERE con.conindid = c.oid)
         OR i.indisreplident OR i.indisclustered AS backs,
       ARRAY(SELECT pg_get_indexdef(c.oid, at, true) || ' ' || i.indclass[at - 1] || ' ' || i.indcollation[at - 1]
                    || ' ' || i.indoption[at - 1]
             FROM generate_series(1, i.indnkeyatts) at) AS keys,
       ARRAY(SELECT pg_get_indexdef(c.oid, at, true)
             FROM generate_series(i.indnkeyatts + 1, i.indnatts) at) AS included,
       coalesce(pg_get_expr(i.indpred, i.indrelid), '') AS rest
FROM pg_index i
JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_class t ON t.oid = i.indrelid
JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_am a ON a.oid = c.relam
LEFT JOIN pg_stat_user_indexes s ON s.indexrelid = c.oid
WHERE n.nspname NOT IN ('pg_catalog', 'pg_toast', 'information_schema') AND c.relkind = 'i' AND c.relpersistence = 'p'
ORDER BY pg_relation_size(c.oid) DESC LIMIT 5000
"""
TABLES: Final = """
SELECT s.schemaname AS schema, s.relname AS name, s.seq_scan AS scans, s.seq_tup_read AS read,
       coalesce(s.idx_scan, 0) AS index_scans, greatest(s.n_live_tup, c.reltuples)::bigint AS live,
       (SELECT option_value::float8 FROM pg_options_to_table(c.reloptions)
        WHERE option_name = 'autovacuum_vacuum_scale_factor') AS scale
FROM pg_stat_user_tables s JOIN pg_class c ON c.oid = s.relid
ORDER BY s.seq_tup_read DESC LIMIT 200
"""
# Where statistics were never reset, what they tell of the past shows how far back they go at least.
SERVER: Final = """
SELECT current_setting('server_version_num')::int AS version, pg_database_size(current_database()) AS bytes,
       d.blks_hit AS hits, d.blks_read AS reads,
       coalesce(d.stats_reset, least(pg_postmaster_start_time(), (
         SELECT min(least(last_vacuum, last_autovacuum, last_analyze, last_autoanalyze)) FROM pg_stat_all_tables
       ))) AS since,
       (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend') AS connections,
       (SELECT count(*) FROM pg_stat_replication) AS standbys, now() AS now,
       host(inet_server_addr()) AS address, pg_is_in_recovery() AS is_standby,
       quote_ident(current_user) AS role, pg_has_role(current_user, 'pg_read_all_stats', 'usage') AS sees
FROM pg_stat_database d WHERE d.datname = current_database()
"""
SETTINGS: Final = """
SELECT name, setting::float8 * coalesce(pg_size_bytes('1' || nullif(regexp_replace(unit, '^[0-9]+', ''), ''))
       * greatest(1, coalesce(nullif(regexp_replace(unit, '[^0-9]', '', 'g'), '')::int, 1)), 1) AS value
FROM pg_settings
WHERE name IN ('shared_buffers', 'work_mem', 'max_connections', 'random_page_cost', 'max_wal_size',
               'autovacuum_vacuum_scale_factor')
"""
# Since PostgreSQL 17 they have a view of their own.
CHECKPOINTS: Final = {
    True: "SELECT num_timed AS timed, num_requested AS requested FROM pg_stat_checkpointer",
    False: "SELECT checkpoints_timed AS timed, checkpoints_req AS requested FROM pg_stat_bgwriter",
}
EXTENSION: Final = """
SELECT quote_ident(n.nspname) AS schema FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
WHERE e.extname = 'pg_stat_statements'
"""
STATEMENTS: Final = """
SELECT left(query, 5000) AS query, calls, mean_exec_time AS mean FROM {schema}.pg_stat_statements
WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database()) AND calls >= 10
ORDER BY total_exec_time DESC LIMIT 200
"""
OWN_ADDRESSES: Final = frozenset({None, "127.0.0.1", "::1"})


class PostgresAdvice(Inspection):
    """
    Find indexes that nothing uses or that others make superfluous, large tables that are read whole, and settings that
    do not fit the data; each with its evidence, and the statement for a person. It changes nothing.
    """

    kind: Literal["postgres_advice"] = "postgres_advice"
    target: ClassVar[str] = "postgres advice"
    metrics: ClassVar[Sequence[MetricFamily]] = (UNUSED,)

    cron: Schedule = "0 5 * * 1"

    memory: Size | None = None
    """The memory of the database's machine, like `4GiB`; that of toban's machine where both are one."""

    timeout: Duration = timedelta(minutes=10)

    def not_configured(self, settings: ShopSettings) -> str:
        """It reads the database."""
        return shop_rows.not_configured(settings)

    async def missing(self, tools: TaskTools) -> str:
        """Return the grant that is missing. Raises ``ActionError``."""
        (server,) = await shop_rows.read(tools, SERVER)
        return "" if server["sees"] else f"GRANT pg_read_all_stats TO {server['role']}"

    async def plan(self, tools: TaskTools) -> TaskPlan:
        """Look. Raises ``ActionError``."""
        (server,) = await shop_rows.read(tools, SERVER)
        indexes = [Index.of(row) for row in await shop_rows.read(tools, INDEXES)]
        tables = await shop_rows.read(tools, TABLES)
        settings = {it["name"]: float(it["value"]) for it in await shop_rows.read(tools, SETTINGS)}
        (checkpoints,) = await shop_rows.read(tools, CHECKPOINTS[server["version"] >= 170000])
        findings = list[Finding]()
        statements = await self._statements(tools, findings)
        since = server["since"]
        unused = list(postgres_indexes.unused(indexes, since, server["now"], server["standbys"]))
        superfluous = await asyncio.to_thread(lambda: list(postgres_indexes.repeated(indexes)))
        if server["now"] - since < postgres_indexes.OBSERVED:
            text = f"statistics are counted since {since:%Y-%m-%d} only: which indexes are unused is told after 30 days"
            findings.append(Finding("statistics", text))
        if not server["sees"]:
            remedy = f"GRANT pg_read_all_stats TO {server['role']}"
            findings.append(Finding("rights", "the statements of others can't be seen", Severity.WARNING, remedy))
        findings += [*unused, *superfluous]
        findings += await asyncio.to_thread(lambda: list(postgres_advice.missing_indexes(tables, statements)))
        findings += postgres_advice.vacuum_scale(tables, settings["autovacuum_vacuum_scale_factor"])
        memory = self.memory or (await asyncio.to_thread(_own_memory) if server["address"] in OWN_ADDRESSES else None)
        findings += postgres_advice.server_settings(settings, {**server, **checkpoints}, memory)
        useless = {it.name.partition(" ")[2] for it in (*unused, *superfluous)}
        figures = {UNUSED.name: float(sum(it.bytes for it in indexes if it.name in useless))}
        return TaskPlan((), findings, f"looked at {len(indexes)} indexes and {len(tables)} tables", figures)

    async def _statements(self, tools: TaskTools, findings: list[Finding]) -> Sequence[Mapping[str, Any]]:
        """Return the statements that take the most time, where they are counted."""
        extension = await shop_rows.read(tools, EXTENSION)
        if not extension:
            remedy = "shared_preload_libraries = 'pg_stat_statements', then CREATE EXTENSION pg_stat_statements"
            findings.append(Finding("statements", "no statement is counted", Severity.INFO, remedy))
            return ()
        try:
            return await shop_rows.read(tools, STATEMENTS.format(schema=extension[0]["schema"]))
        except ActionError as error:
            findings.append(Finding("statements", f"statements can't be read: {error}", Severity.INFO))
            return ()


def _own_memory() -> int:
    """Return the memory of this machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
