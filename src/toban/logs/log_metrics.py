"""The metrics that every log line counts for: lines by level, security events, durations that a program logs."""

import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import Final

from toban.core.log_line import LogLevel, LogLine
from toban.core.ports import Recorder
from toban.core.samples import counter, histogram
from toban.instruments.cardinality import CardinalityLimits
from toban.instruments.metric_families import FINE_BUCKETS

LINES: Final = counter(
    "vendure_log_lines_total",
    "Log lines of the shop's processes, by level and context.",
    labels=("level", "context", "service"),
)
SECURITY_EVENTS: Final = counter(
    "vendure_security_events_total", "Security events that programs logged.", labels=("event", "severity")
)
DURATIONS: Final = histogram(
    "vendure_logged_duration_seconds",
    "Durations of operations that programs logged.",
    FINE_BUCKETS,
    "seconds",
    labels=("operation",),
)

FAILED_JOBS: Final = counter(
    "vendure_logged_job_failures_total",
    "Failed attempts at jobs that Vendure logged, by queue.",
    labels=("queue",),
)

FAILED_JOB: Final = re.compile(r"Job [^\s\[]{1,100} \[([^\]]{1,100})\] failed (?:\(attempt |and will not retry)")
"""What Vendure writes, as a warning, of each attempt that fails (`core/src/job-queue/job.ts`, the BullMQ plugin)."""

SEVERITIES: Final = frozenset({"low", "medium", "high"})


def count_lines(lines: Sequence[LogLine], recorder: Recorder, limits: CardinalityLimits) -> None:
    """Count lines, and the events that they report."""
    fit = limits.limited
    by_stream = Counter((line.level.value, line.context, line.service) for line in lines)
    for (level, context, service), count in by_stream.items():
        recorder.add(LINES, count, level=level, context=fit("context", context), service=fit("service", service))
    for line in lines:
        if line.level is LogLevel.WARN and (failed := FAILED_JOB.match(line.message)):
            recorder.add(FAILED_JOBS, 1, queue=fit("queue", failed[1]))
        if line.category == "security":
            severity = str(line.facts.get("severity"))
            known = severity if severity in SEVERITIES else "medium"
            event = fit("event", str(line.facts.get("event") or "unknown"))
            recorder.add(SECURITY_EVENTS, 1, event=event, severity=known)
        elif line.category == "performance":
            duration = line.facts.get("duration")
            if isinstance(duration, int | float) and math.isfinite(duration) and duration >= 0:
                operation = fit("operation", str(line.facts.get("operation") or "unknown"))
                recorder.observe(DURATIONS, duration / 1000, operation=operation)
