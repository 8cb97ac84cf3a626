"""Remove the shop's sessions that are over."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import Field

from toban.core.config_types import Duration, format_duration
from toban.core.errors import ActionError
from toban.core.samples import MetricFamily, gauge
from toban.core.schedule import Schedule
from toban.maintenance import shop_rows
from toban.maintenance.postgres_tables import LOCKED
from toban.maintenance.task import (
    Finding,
    Mode,
    Severity,
    Step,
    StepContext,
    StepResult,
    StepSkippedError,
    Task,
    TaskPlan,
    TaskTools,
)
from toban.shop import scheduled_tasks
from toban.shop.admin_database import AdminError
from toban.shop.settings import ShopSettings

DUE: Final = gauge("toban_prune_sessions_due", "Sessions of the shop that are over and not removed.", labels=("task",))
SESSIONS: Final = gauge("toban_prune_sessions_rows", "Sessions of the shop, over or not.", labels=("task",))

VENDURE_TASK: Final = "clean-sessions"
"""Vendure's own task: it removes expired sessions, and those of nobody without an order that are idle for a week."""
TASK_TIMEOUT: Final = timedelta(minutes=2)
JOB_TIMEOUT: Final = timedelta(minutes=2)
"""How long the job that the task starts may take: it removes 1,000 sessions in seconds."""
CHECK_SECONDS: Final = 2.0

BATCH: Final = 1_000
"""Sessions of one statement."""
PAUSE_SECONDS: Final = 0.2
"""Between two statements: the shop's own writes go first."""
CACHED: Final = "the shop may trust a removed session that it has cached for up to 300 seconds"

# `expires` is written by the shop's processes in their time zone. `updatedAt` is PostgreSQL's own, in the time zone of
# the shop's sessions, which may differ from this one's: the earlier of both clocks spares rather than removes.
OVER: Final = """
(expires < (now() AT TIME ZONE %(zone)s) - %(age)s::interval
 OR ("userId" IS NULL AND "activeOrderId" IS NULL
     AND "updatedAt" < least(now() AT TIME ZONE %(zone)s, localtimestamp) - greatest(%(age)s, interval '7 days')))
"""
COUNT: Final = """
SELECT count(*) AS sessions, count(*) FILTER (WHERE {over}) AS due,
       count(*) FILTER (WHERE expires < (now() AT TIME ZONE %(zone)s) OR {over}) AS ended
FROM session
"""
"""``ended`` are what Vendure's task removes: also those that have just expired."""
REMOVE: Final = """
DELETE FROM session WHERE id IN (SELECT id FROM session WHERE {over} LIMIT %(batch)s FOR UPDATE SKIP LOCKED)
RETURNING 1
"""
RIGHTS: Final = """
SELECT to_regclass('session') IS NOT NULL AS exists, current_user AS role,
       coalesce(has_table_privilege(to_regclass('session'), 'DELETE'), false)
         AND coalesce(has_table_privilege(to_regclass('session'), 'UPDATE'), false) AS may
"""
NEEDED: Final = {"session": ("id", "expires", "updatedAt", "userId", "activeOrderId")}
NO_SESSIONS: Final = "the database has no table session of Vendure's"


