"""What explains what in every shop."""

from collections.abc import Iterator
from typing import Final

from toban.notify.settings import Inhibition

SELLING: Final = (
    "application_down|shop_check_failing|storefront_down|page_nearly_empty|uptimerobot_down|fly_check_failing|"
    "high_response_time|high_error_rate|error_results_unusual|event_loop_blocked|"
    "order_failure_rate|orders_stopped|orders_paid_not_placed|payment.*|checkout_.*"
)
"""What customers meet."""

BACKGROUND: Final = "worker_.*|queue_.*|job_.*|scheduled_task_.*|vendure_tables_behind"
"""What waits behind the shop."""

CAUSES: Final = (
    # source, targets, labels in which both agree
    ("database_connection_failed", f"database_.*|{SELLING}|{BACKGROUND}", ()),
    ("redis_connection_failed", f"redis_.*|{SELLING}|{BACKGROUND}", ()),
    ("redis_refuses_writes|redis_quota_exceeded|upstash_suspended", f"redis_memory_high|{SELLING}|{BACKGROUND}", ()),
    ("application_down", SELLING, ()),
    ("storefront_down", "page_nearly_empty|uptimerobot_down", ()),
    ("worker_down", "worker_silent|worker_behind|queue_.*|job_.*|scheduled_task_.*", ()),
    ("worker_silent", "worker_behind|queue_.*|job_.*|scheduled_task_.*", ()),
    ("event_loop_blocked", "high_response_time", ()),
    ("payments_failing", "payments_declining", ("method",)),
    ("payments_failing", "order_failure_rate|orders_stopped", ()),
    ("database_connections_full", "database_connection_high", ("instance",)),
    ("disk_full", "disk_usage_high", ("instance", "mount")),
    ("certificate_ended", "certificate_ending", ("instance",)),
)


def _inhibitions() -> Iterator[Inhibition]:
    for source, targets, equal in CAUSES:
        # A rule never inhibits its own source: `database_.*` is also what explains.
        target = [f'alertname=~"{targets}"', f'alertname!~"{source}"']
        yield Inhibition.model_validate({"source": [f'alertname=~"{source}"'], "target": target, "equal": equal})


INHIBITIONS: Final = tuple(_inhibitions())
"""
One cause is one message: it lists what it explains. What is not among these and may be the cause, such as sessions that
wait for a lock, stands in the message of the symptom as what fires beside it.
"""
