"""Metric families from telemetry, beside the shop's own (`instruments.metric_families`)."""

from typing import Final

from toban.core.samples import counter, gauge, histogram
from toban.instruments.metric_families import FINE_BUCKETS

# The shop
PROBES: Final = counter(
    "vendure_probe_requests_total", "Health probes and toban's own requests to the shop.", labels=("kind",)
)
"""`kind` is `health` or `toban`."""
CONNECTION_ERRORS: Final = counter(
    "vendure_connection_errors_total",
    "Failed connections of the shop's processes to PostgreSQL or Redis.",
    labels=("system",),
)
"""`system` is `postgresql` or `redis`."""
QUERY_SECONDS: Final = histogram(
    "postgres_query_duration_seconds",
    "Duration of the shop's SQL statements by their first word, measured by the shop.",
    (0.01, 0.05, 0.1, 0.5, 1, 2, 5),
    "seconds",
    labels=("operation",),
)
REDIS_COMMANDS: Final = counter(
    "vendure_redis_commands_total", "Redis commands of the shop's processes.", labels=("command",)
)
SERVICE_SECONDS: Final = histogram(
    "vendure_service_duration_seconds",
    "Duration of Vendure's service methods.",
    FINE_BUCKETS,
    "seconds",
    labels=("service_method",),
)
EVENTS: Final = counter("vendure_events_total", "Events on Vendure's event bus, by class.", labels=("event",))
SPANS: Final = counter("vendure_spans_total", "Received spans, by the role of their process.", labels=("role",))
"""`role` is `server`, `worker`, `storefront` or `other`."""
RECEIVED: Final = gauge(
    "vendure_telemetry_last_received_timestamp_seconds",
    "Time of the last telemetry of a service, since the epoch.",
    "seconds",
    labels=("service",),
)
UNJOINED: Final = counter(
    "vendure_operations_unjoined_total",
    "Operations whose request span was not received in time: they have no duration.",
)
PROCESS: Final = gauge(
    "vendure_process_info",
    "1 for each process that pushes metrics; `role` is its role in the shop.",
    labels=("role",),
)
POOL: Final = gauge(
    "postgres_connection_pool_size",
    "Connections of the shop's pools by state: total, idle, waiting; as the shop counts them, else as the server does.",
    labels=("state",),
)
"""`collect/collectors/postgres.sql` has the same help text."""

# The storefront
STOREFRONT_SECONDS: Final = histogram(
    "storefront_request_duration_seconds",
    "Duration of the storefront's requests.",
    FINE_BUCKETS,
    "seconds",
    labels=("endpoint", "method", "status"),
)
STOREFRONT_REQUESTS: Final = counter(
    "storefront_requests_total", "Requests of the storefront.", labels=("endpoint", "method", "status")
)

# The ingest endpoints
BODIES: Final = counter(
    "toban_ingest_requests_total", "Requests to toban's ingest endpoints, by outcome.", labels=("signal", "outcome")
)
"""`signal` is `traces`, `metrics`, `logs` or `events`; `outcome` `accepted`, `rejected`, `duplicate`, `overloaded`."""
ITEMS: Final = counter(
    "toban_ingest_items_total", "Accepted spans, points, log records and events.", labels=("signal",)
)
REJECTED: Final = counter(
    "toban_ingest_rejected_total", "Rejected spans, points and log records, by reason.", labels=("signal", "reason")
)
"""`reason` is `malformed`, `unsupported`, `temporality`, `negative`, `collision` or `limit`."""
REPAIRED: Final = counter(
    "toban_ingest_repaired_texts_total",
    "Invalid characters (lone surrogates, invalid UTF-8) that were replaced by U+FFFD.",
    labels=("signal",),
)
BYTES: Final = counter(
    "toban_ingest_received_bytes_total", "Bytes of accepted requests, decompressed.", "bytes", labels=("signal",)
)
