"""Remove the shop's settled jobs that are old, where that is safe."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, ClassVar, Final, Literal

from toban.core.config_types import Duration, format_duration
from toban.core.errors import ActionError
from toban.core.samples import MetricFamily, gauge, moment
from toban.core.schedule import Schedule
from toban.maintenance import shop_rows
from toban.maintenance.failed_jobs import failure_findings, failure_groups
from toban.maintenance.job_store import JobStore, JobStoreEvidence, job_store
from toban.maintenance.task import Finding, Mode, Severity, Step, StepContext, StepResult, Task, TaskPlan, TaskTools
from toban.shop.admin_api import NO_KEY
from toban.shop.settings import ShopSettings

DUE: Final = gauge("toban_prune_jobs_due", "Settled jobs of the shop that are old and not removed.", labels=("task",))
SETTLED: Final = gauge("toban_prune_jobs_settled", "Settled jobs of the shop.", labels=("task",))

BATCH: Final = 1_000
"""Jobs of one call: Vendure reads all of them with their data before it deletes them."""
SAMPLE: Final = 5
PAUSE_SECONDS: Final = 0.5
KEYS: Final = "bull:vendure-job-queue:"
"""What the keys of Vendure's only queue in BullMQ begin with."""

TASKS: Final = "query { scheduledTasks { id } }"
NEWEST: Final = """
query ($take: Int!) {
  jobs(options: { take: $take, sort: { createdAt: DESC } }) { items { id queueName createdAt } } }
"""
REMOVE: Final = """
mutation ($queues: [String!], $before: DateTime) { removeSettledJobs(queueNames: $queues, olderThan: $before) }
"""
CANCEL: Final = "mutation ($id: ID!) { cancelJob(jobId: $id) { id } }"
READ, DELETE = "ReadSettings", "DeleteSettings"

NEEDED: Final = {"job_record": ("id", "createdAt", "queueName", "state", "settledAt", "isSettled", "error")}
SAMPLED: Final = """
SELECT id::text AS id, "queueName" AS queue, "createdAt" AS at FROM job_record WHERE id::text = ANY (%(ids)s)
"""
OLD: Final = """ "isSettled" AND "settledAt" < %(before)s::timestamptz AT TIME ZONE %(zone)s """
COUNT: Final = """
SELECT "queueName" AS queue, count(*) AS settled, count(*) FILTER (WHERE {old}) AS due,
       count(*) FILTER (WHERE {old} AND state = 'FAILED') AS failed
FROM job_record WHERE "isSettled" GROUP BY 1 ORDER BY 3 DESC, 1
"""
FAILED: Final = """
SELECT "queueName" AS queue, left(error, 500) AS error, count(*) AS count,
       (array_agg(id::text ORDER BY "settledAt" DESC))[1] AS newest, max("settledAt") AT TIME ZONE %(zone)s AS at
FROM job_record WHERE {old} AND state = 'FAILED' GROUP BY 1, 2 ORDER BY 3 DESC LIMIT 500
"""
# The time up to which a call removes no more than a batch.
BOUND: Final = """
SELECT max("settledAt") AT TIME ZONE %(zone)s AS at, count(*) AS jobs FROM (
  SELECT "settledAt" FROM job_record WHERE {old} AND "queueName" = %(queue)s ORDER BY "settledAt" LIMIT %(batch)s) it
"""
LEFT: Final = """SELECT count(*) AS jobs FROM job_record WHERE {old} AND "queueName" = %(queue)s"""


