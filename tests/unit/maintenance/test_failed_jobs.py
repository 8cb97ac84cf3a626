"""Failed jobs are summarised before they are deleted: redacted, counted, with the newest."""

import random
import time
from datetime import UTC, datetime, timedelta

from toban.maintenance.failed_jobs import MAX_GROUPS, failure_findings, failure_groups

AT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def row(queue: str, error: str | None, count: int, newest: int, minutes: int = 0) -> dict[str, object]:
    return {"queue": queue, "error": error, "count": count, "newest": newest, "at": AT + timedelta(minutes=minutes)}


def test_errors_that_differ_in_numbers_and_secrets_only_are_one_group():
    groups = failure_groups(
        [
            row("send-email", "timeout after 30 s for ann@example.com", 3, 10, minutes=1),
            row("send-email", "timeout after 31 s for bob@example.com", 4, 12, minutes=9),
            row("send-email", "no route", 1, 11),
            row("reindex", "timeout after 30 s for ann@example.com", 1, 13),
        ]
    )
    assert [(it.queue, it.count, it.newest) for it in groups] == [
        ("send-email", 7, "12"),
        ("reindex", 1, "13"),
        ("send-email", 1, "11"),
    ]
    assert groups[0].error == "timeout after 31 s for [REDACTED]"


def test_no_secret_and_no_address_reaches_a_finding():
    texts = ["Authorization: Bearer abcdefghijklmnop", "password=hunter2 refused", "mail to ann.smith@example.com"]
    findings = failure_findings(failure_groups([row("q", text, 1, 1) for text in texts]))
    said = " ".join(it.text for it in findings)
    assert "[REDACTED]" in said
    assert not any(secret in said for secret in ("abcdefghijklmnop", "hunter2", "ann.smith"))


def test_a_job_without_an_error_counts_too():
    assert failure_groups([row("q", None, 2, 1)])[0].error == "no error text"


def test_many_errors_are_counted_together():
    words = [f"error {''.join(random.Random(n).choices('abcdef', k=12))}" for n in range(MAX_GROUPS + 5)]
    findings = failure_findings(failure_groups([row("q", word, 1, n) for n, word in enumerate(words)]))
    assert len(findings) == MAX_GROUPS + 1
    assert findings[-1].text == "5 others failed with 5 other errors"


def test_a_thousand_long_errors_are_grouped_at_once():
    rows = [row("q", f"{n} " + "a1" * 1_000, 1, n) for n in range(1_000)]
    started = time.process_time()
    assert len(failure_groups(rows)) == 1
    assert time.process_time() - started < 1
