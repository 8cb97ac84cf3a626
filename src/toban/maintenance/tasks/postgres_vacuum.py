"""Vacuum and analyze the tables of the shop that need it."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import Field

from toban.core.config_types import Duration
from toban.core.errors import ActionError
from toban.core.number_format import format_bytes
from toban.core.samples import MetricFamily, gauge
from toban.core.schedule import Schedule
from toban.maintenance import postgres_tables
from toban.maintenance.task import Finding, Severity, Step, StepContext, StepResult, Task, TaskPlan, TaskTools
from toban.shop.admin_database import AdminDatabase, quoted
from toban.shop.settings import ShopSettings

DEAD: Final = gauge(
    "toban_vacuum_dead_rows", "Dead rows of all tables after the last run of a vacuum.", labels=("task",)
)

TABLES: Final = """
SELECT n.nspname AS schema, c.relname AS name, pg_get_userbyid(c.relowner) AS owner, {allowed} AS allowed,
       s.n_live_tup AS live, s.n_dead_tup AS dead, s.n_mod_since_analyze AS modified,
       greatest(s.last_analyze, s.last_autoanalyze) AS analyzed, s.last_vacuum AS vacuumed,
       age(c.relfrozenxid)::bigint AS age, current_setting('autovacuum_freeze_max_age')::bigint AS max_age,
       pg_total_relation_size(c.oid) AS bytes
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_stat_user_tables s ON s.relid = c.oid
WHERE c.relkind = 'r' AND c.relpersistence <> 't'
ORDER BY s.n_dead_tup DESC, n.nspname, c.relname
"""
PROGRESS: Final = """
SELECT phase, heap_blks_scanned AS done, heap_blks_total AS total FROM pg_stat_progress_vacuum
WHERE relid = %(relid)s::regclass
"""
STATE: Final = """
SELECT n_dead_tup AS dead, n_live_tup AS live, last_vacuum AS vacuumed FROM pg_stat_user_tables
WHERE schemaname = %(schema)s AND relname = %(name)s
"""


class PostgresVacuum(Task):
    """
    Run `VACUUM (ANALYZE)` on the tables with many dead rows, with old statistics, or with old transaction ids.

    Table by table, those with the most dead rows first, and without truncation, which would lock the shop out for
    moments. It names the tables that its role may not vacuum, and the grant that is missing.
    """

    kind: Literal["postgres_vacuum"] = "postgres_vacuum"
    target: ClassVar[str] = "postgres"
    metrics: ClassVar[Sequence[MetricFamily]] = (DEAD,)

    cron: Schedule = "30 3 * * *"

    dead_share: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """The share of dead rows from which a table is vacuumed."""

    dead_rows: Annotated[int, Field(ge=1)] = 1_000
    """The least number of dead rows for that."""

    timeout: Duration = timedelta(hours=2)

    def not_configured(self, settings: ShopSettings) -> str:
        """It needs the acting role."""
        return postgres_tables.not_configured(settings)

    async def missing(self, tools: TaskTools) -> str:
        """Return the grant that is missing. Raises ``ActionError``."""
        return "; ".join(it.remedy for it in (await self.plan(tools)).findings if it.name == "rights")

    async def plan(self, tools: TaskTools) -> TaskPlan:
        """Choose the tables. Raises ``ActionError``."""
        version, role = await postgres_tables.server(tools)
        allowed = postgres_tables.may_maintain(version, "c")
        tables = await tools.database.execute(TABLES.format(allowed=allowed))
        chosen = [(it, reason) for it in tables if (reason := self._reason(it))]
        steps = [
            Step(
                f"{it['schema']}.{it['name']}",
                f"vacuum {it['schema']}.{it['name']} ({format_bytes(it['bytes'])}): {reason}",
                {"schema": it["schema"], "name": it["name"], "dead": it["dead"]},
            )
            for it, reason in chosen
            if it["allowed"]
        ]
        refused = [it for it, _ in chosen if not it["allowed"]]
        findings = [_not_allowed(refused, version, role)] if refused else []
        text = f"{len(chosen)} of {len(tables)} tables need it"
        return TaskPlan(steps, findings, text, {DEAD.name: sum(it["dead"] for it in tables)})

    def _reason(self, table: Mapping[str, Any]) -> str:
        live, dead = table["live"], table["dead"]
        if dead >= self.dead_rows and dead >= self.dead_share * (live + dead):
            return f"{dead / (live + dead):.0%} of its rows are dead ({dead:,} of {live + dead:,})"
        if table["age"] > table["max_age"] / 2:
            return f"its oldest transaction id has an age of {table['age']:,}, of {table['max_age']:,} at most"
        if table["analyzed"] is None and live >= self.dead_rows:
            return f"it was never analyzed ({live:,} rows)"
        if table["modified"] >= self.dead_rows and table["modified"] > 0.2 * live:
            return f"{table['modified']:,} of its {live:,} rows changed since it was analyzed"
        return ""

    async def act(self, step: Step, context: StepContext, tools: TaskTools) -> StepResult:
        """Vacuum one table, and see that PostgreSQL has noted it. Raises ``ActionError``."""
        schema, name = step.facts["schema"], step.facts["name"]
        table = quoted(schema, name)

        async def progress(database: AdminDatabase) -> None:
            for row in await database.execute(PROGRESS, {"relid": table}):
                context.tell(f"{row['phase']}: {row['done']:,} of {row['total']:,} pages")

        began = await _clock(tools)
        notices = await postgres_tables.maintain(tools, f"VACUUM (ANALYZE, TRUNCATE FALSE) {table}", progress)
        found = await tools.database.execute(STATE, {"schema": schema, "name": name})
        if not found:
            raise ActionError("the table was dropped meanwhile")
        vacuumed: datetime | None = found[0]["vacuumed"]
        if vacuumed is None or vacuumed < began:
            raise ActionError(f"it was not vacuumed: {'; '.join(notices) or 'PostgreSQL does not say why'}")
        left = found[0]["dead"]
        kept = "" if left < self.dead_rows else ": an old transaction, a replication slot or a standby still needs them"
        return StepResult(f"vacuumed: {step.facts['dead']:,} dead rows before, {left:,} after{kept}")


async def _clock(tools: TaskTools) -> datetime:
    """Return the time of the server."""
    (row,) = await tools.database.execute("SELECT clock_timestamp() AS now")
    found: datetime = row["now"]
    return found


def _not_allowed(tables: Sequence[Mapping[str, Any]], version: int, role: str) -> Finding:
    names = ", ".join(f"{it['schema']}.{it['name']}" for it in tables[:10])
    more = f" and {len(tables) - 10} others" if len(tables) > 10 else ""
    remedy = postgres_tables.grant_to_maintain(version, role, {str(it["owner"]) for it in tables})
    return Finding(
        "rights", f"the role {role} may not vacuum {names}{more}: their owner must", Severity.WARNING, remedy
    )