class PruneJobs(Task):
    """
    Remove settled jobs that are older than a month, where the shop keeps its jobs in its database.

    Failed ones are summarised first: what is deleted can't be read any more. Where jobs are in Redis (BullMQ) nothing
    is removed: Vendure's `removeSettledJobs` deletes every settled job there, whatever it was asked for.
    """

    kind: Literal["prune_jobs"] = "prune_jobs"
    target: ClassVar[str] = "jobs"
    metrics: ClassVar[Sequence[MetricFamily]] = (DUE, SETTLED)

    cron: Schedule = "10 3 * * *"

    mode: Mode = Mode.DRY

    older_than: Duration = timedelta(days=30)
    """How long ago a job has to be settled to be removed."""

    def not_configured(self, settings: ShopSettings) -> str:
        """It acts through the Admin API, and reads the database."""
        if not (settings.admin_api and settings.admin_api_key):
            return NO_KEY
        return shop_rows.not_configured(settings)

    async def missing(self, tools: TaskTools) -> str:
        """Return the grants, and the permission of the key, that are missing. Raises ``ActionError``."""
        await tools.admin_api.execute(NEWEST, READ, {"take": 1})
        grants = (await shop_rows.readable_tables(tools, NEEDED)).grants(NEEDED)
        # The same permission as for removing jobs, and nothing happens: there is no job 0.
        if await tools.admin_api.is_forbidden(CANCEL, {"id": "0"}):
            grants.insert(0, f"the API key needs the permission {DELETE}")
        return "; ".join(grants)

    async def plan(self, tools: TaskTools) -> TaskPlan:
        """Find out where the jobs are, and count the old ones. Raises ``ActionError``."""
        seen = await self._evidence(tools)
        store, why = job_store(seen)
        if store is JobStore.BULLMQ:
            return await _bullmq_report(tools, why, self._before(tools))
        if store is JobStore.UNKNOWN and not seen.sampled:
            return TaskPlan(text="the shop has no jobs")
        if store is JobStore.UNKNOWN:
            remedy = "nothing is removed until that is certain; toban check says what it can read"
            finding = Finding("job store", f"it is not certain where the jobs are: {why}", Severity.WARNING, remedy)
            return TaskPlan((), [finding], "nothing is removed: it is not certain where the jobs are")
        given = self._parameters(tools)
        counts = await shop_rows.read(tools, COUNT.format(old=OLD), given)
        due, settled = sum(it["due"] for it in counts), sum(it["settled"] for it in counts)
        age = format_duration(self.older_than)
        steps = [
            Step(
                it["queue"],
                f"remove {it['due']:,} settled jobs of {it['queue']} that are older than {age}"
                + (f", {it['failed']:,} of them failed" if it["failed"] else ""),
                {"queue": it["queue"], "before": given["before"].isoformat()},
            )
            for it in counts
            if it["due"]
        ]
        rows = await shop_rows.read(tools, FAILED.format(old=OLD), given) if due else ()
        groups = await asyncio.to_thread(failure_groups, rows)
        figures = {DUE.name: float(due), SETTLED.name: float(settled)}
        return TaskPlan(
            steps,
            failure_findings(groups, sum(it["failed"] for it in counts)),
            f"{due:,} of {settled:,} settled jobs are older than {age}",
            figures,
        )

    async def act(self, step: Step, context: StepContext, tools: TaskTools) -> StepResult:
        """Remove the old jobs of one queue, a batch at a time, and see that they are gone. Raises ``ActionError``."""
        store, why = job_store(await self._evidence(tools))
        if store is not JobStore.SQL:
            raise ActionError(f"nothing is removed: it is not certain any more that the database has the jobs: {why}")
        queue = step.facts["queue"]
        given = {**self._parameters(tools), "before": datetime.fromisoformat(step.facts["before"]), "queue": queue}
        removed = 0
        while True:
            (bound,) = await shop_rows.read(tools, BOUND.format(old=OLD), {**given, "batch": BATCH})
            if not bound["jobs"]:
                return StepResult(f"removed {removed:,} settled jobs")
            # `removeSettledJobs` takes what was settled before a time; the shop writes milliseconds.
            before = min(bound["at"] + timedelta(milliseconds=1), given["before"])
            variables = {"queues": [queue], "before": before.isoformat()}
            answer = await tools.admin_api.execute(REMOVE, DELETE, variables)
            (left,) = await shop_rows.read(tools, LEFT.format(old=OLD), {**given, "before": before})
            if left["jobs"]:
                raise ActionError(
                    f"Vendure says that it removed {answer.get('removeSettledJobs')}, and {left['jobs']:,} are left"
                )
            removed += int(answer.get("removeSettledJobs") or 0)
            context.tell(f"{removed:,} jobs removed")
            await tools.clock.sleep(PAUSE_SECONDS)

    def _before(self, tools: TaskTools) -> datetime:
        return tools.clock.now() - self.older_than

    def _parameters(self, tools: TaskTools) -> dict[str, Any]:
        return {"zone": tools.shop.settings.timezone, "before": self._before(tools)}

    async def _evidence(self, tools: TaskTools) -> JobStoreEvidence:
        """Look where the shop keeps its jobs. Raises ``ActionError``."""
        tasks = (await tools.admin_api.execute(TASKS, READ)).get("scheduledTasks") or []
        jobs = ((await tools.admin_api.execute(NEWEST, READ, {"take": SAMPLE})).get("jobs") or {}).get("items") or []
        tables = await shop_rows.readable_tables(tools, NEEDED)
        has_table = not tables.absent({"job_record": ("id", "queueName")})
        rows: Sequence[Mapping[str, Any]] = ()
        if has_table and jobs:
            rows = await shop_rows.read(tools, SAMPLED, {"ids": [str(it.get("id")) for it in jobs]})
        found = sum(any(_is_same(job, row) for row in rows) for job in jobs)
        redis = tools.shop.redis
        has_keys = bool(await redis.execute("EXISTS", f"{KEYS}meta")) if redis else None
        return JobStoreEvidence({str(it.get("id")) for it in tasks}, has_table, has_keys, len(jobs), found)


