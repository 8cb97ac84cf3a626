"""Rebuild the indexes of the shop that have a reason for it, without locking anybody out."""

import asyncio
import math
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import Field

from toban.core.config_types import Duration, Size
from toban.core.errors import ActionError, QueryError, StoreError
from toban.core.number_format import format_bytes
from toban.core.samples import milliseconds
from toban.core.schedule import Schedule
from toban.maintenance import postgres_tables
from toban.maintenance.task import (
    Finding,
    Severity,
    Step,
    StepContext,
    StepResult,
    StepSkippedError,
    Task,
    TaskPlan,
    TaskTools,
)
from toban.shop.admin_database import AdminDatabase, AdminError, quoted
from toban.shop.settings import ShopSettings

PAGE: Final = 8192 - 24 - 16
"""Bytes of a page of a B-tree that hold tuples: without its header and its special space."""
TUPLE: Final = 8 + 4
"""Bytes of a tuple of an index beside its columns: its header, and the pointer to it."""
DISK_FACTOR: Final = 2.5
"""How much free disk a rebuild needs, in sizes of its index: the new index, and what is sorted for it."""
DEADLOCK: Final = "40P01"

INDEXES: Final = """
SELECT n.nspname AS schema, c.relname AS name, t.oid::regclass::text AS table, t.oid AS table_oid,
       pg_get_userbyid(t.relowner) AS owner, {allowed} AS allowed, i.indisvalid AS valid,
       i.indisexclusion AS excludes, a.amname AS method, pg_relation_size(c.oid) AS bytes, c.relpages AS pages,
       c.reltuples AS tuples,
       (SELECT CASE WHEN count(*) = i.indnatts THEN sum(st.avg_width * (1 - st.null_frac)) END
        FROM pg_attribute col
        JOIN pg_stats st ON st.schemaname = n.nspname AND st.tablename = t.relname AND st.attname = col.attname
        WHERE col.attrelid = t.oid AND col.attnum = ANY (i.indkey)) AS width,
       (SELECT string_agg(DISTINCT quote_ident(co.collname), ', ')
        FROM unnest(i.indcollation::oid[]) used JOIN pg_collation co ON co.oid = used
        WHERE co.collversion IS NOT NULL AND co.collversion <> pg_collation_actual_version(co.oid)) AS collations,
       100 = ANY (i.indcollation::oid[]) AS default_collation
FROM pg_index i
JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_class t ON t.oid = i.indrelid
JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_am a ON a.oid = c.relam
WHERE n.nspname NOT IN ('pg_catalog', 'pg_toast', 'information_schema') AND c.relkind = 'i'
  AND c.relpersistence = 'p' AND c.relname !~ '_cc(new|old)[0-9]*$'
ORDER BY pg_relation_size(c.oid) DESC
"""
DATABASE_COLLATION: Final = """
SELECT datcollversion IS NOT NULL AND datcollversion <> pg_database_collation_actual_version(oid) AS changed
FROM pg_database WHERE datname = current_database()
"""
LEFTOVERS: Final = """
SELECT n.nspname AS schema, c.relname AS name, pg_relation_size(c.oid) AS bytes,
       pg_get_userbyid(c.relowner) AS owner,
       pg_has_role(current_user, c.relowner, 'usage') AND has_schema_privilege(n.oid, 'USAGE')
         AND (n.nspname <> 'pg_toast' OR (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)) AS allowed
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE NOT i.indisvalid AND c.relname ~ '_cc(new|old)[0-9]*$'
  AND NOT EXISTS (SELECT FROM pg_stat_progress_create_index p WHERE p.relid = i.indrelid)
"""
BUSY: Final = """
SELECT a.pid, (extract(epoch FROM now() - a.xact_start) / 60)::int AS minutes, a.application_name AS application
FROM pg_stat_activity a JOIN pg_locks l USING (pid)
WHERE l.relation = %(table)s AND a.xact_start < now() - %(age)s::interval AND a.pid <> pg_backend_pid()
ORDER BY a.xact_start LIMIT 1
"""
PROGRESS: Final = """
SELECT phase, blocks_done AS done, blocks_total AS total FROM pg_stat_progress_create_index WHERE relid = %(table)s
"""
STATE: Final = """
SELECT c.relfilenode AS file, i.indisvalid AS valid, pg_relation_size(c.oid) AS bytes
FROM pg_class c JOIN pg_index i ON i.indexrelid = c.oid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %(schema)s AND c.relname = %(name)s
"""
SEES: Final = """
SELECT current_user AS role, pg_has_role(current_user, 'pg_read_all_stats', 'usage') AS sees
"""
"""Without that role, the transactions of others have no age: old ones can't be told from new ones."""
IS_HERE: Final = """
SELECT host(inet_server_addr()) AS address,
       CASE WHEN pg_has_role(current_user, 'pg_read_all_settings', 'usage')
            THEN current_setting('data_directory') END AS folder
"""


