"""Summarises failed jobs, before they are deleted."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from toban.core.redaction import redact_text
from toban.maintenance.task import Finding, Severity

MAX_TEXT: Final = 200
"""Characters of an error that are kept."""
MAX_GROUPS: Final = 30

# One character class each, read once from left to right.
_NUMBER: Final = re.compile(r"[0-9]+")


@dataclass(frozen=True, slots=True)
class FailureGroup:
    """Failed jobs of one queue with the same error, and the newest of them."""

    queue: str
    error: str
    count: int
    newest: str
    at: datetime


def failure_groups(rows: Iterable[Mapping[str, Any]]) -> list[FailureGroup]:
    """
    Return the groups of failed jobs, largest first; errors that differ in numbers or secrets only are one.

    Each row is ``queue, error, count, newest, at``: errors as they are stored, redacted here.
    """
    found: dict[tuple[str, str], FailureGroup] = {}
    for row in rows:
        error = " ".join(redact_text(str(row["error"] or "no error text"))[:MAX_TEXT].split())
        key = str(row["queue"]), _NUMBER.sub("#", error)
        new = FailureGroup(str(row["queue"])[:MAX_TEXT], error, int(row["count"]), str(row["newest"]), row["at"])
        old = found.get(key)
        if old is None:
            found[key] = new
        else:
            newer = max(old, new, key=lambda it: it.at)
            found[key] = replace(newer, count=old.count + new.count)
    return sorted(found.values(), key=lambda it: (-it.count, it.queue, it.error))


def failure_findings(groups: list[FailureGroup]) -> list[Finding]:
    """Return findings that keep what is known of failed jobs when they are gone."""
    findings = [
        Finding(
            f"failed jobs of {it.queue}",
            f"{it.count:,} failed: {it.error}; the newest is job {it.newest}, settled at {it.at:%Y-%m-%d %H:%M} UTC",
            Severity.INFO,
        )
        for it in groups[:MAX_GROUPS]
    ]
    if rest := groups[MAX_GROUPS:]:
        findings.append(
            Finding("failed jobs", f"{sum(it.count for it in rest):,} others failed with {len(rest)} other errors")
        )
    return findings