def _is_same(job: Mapping[str, Any], row: Mapping[str, Any]) -> bool:
    """Return whether a job of the Admin API is a row: by id, queue and time, of which zones change no seconds."""
    at: datetime = row["at"]
    created = datetime.fromisoformat(str(job.get("createdAt")))
    apart = abs((created.second - at.second) * 1000 + (created.microsecond - at.microsecond) / 1000)
    return str(job.get("id")) == row["id"] and job.get("queueName") == row["queue"] and apart < 2


async def _bullmq_report(tools: TaskTools, why: str, before: datetime) -> TaskPlan:
    """Return what is settled in Redis, with the remedy: only the shop's own configuration prunes there safely."""
    remedy = (
        "BullMQJobQueuePlugin.init({ workerOptions: { removeOnComplete: { age: 86400, count: 5000 }, "
        "removeOnFail: { age: 2592000, count: 5000 } } })"
    )
    redis = tools.shop.redis
    if redis is None:
        text = f"the jobs are in Redis ({why}); set shop.redis to see how many"
        return TaskPlan((), [Finding("bullmq", text, Severity.INFO, remedy)], "nothing is removed from BullMQ")
    counts, olds = dict[str, int](), dict[str, int]()
    for state in ("completed", "failed"):
        key, score = f"{KEYS}{state}", str(round(before.timestamp() * 1000))
        counts[state] = int(await redis.execute("ZCARD", key))
        olds[state] = int(await redis.execute("ZCOUNT", key, "-inf", score))
    oldest = await redis.execute("ZRANGE", f"{KEYS}failed", "0", "0", "WITHSCORES")
    since = f"; the oldest failed one is of {moment(int(float(oldest[1]))):%Y-%m-%d %H:%M} UTC" if oldest else ""
    settled, due = sum(counts.values()), sum(olds.values())
    text = (
        f"{counts['completed']:,} completed and {counts['failed']:,} failed jobs are in Redis, "
        f"{due:,} of them older than {before:%Y-%m-%d}{since}"
    )
    finding = Finding("bullmq", text, Severity.WARNING if due else Severity.INFO, remedy if due else "")
    figures = {DUE.name: float(due), SETTLED.name: float(settled)}
    return TaskPlan((), [finding], "nothing is removed from BullMQ: Vendure would delete every settled job", figures)