class PostgresReindex(Task):
    """
    Run `REINDEX INDEX CONCURRENTLY` on the indexes that have a reason: bloat, a changed collation, an invalid index.

    Index by index: rebuilding a whole database locks the shop out. Half-built indexes that an interrupted rebuild left
    are dropped first. Before each rebuild it looks for free disk, and for old transactions that would hold it up.
    """

    kind: Literal["postgres_reindex"] = "postgres_reindex"
    target: ClassVar[str] = "postgres"

    cron: Schedule = "0 4 * * 0"

    bloat: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """The share of an index that is estimated to be empty, from which it is rebuilt."""

    least: Size = 16 * 2**20
    """The least size of an index that is rebuilt for its bloat."""

    free_disk: str = ""
    """
    A PromQL expression for the free bytes of the database's disk, like `fly_volume_free_bytes{app="shop-db"}`.

    Without it, only a database on toban's own machine is measured, where its role has `pg_read_all_settings`; elsewhere
    indexes up to `unmeasured` are rebuilt.
    """

    unmeasured: Size = 256 * 2**20
    """The size up to which indexes are rebuilt where the free disk is not known."""

    old_transaction: Duration = timedelta(minutes=1)
    """How long a transaction has to use a table for its indexes to be left alone: a rebuild would wait for it."""

    timeout: Duration = timedelta(hours=3)

    def not_configured(self, settings: ShopSettings) -> str:
        """It needs the acting role."""
        return postgres_tables.not_configured(settings)

    async def missing(self, tools: TaskTools) -> str:
        """Return the grants that are missing. Raises ``ActionError``."""
        grants = [it.remedy for it in (await self.plan(tools)).findings if it.name == "rights"]
        (row,) = await tools.database.execute(SEES)
        if not row["sees"]:
            grants.append(f'GRANT pg_read_all_stats TO "{row["role"]}"')
        return "; ".join(grants)

    async def clean(self, tools: TaskTools) -> str:
        """Drop what interrupted rebuilds have left, also those of other programs. Raises ``ActionError``."""
        dropped = []
        for it in await tools.database.execute(LEFTOVERS):
            if it["allowed"]:
                name = quoted(it["schema"], it["name"])
                await tools.database.maintain(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
                dropped.append(f"{it['schema']}.{it['name']}")
        return f"dropped what an interrupted rebuild has left: {', '.join(dropped)}" if dropped else ""

    async def plan(self, tools: TaskTools) -> TaskPlan:
        """Choose the indexes. Raises ``ActionError``."""
        version, role = await postgres_tables.server(tools)
        allowed = postgres_tables.may_maintain(version, "t")
        indexes = await tools.database.execute(INDEXES.format(allowed=allowed))
        (database,) = await tools.database.execute(DATABASE_COLLATION) if version >= 150000 else ({"changed": False},)
        free = await self._free_disk(tools)
        findings = [_leftover(it) for it in await tools.database.execute(LEFTOVERS) if not it["allowed"]]
        steps, refused, unmeasured = list[Step](), list[Mapping[str, Any]](), list[str]()
        for it in indexes:
            name = f"{it['schema']}.{it['name']}"
            if not (reason := self._reason(it, bool(database["changed"]))):
                continue
            if it["excludes"]:
                text = f"{reason}; the index of an exclusion constraint can't be rebuilt concurrently"
                findings.append(
                    Finding(name, text, Severity.WARNING, f"REINDEX INDEX {name}, while the shop is closed")
                )
            elif not it["allowed"]:
                refused.append(it)
            elif free is None and it["bytes"] > self.unmeasured:
                unmeasured.append(name)
            else:
                steps.append(_step(it, name, reason))
        if unmeasured:
            text = f"the free disk of the database is not known: {', '.join(unmeasured[:10])} would need some"
            findings.append(Finding("free disk", text, Severity.WARNING, "set `free_disk` of this task"))
        if refused:
            findings.append(_not_allowed(refused, version, role))
        if database["changed"] or any(it["collations"] for it in indexes):
            findings.append(_collations(indexes, bool(database["changed"])))
        return TaskPlan(
            steps, findings, f"{len(steps) + len(refused) + len(unmeasured)} of {len(indexes)} indexes have a reason"
        )

    def _reason(self, index: Mapping[str, Any], database_changed: bool) -> str:
        if not index["valid"]:
            return "it is invalid: it is written and never read"
        if index["collations"]:
            return f"the version of its collation {index['collations']} has changed: it may return wrong rows"
        if database_changed and index["default_collation"]:
            return "the version of the database's collation has changed: it may return wrong rows"
        empty = empty_share(index)
        if empty is not None and empty > self.bloat and index["bytes"] >= self.least:
            return f"about {empty:.0%} of its {format_bytes(index['bytes'])} are empty"
        return ""

    async def act(self, step: Step, context: StepContext, tools: TaskTools) -> StepResult:
        """Rebuild one index, and see that it is another file. Raises ``ActionError``, ``StepSkippedError``."""
        facts = step.facts
        table, where = {"table": facts["table_oid"]}, {"schema": facts["schema"], "name": facts["name"]}
        await self._check(step, tools)

        async def progress(database: AdminDatabase) -> None:
            for row in await database.execute(PROGRESS, table):
                context.tell(f"{row['phase']}: {row['done']:,} of {row['total']:,} blocks")

        before = await tools.database.execute(STATE, where)
        if not before:
            raise StepSkippedError("the index was dropped meanwhile")
        statement = f"REINDEX INDEX CONCURRENTLY {quoted(facts['schema'], facts['name'])}"
        try:
            notices = await postgres_tables.maintain(tools, statement, progress)
        except (AdminError, StepSkippedError) as error:
            with suppress(AdminError):  # what is locked now is dropped at the beginning of the next run
                await self.clean(tools)
            if not (isinstance(error, AdminError) and error.code == DEADLOCK):
                raise
            notices = await postgres_tables.maintain(tools, statement, progress)
        (after,) = await tools.database.execute(STATE, where) or ({"file": before[0]["file"], "valid": False},)
        if after["file"] == before[0]["file"] or not after["valid"]:
            raise ActionError(f"it was not rebuilt: {'; '.join(notices) or 'PostgreSQL does not say why'}")
        return StepResult(f"rebuilt: {format_bytes(before[0]['bytes'])} before, {format_bytes(after['bytes'])} after")

    async def _check(self, step: Step, tools: TaskTools) -> None:
        """Raise ``StepSkippedError`` where an index must not be rebuilt just now."""
        for row in await tools.database.execute(BUSY, {"table": step.facts["table_oid"], "age": self.old_transaction}):
            who = row["application"] or f"process {row['pid']}"
            raise StepSkippedError(f"a transaction of {who} has used its table for {row['minutes']} minutes")
        free, needed = await self._free_disk(tools), DISK_FACTOR * step.facts["bytes"]
        if free is not None and free < needed:
            raise StepSkippedError(f"it needs {format_bytes(needed)} of free disk, there are {format_bytes(free)}")

    async def _free_disk(self, tools: TaskTools) -> float | None:
        """Return the free bytes of the database's disk; None where they are not known. Raises ``ActionError``."""
        if self.free_disk:
            try:
                found = await tools.queries.instant(self.free_disk, milliseconds(tools.clock.now()))
            except (QueryError, StoreError) as error:
                raise ActionError(f"{self.name}: free_disk can't be evaluated: {error}") from error
            values = [float(it.last) for it in found.series]
            return min(values) if values else None
        (row,) = await tools.database.execute(IS_HERE)
        if row["address"] not in {None, "127.0.0.1", "::1"} or not row["folder"]:
            return None
        try:
            return float((await asyncio.to_thread(shutil.disk_usage, row["folder"])).free)
        except OSError:
            return None  # a container's own folder: its disk is not this machine's


def empty_share(index: Mapping[str, Any]) -> float | None:
    """
    Estimate which share of a B-tree is empty, from its number of tuples and their mean width; None where unknown.

    Equal keys are stored once since PostgreSQL 13, so that the share is rather too low than too high.
    """
    if index["method"] != "btree" or index["width"] is None or index["tuples"] <= 0 or index["pages"] < 2:
        return None
    tuple_bytes = math.ceil((TUPLE + float(index["width"])) / 8) * 8
    full_pages: float = math.ceil(index["tuples"] * tuple_bytes / (PAGE * 0.9)) + 1
    return max(0.0, 1 - full_pages / float(index["pages"]))


def _step(index: Mapping[str, Any], name: str, reason: str) -> Step:
    facts = {key: index[key] for key in ("schema", "name", "table_oid", "bytes")}
    return Step(name, f"rebuild {name} of {index['table']} ({format_bytes(index['bytes'])}): {reason}", facts)


def _leftover(index: Mapping[str, Any]) -> Finding:
    name, who = f"{index['schema']}.{index['name']}", index["owner"]
    if index["schema"] == "pg_toast":
        who = "a superuser"
    text = f"half-built, left by an interrupted rebuild ({format_bytes(index['bytes'])}); only {who} may drop it"
    return Finding(name, text, Severity.INFO, f"DROP INDEX CONCURRENTLY {name}")


def _not_allowed(indexes: Sequence[Mapping[str, Any]], version: int, role: str) -> Finding:
    names = ", ".join(f"{it['schema']}.{it['name']}" for it in indexes[:10])
    remedy = postgres_tables.grant_to_maintain(version, role, {str(it["owner"]) for it in indexes})
    return Finding("rights", f"the role {role} may not rebuild {names}: the owner must", Severity.WARNING, remedy)


def _collations(indexes: Sequence[Mapping[str, Any]], database_changed: bool) -> Finding:
    changed = sorted({str(it["collations"]) for it in indexes if it["collations"]})
    remedy = [f"ALTER COLLATION {it} REFRESH VERSION" for it in changed]
    if database_changed:
        remedy.append("ALTER DATABASE … REFRESH COLLATION VERSION")
    text = "the operating system's collation has changed: after the rebuild of all of its indexes, tell PostgreSQL so"
    return Finding("collation", text, Severity.WARNING, "; ".join(remedy))