class PruneSessions(Task):
    """
    Remove sessions that expired a week ago, and those of nobody that have no order and were idle for a week.

    By Vendure's own task `clean-sessions`, again and again until none is left: it also empties the cache, and removes
    what has expired since. Where the Admin API is not configured, by SQL in small batches.
    """

    kind: Literal["prune_sessions"] = "prune_sessions"
    target: ClassVar[str] = "sessions"
    metrics: ClassVar[Sequence[MetricFamily]] = (DUE, SESSIONS)

    cron: Schedule = "0 3 * * *"

    mode: Mode = Mode.DRY

    older_than: Duration = timedelta(days=7)
    """How long a session has to be expired for this task to begin; by SQL only those are removed."""

    most: Annotated[int, Field(ge=1)] = 100_000
    """Sessions that one run removes; the next run removes the others."""

    def not_configured(self, settings: ShopSettings) -> str:
        """It reads the database, and acts through the Admin API or by SQL."""
        if settings.admin_api and settings.admin_api_key:
            return shop_rows.not_configured(settings)
        if settings.database_admin:
            return ""
        return "neither shop.admin_api with shop.admin_api_key nor shop.database_admin is set: toban can't act"

    async def missing(self, tools: TaskTools) -> str:
        """Return the grants, and the permission of the key, that are missing. Raises ``ActionError``."""
        found = (await shop_rows.readable_tables(tools, NEEDED)).grants(NEEDED)
        if not tools.admin_api.missing:
            await scheduled_tasks.task_state(tools.admin_api, VENDURE_TASK)
            # The same permission as for running a task, and nothing happens: there is none of this name.
            if await tools.admin_api.is_forbidden(scheduled_tasks.RUN, {"id": "toban-permission-check"}):
                found.insert(0, f"the API key needs the permission {scheduled_tasks.PERMISSION}")
        else:
            (row,) = await tools.database.execute(RIGHTS)
            if row["exists"] and not row["may"]:
                found.append(f'GRANT SELECT, UPDATE, DELETE ON session TO "{row["role"]}"')
        return "; ".join(found)

    async def plan(self, tools: TaskTools) -> TaskPlan:
        """Count what is over. Raises ``ActionError``."""
        count = await self._count(tools)
        figures = {DUE.name: float(count["due"]), SESSIONS.name: float(count["sessions"])}
        text = f"{count['due']:,} of {count['sessions']:,} sessions are over"
        if not count["due"]:
            return TaskPlan(text=text, figures=figures)
        age = format_duration(self.older_than)
        if not tools.admin_api.missing:
            how = f"by Vendure's task {VENDURE_TASK}, which also removes what expired since: {count['ended']:,} in all"
            findings = []
        else:
            how = f"by SQL, {BATCH:,} at a time"
            remedy = "set shop.admin_api and shop.admin_api_key: Vendure's own task empties the cache too"
            findings = [Finding("cache", CACHED, Severity.INFO, remedy)]
        description = f"remove {count['due']:,} sessions that are over for more than {age}, {how}"
        return TaskPlan([Step("sessions", description, {"due": count["due"]})], findings, text, figures)

    async def act(self, step: Step, context: StepContext, tools: TaskTools) -> StepResult:
        """Remove them until none is left, and count what is there. Raises ``ActionError``."""
        before = await self._count(tools)
        by_api = not tools.admin_api.missing
        removed = 0
        while (left := await self._count(tools))["due"] and removed < self.most:
            context.tell(f"{removed:,} removed, {left['due']:,} left")
            try:
                gone = await (self._by_task(tools, left) if by_api else self._by_sql(tools))
            except AdminError as error:
                if error.code == LOCKED:
                    text = f"another session holds a lock that it needs; {removed:,} removed"
                    raise StepSkippedError(text) from error
                raise
            if not gone:
                raise ActionError(
                    f"{removed:,} removed, {left['due']:,} left: they are locked, or nobody may remove them"
                )
            removed += gone
            if not by_api:
                await tools.clock.sleep(PAUSE_SECONDS)
        after = await self._count(tools)
        if after["due"] and removed < self.most:
            raise ActionError(f"{after['due']:,} sessions that are over are still there")
        text = f"removed {removed:,} sessions: {before['sessions']:,} before, {after['sessions']:,} after"
        rest = f"; the next run removes {after['due']:,} others" if after["due"] else ""
        return StepResult(text + rest, figures={DUE.name: float(after["due"]), SESSIONS.name: float(after["sessions"])})

    async def _count(self, tools: TaskTools) -> Mapping[str, Any]:
        try:
            (row,) = await shop_rows.read(tools, COUNT.format(over=OVER), self._parameters(tools))
        except ActionError as error:
            if "42P01" in str(error):
                raise ActionError(NO_SESSIONS) from error
            raise
        return row

    async def _by_task(self, tools: TaskTools, before: Mapping[str, Any]) -> int:
        """Run Vendure's task once; return how many sessions its job has removed. Raises ``ActionError``."""
        api, clock = tools.admin_api, tools.clock
        last = await scheduled_tasks.last_run(api, VENDURE_TASK)
        await scheduled_tasks.run_task(api, clock, VENDURE_TASK, last, TASK_TIMEOUT)
        # The task only adds a job: the sessions go when a worker does it.
        started = clock.monotonic()
        while clock.monotonic() - started < JOB_TIMEOUT.total_seconds():
            now = await self._count(tools)
            if now["ended"] < before["ended"]:
                return int(before["ended"] - now["ended"])
            await clock.sleep(CHECK_SECONDS)
        raise ActionError(
            f"the task {VENDURE_TASK} ran and no session went: does a worker do the jobs of its queue {VENDURE_TASK}?"
        )

    async def _by_sql(self, tools: TaskTools) -> int:
        """Remove one batch in a transaction of its own."""
        parameters = {**self._parameters(tools), "batch": min(BATCH, self.most)}
        return len(await tools.database.execute(REMOVE.format(over=OVER), parameters))

    def _parameters(self, tools: TaskTools) -> dict[str, Any]:
        return {"zone": tools.shop.settings.timezone, "age": self.older_than}
