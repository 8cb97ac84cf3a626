"""Where a shop keeps its jobs: certain only where all that was seen says so."""

from dataclasses import replace

import pytest

from toban.maintenance.job_store import JobStore, JobStoreEvidence, job_store

SQL = JobStoreEvidence({"clean-jobs", "clean-sessions"}, has_table=True, has_keys=False, sampled=5, found=5)
BULLMQ = JobStoreEvidence({"clean-job-queue-index"}, has_table=True, has_keys=True, sampled=5, found=0)


@pytest.mark.parametrize("seen", [SQL, replace(SQL, has_keys=None), replace(SQL, sampled=1, found=1)])
def test_jobs_are_in_the_database_where_the_newest_are_its_rows(seen: JobStoreEvidence):
    assert job_store(seen)[0] is JobStore.SQL


@pytest.mark.parametrize(
    "seen",
    [
        BULLMQ,
        replace(BULLMQ, has_keys=None),
        # What both plugins have registered, or what an earlier store has left, does not make it the database.
        replace(SQL, tasks={"clean-jobs", "clean-job-queue-index"}),
        JobStoreEvidence(set(), has_table=False, has_keys=True, sampled=3, found=0),
    ],
)
def test_jobs_are_in_redis_where_its_plugin_or_only_its_keys_are_there(seen: JobStoreEvidence):
    assert job_store(seen)[0] is JobStore.BULLMQ


@pytest.mark.parametrize(
    ("seen", "why"),
    [
        (replace(SQL, has_keys=True), "both the database and Redis have jobs"),
        (replace(SQL, found=4), "1 of the 5 newest jobs are not in the table"),
        (replace(SQL, sampled=0, found=0), "no job that could be compared"),
        (replace(SQL, tasks={"clean-sessions"}), "has not registered the task clean-jobs"),
        (replace(SQL, has_table=False), "no table job_record, and no queue of BullMQ"),
    ],
)
def test_anything_else_is_not_certain(seen: JobStoreEvidence, why: str):
    store, reason = job_store(seen)
    assert store is JobStore.UNKNOWN
    assert why in reason
