"""The shipped inhibit rules."""

from collections.abc import Iterator
from typing import Final

from toban.notify.settings import Inhibition

SELLING: Final = (
    "application_down|shop_check_failing|storefront_down|page_nearly_empty|uptimerobot_down|fly_check_failing|"
    "high_response_time|high_error_rate|error_results_unusual|event_loop_blocked|"
    "order_failure_rate|orders_stopped|orders_paid_not_placed|payment.*|checkout_.*"
)
"""Alerts about what customers see."""

BACKGROUND: Final = "worker_.*|queue_.*|job_.*|scheduled_task_.*|vendure_tables_behind"
"""Alerts about background work."""

LOGGED: Final = "log_error_burst|node_crash_loop|plugin_errors_logged|job_failures_logged"
"""Alerts about errors in logs: whatever fails is logged too, mostly by all of the shop's processes."""

CAUSES: Final = (
    # source, targets, equal labels
    ("database_connection_failed", f"database_.*|{SELLING}|{BACKGROUND}|{LOGGED}", ()),
    ("redis_connection_failed", f"redis_.*|upstash_suspended|{SELLING}|{BACKGROUND}|{LOGGED}", ()),
    (
        "redis_refuses_writes|redis_quota_exceeded|upstash_suspended",
        f"redis_memory_high|{SELLING}|{BACKGROUND}|{LOGGED}",
        (),
    ),
    ("application_down", f"{SELLING}|{LOGGED}", ()),
    ("worker_down|worker_silent|queue_failing|payments_failing|order_failure_rate", LOGGED, ()),
    ("node_crash_loop", "log_error_burst", ("service",)),
    ("plugin_errors_logged|job_failures_logged", "log_error_burst", ()),
    ("storefront_down", "page_nearly_empty|uptimerobot_down", ()),
    ("worker_down", "worker_silent|worker_behind|queue_.*|job_.*|scheduled_task_.*", ()),
    ("worker_silent", "worker_behind|queue_.*|job_.*|scheduled_task_.*", ()),
    ("event_loop_blocked", "high_response_time", ()),
    ("payments_failing", "payments_declining", ("method",)),
    ("payments_failing", "order_failure_rate|orders_stopped", ()),
    ("database_standby_cut_off", "database_replication_behind", ()),
    ("worker_behind", "queue_growing", ("queue",)),
    ("scheduled_task_stuck", "scheduled_task_missed", ("task",)),
    ("fly_machine_crash_loop", "fly_machine_not_as_wanted|fly_check_failing", ("instance",)),
    ("fly_machine_not_as_wanted", "fly_check_failing", ("instance",)),
    ("database_connections_full", "database_connection_high", ("instance",)),
    ("database_connections_full", f"{SELLING}|{BACKGROUND}|{LOGGED}", ()),
    ("disk_full", "disk_usage_high", ("instance", "mount")),
    ("certificate_expired", "certificate_expiring", ("instance",)),
)


PAYMENTS: Final = (
    # source, target
    (['alertname="payments_failing"', 'method=""'], ['alertname=~"payments_failing|payments_declining"', 'method!=""']),
    (['alertname="payments_failing"'], ['alertname="payments_declining"', 'method=""']),
    (['alertname="payments_declining"', 'method=""'], ['alertname="payments_declining"', 'method!=""']),
)
"""
Alerts without a method are about all methods together. They have the name of those by method, so that both are one
notification whichever fires first; the one about all inhibits the others, so that ten methods are one notification.
"""


def _inhibitions() -> Iterator[Inhibition]:
    for source, targets, equal in CAUSES:
        # A rule never inhibits its own source, which `database_.*` matches too.
        target = [f'alertname=~"{targets}"', f'alertname!~"{source}"']
        yield Inhibition.model_validate(
            {"source_matchers": [f'alertname=~"{source}"'], "target_matchers": target, "equal": equal}
        )
    for source_matchers, target_matchers in PAYMENTS:
        yield Inhibition.model_validate({"source_matchers": source_matchers, "target_matchers": target_matchers})


INHIBITIONS: Final = tuple(_inhibitions())
"""
One cause is one notification, which lists what it inhibits. Other possible causes, such as sessions that wait for a
lock, are listed in the notification of the symptom as also firing.
"""
