"""Apply the retention of toban's own stores, and say what they keep."""

from collections.abc import Sequence
from datetime import timedelta
from typing import ClassVar, Final, Literal

from toban.core.config_types import Duration, format_duration
from toban.core.errors import ActionError, StoreError
from toban.core.number_format import format_bytes
from toban.core.ports import RetainedStore, RetentionReport
from toban.core.samples import MetricFamily, gauge, moment
from toban.core.schedule import Schedule
from toban.maintenance.task import Finding, Severity, Step, StepContext, StepResult, Task, TaskPlan, TaskTools

SAMPLES: Final = gauge(
    "toban_metrics_retention_samples_ratio",
    "Size that samples will have after their retention, as they have grown so far, to `metrics.size`.",
    "ratio",
    labels=("task",),
)
LINES: Final = gauge(
    "toban_metrics_retention_lines_ratio",
    "Size that log lines will have after their retention, as they have grown so far, to `logs.retention_size`.",
    "ratio",
    labels=("task",),
)
RATIOS: Final = {"tsdb": SAMPLES, "logs": LINES}
SETTINGS: Final = {
    "tsdb": ("metrics.retention", "metrics.size"),
    "logs": ("logs.retention", "logs.retention_size"),
}
LEAST_SPAN: Final = timedelta(days=1)
"""What a store must hold for its growth to be known."""


class MetricsRetention(Task):
    """
    Remove samples and log lines that are older than their retention, and say what toban keeps, since when, and how long
    that fits.

    The stores do this by themselves all the time; this reports what they did, and warns when the size will cut the
    retention short.
    """

    kind: Literal["metrics_retention"] = "metrics_retention"
    target: ClassVar[str] = "toban"
    metrics: ClassVar[Sequence[MetricFamily]] = (SAMPLES, LINES)

    cron: Schedule = "50 3 * * *"

    timeout: Duration = timedelta(minutes=30)

    async def plan(self, tools: TaskTools) -> TaskPlan:
        """Say what each store keeps. Raises ``ActionError``."""
        steps, findings, figures, kept = list[Step](), list[Finding](), dict[str, float](), list[str]()
        for store in tools.stores:
            report = await _report(store)
            kept.append(f"{store.name}: {describe(report)}")
            retention, size = SETTINGS.get(store.name, ("its retention", "its size"))
            steps.append(
                Step(store.name, f"remove what is older than {format_duration(report.retention)} ({retention})")
            )
            findings += [Finding(store.name, it, Severity.INFO) for it in report.notes]
            ratio = size_ratio(report)
            if ratio is not None and (family := RATIOS.get(store.name)):
                figures[family.name] = ratio
            left = time_left(report)
            if left is None:
                continue
            findings.append(
                Finding(
                    store.name,
                    f"as it grows, {format_bytes(report.limit)} are full in {_days(left)}: then it keeps less than "
                    f"{format_duration(report.retention)}",
                    Severity.WARNING,
                    f"raise {size}, lower {retention}, or store fewer",
                )
            )
        return TaskPlan(steps, findings, "; ".join(kept), figures)

    async def act(self, step: Step, context: StepContext, tools: TaskTools) -> StepResult:
        """Apply the retention of one store, and say what went. Raises ``ActionError``."""
        store = next(it for it in tools.stores if it.name == step.name)
        before = await _report(store)
        try:
            await store.apply_retention()
        except StoreError as error:
            raise ActionError(str(error)) from error
        after = await _report(store)
        gone = before.size - after.size
        moved = before.oldest is not None and (after.oldest is None or after.oldest > before.oldest)
        # Files that are written anew take space while old ones go.
        size = f" ({format_bytes(gone)})" if gone > 0 else ""
        text = f"removed the oldest{size}" if moved else "nothing was too old or too much"
        return StepResult(f"{text}; {describe(after)}")


def describe(report: RetentionReport) -> str:
    """Return what a store keeps, in a phrase."""
    size = f"{report.content}, {format_bytes(report.size)} of {format_bytes(report.limit)}"
    since = "nothing so far" if report.oldest is None else f"since {moment(report.oldest):%Y-%m-%d %H:%M} UTC"
    return f"{size}, {since}"


def size_ratio(report: RetentionReport) -> float | None:
    """
    Return the size after a whole retention, as a store has grown so far, to its limit; None where that is not known.

    What is kept for a whole retention does not grow any more.
    """
    span = _span(report)
    if span < LEAST_SPAN or report.size <= 0:
        return None
    return report.size * max(1.0, report.retention / span) / report.limit


def time_left(report: RetentionReport) -> timedelta | None:
    """Return when a store is full as it has grown so far; None where its retention ends before that, or not known."""
    if (size_ratio(report) or 0) <= 1:
        return None
    return max(timedelta(), _span(report) * (report.limit / report.size - 1))


def _span(report: RetentionReport) -> timedelta:
    """Return the time of what a store keeps."""
    if report.oldest is None or report.newest is None:
        return timedelta()
    return timedelta(milliseconds=report.newest - report.oldest)


def _days(left: timedelta) -> str:
    if left >= timedelta(days=2):
        return f"{left.days} days"
    hours = left // timedelta(hours=1)
    return f"{hours} hour{'' if hours == 1 else 's'}"


async def _report(store: RetainedStore) -> RetentionReport:
    try:
        return await store.retention_report()
    except StoreError as error:
        raise ActionError(str(error)) from error
