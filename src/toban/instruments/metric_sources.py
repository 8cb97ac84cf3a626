"""Which number comes from where, and what would add one that is missing."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Source(StrEnum):
    """A way in which toban reads the shop; each is useful alone."""

    PLAIN = "plain telemetry"
    ENRICHED = "enriched telemetry"
    TABLES = "tables"
    REDIS = "Redis"
    SHOP_API = "Shop API"
    EVENTS = "events"
    FILES = "files"


@dataclass(frozen=True, slots=True)
class Known:
    """
    One thing to know of the shop: the metrics that tell it, and what each source knows of it.

    ``key`` is its word in translations. ``sources`` says how well: exactly, or what is left out.
    """

    key: str
    metrics: tuple[str, ...]
    sources: Mapping[Source, str]


NUMBERS: Final = (
    Known(
        "requests",
        ("vendure_api_requests_total", "vendure_api_duration_seconds", "vendure_api_latency_seconds"),
        {Source.PLAIN: "exactly", Source.ENRICHED: "exactly"},
    ),
    Known(
        "operations",
        ("vendure_graphql_duration_seconds", "vendure_graphql_latency_seconds"),
        {Source.PLAIN: "exactly, if no span is sampled away", Source.ENRICHED: "exactly"},
    ),
    Known(
        "errors",
        ("vendure_graphql_errors_total",),
        {Source.PLAIN: "what was thrown, and broken queries; not FORBIDDEN", Source.ENRICHED: "exactly"},
    ),
    Known("results", ("vendure_error_results_total",), {Source.ENRICHED: "exactly"}),
    Known(
        "connections",
        ("vendure_connection_errors_total",),
        {Source.PLAIN: "exactly", Source.ENRICHED: "exactly"},
    ),
    Known(
        "queries",
        ("postgres_query_duration_seconds", "vendure_redis_commands_total"),
        {Source.PLAIN: "exactly", Source.ENRICHED: "exactly"},
    ),
    Known(
        "processes",
        (
            "v8js_memory_heap_used_bytes",
            "nodejs_heap_limit_bytes",
            "v8js_memory_heap_limit_bytes",
            "nodejs_eventloop_utilization_ratio",
            "nodejs_eventloop_delay_p99_seconds",
        ),
        {Source.PLAIN: "each minute", Source.ENRICHED: "each minute"},
    ),
    Known(
        "orders",
        ("vendure_orders_created_total", "vendure_order_total_amount", "vendure_revenue_total"),
        {Source.TABLES: "exactly", Source.EVENTS: "orders of other systems"},
    ),
    Known(
        "failures",
        ("vendure_payments_failed_total", "vendure_orders_failed_total"),
        {Source.TABLES: "exactly, where the provider leaves a row", Source.EVENTS: "a provider's webhook"},
    ),
    Known(
        "campaigns",
        ("vendure_campaign_usage_total", "vendure_campaign_discount_amount"),
        {Source.TABLES: "Vendure's promotions", Source.EVENTS: "others"},
    ),
    Known(
        "jobs",
        ("vendure_jobs_waiting", "vendure_jobs_completed_total", "vendure_jobs_failed_total"),
        {Source.TABLES: "exactly, with DefaultJobQueuePlugin", Source.REDIS: "exactly, with BullMQ"},
    ),
    Known(
        "views",
        ("vendure_product_views_total",),
        {Source.ENRICHED: "a lower bound: cached pages ask nothing", Source.EVENTS: "exactly, from the storefront"},
    ),
    Known(
        "rebates",
        ("vendure_rebate_calculations_total", "vendure_customer_activity_total"),
        {Source.EVENTS: "exactly"},
    ),
    Known(
        "check",
        ("vendure_shop_check_up",),
        {Source.SHOP_API: "each minute"},
    ),
    Known("backups", ("backup_newest_timestamp_seconds",), {Source.FILES: "how old the newest file is"}),
)
"""What there is to know of a shop."""


def missing(seen: Collection[str]) -> Iterator[Known]:
    """Return what is not known, where these metrics were seen: as stored, parts of histograms included."""
    stems = {name.removesuffix(suffix) for name in seen for suffix in ("", "_bucket", "_sum", "_count")}
    return (number for number in NUMBERS if not stems.intersection(number.metrics))
