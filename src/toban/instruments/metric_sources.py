"""Which source provides which metrics, and how completely."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class MetricSource(StrEnum):
    """A way to read the shop; each is useful alone."""

    PLAIN = "plain telemetry"
    ENRICHED = "enriched telemetry"
    TABLES = "tables"
    REDIS = "Redis"
    SHOP_API = "Shop API"
    EVENTS = "events"
    FILES = "files"


@dataclass(frozen=True, slots=True)
class Coverage:
    """
    One topic: its metrics, and how completely each source covers it.

    ``key`` is its key in translations. ``sources`` says how completely: exactly, or what is missing.
    """

    key: str
    metrics: tuple[str, ...]
    sources: Mapping[MetricSource, str]


COVERAGE: Final = (
    Coverage(
        "requests",
        ("vendure_api_requests_total", "vendure_api_duration_seconds", "vendure_api_latency_seconds"),
        {MetricSource.PLAIN: "exactly", MetricSource.ENRICHED: "exactly"},
    ),
    Coverage(
        "operations",
        ("vendure_graphql_duration_seconds", "vendure_graphql_latency_seconds"),
        {MetricSource.PLAIN: "exactly, if no span is sampled away", MetricSource.ENRICHED: "exactly"},
    ),
    Coverage(
        "errors",
        ("vendure_graphql_errors_total",),
        {MetricSource.PLAIN: "thrown errors and invalid queries; not FORBIDDEN", MetricSource.ENRICHED: "exactly"},
    ),
    Coverage("results", ("vendure_error_results_total",), {MetricSource.ENRICHED: "exactly"}),
    Coverage(
        "connections",
        ("vendure_connection_errors_total",),
        {MetricSource.PLAIN: "exactly", MetricSource.ENRICHED: "exactly"},
    ),
    Coverage(
        "queries",
        ("postgres_query_duration_seconds", "vendure_redis_commands_total"),
        {MetricSource.PLAIN: "exactly", MetricSource.ENRICHED: "exactly"},
    ),
    Coverage(
        "processes",
        (
            "v8js_memory_heap_used_bytes",
            "nodejs_heap_limit_bytes",
            "v8js_memory_heap_limit_bytes",
            "nodejs_eventloop_utilization_ratio",
            "nodejs_eventloop_delay_p99_seconds",
        ),
        {MetricSource.PLAIN: "each minute", MetricSource.ENRICHED: "each minute"},
    ),
    Coverage(
        "orders",
        ("vendure_orders_created_total", "vendure_order_total_amount", "vendure_revenue_total"),
        {MetricSource.TABLES: "exactly", MetricSource.EVENTS: "orders of other systems"},
    ),
    Coverage(
        "failures",
        ("vendure_payments_failed_total", "vendure_orders_failed_total"),
        {MetricSource.TABLES: "exactly, where the provider creates a row", MetricSource.EVENTS: "a provider's webhook"},
    ),
    Coverage(
        "campaigns",
        ("vendure_campaign_usage_total", "vendure_campaign_discount_amount"),
        {MetricSource.TABLES: "Vendure's promotions", MetricSource.EVENTS: "others"},
    ),
    Coverage(
        "jobs",
        ("vendure_jobs_waiting", "vendure_jobs_completed_total", "vendure_jobs_failed_total"),
        {MetricSource.TABLES: "exactly, with DefaultJobQueuePlugin", MetricSource.REDIS: "exactly, with BullMQ"},
    ),
    Coverage(
        "views",
        ("vendure_product_views_total",),
        {
            MetricSource.ENRICHED: "a lower bound: cached pages send no request",
            MetricSource.EVENTS: "exactly, from the storefront",
        },
    ),
    Coverage(
        "rebates",
        ("vendure_rebate_calculations_total", "vendure_customer_activity_total"),
        {MetricSource.EVENTS: "exactly"},
    ),
    Coverage(
        "check",
        ("vendure_shop_check_up",),
        {MetricSource.SHOP_API: "each minute"},
    ),
    Coverage("backups", ("backup_newest_timestamp_seconds",), {MetricSource.FILES: "age of the newest file"}),
)
"""All topics."""


def missing_metrics(seen: Collection[str]) -> Iterator[Coverage]:
    """Yield the topics without any of these metrics; names are those of series, also of a histogram's."""
    stems = {name.removesuffix(suffix) for name in seen for suffix in ("", "_bucket", "_sum", "_count")}
    return (topic for topic in COVERAGE if not stems.intersection(topic.metrics))
