"""What the shop's telemetry tells beside the shop's own vocabulary (`instruments.families`)."""

from typing import Final

from toban.core.samples import counter, gauge, histogram
from toban.instruments.metric_families import FINE_BUCKETS

# The shop
PROBES: Final = counter(
    "vendure_probe_requests_total", "Requests that nobody shops with: health probes, and toban's own questions."
)
"""Labels: kind (health or toban)."""
CONNECTION_ERRORS: Final = counter(
    "vendure_connection_errors_total", "Attempts of the shop's processes to reach PostgreSQL or Redis that failed."
)
"""Labels: system (postgresql or redis)."""
QUERY_SECONDS: Final = histogram(
    "postgres_query_duration_seconds",
    "How long statements of the shop took, by their first word, as the shop saw it.",
    (0.01, 0.05, 0.1, 0.5, 1, 2, 5),
    "seconds",
)
"""Labels: operation."""
REDIS_COMMANDS: Final = counter("vendure_redis_commands_total", "Commands that the shop's processes sent to Redis.")
"""Labels: command."""
SERVICE_SECONDS: Final = histogram(
    "vendure_service_duration_seconds", "How long methods of Vendure's services took.", FINE_BUCKETS, "seconds"
)
"""Labels: service_method."""
EVENTS: Final = counter("vendure_events_total", "Events that Vendure published within itself, by the class of event.")
"""Labels: event."""
SPANS: Final = counter("vendure_spans_total", "Spans that came, by what sent them.")
"""Labels: role (server, worker, storefront, other)."""
RECEIVED: Final = gauge(
    "vendure_telemetry_last_received_timestamp_seconds",
    "When telemetry of a service last came, since the epoch.",
    "seconds",
)
"""Labels: service."""
UNJOINED: Final = counter(
    "vendure_operations_unjoined_total", "Operations whose request never came, or too late to tell how long it took."
)
PROCESS: Final = gauge(
    "vendure_process_info",
    "1 for each process that sends metrics of itself; `role` is what it is to the shop.",
)
"""Labels: job, instance, role (server, worker, storefront, other)."""
POOL: Final = gauge(
    "postgres_connection_pool_size",
    "Connections of the shop's pools by state: total, idle, waiting; as the shop counts them, else as the server does.",
)
"""Labels: state (total, idle, waiting). `collect/collectors/postgres.sql` has the same help text."""

# The storefront
STOREFRONT_SECONDS: Final = histogram(
    "storefront_request_duration_seconds", "How long the storefront took to answer.", FINE_BUCKETS, "seconds"
)
"""Labels: endpoint, method, status."""
STOREFRONT_REQUESTS: Final = counter("storefront_requests_total", "Requests that the storefront answered.")
"""Labels: endpoint, method, status."""

# The doors themselves
BODIES: Final = counter("toban_ingest_requests_total", "Bodies that came to toban's doors, by how they were answered.")
"""Labels: signal (traces, metrics, logs, events), outcome."""
ITEMS: Final = counter("toban_ingest_items_total", "Spans, points, records and events that were accepted.")
"""Labels: signal."""
REJECTED: Final = counter("toban_ingest_rejected_total", "Spans, points and records that were rejected, by reason.")
"""Labels: signal, reason (malformed, unsupported, temporality, negative, collision, limit)."""
REPAIRED: Final = counter(
    "toban_ingest_repaired_texts_total",
    "Characters that were none (half of a surrogate pair, no UTF-8) and were replaced by U+FFFD.",
)
"""Labels: signal."""
BYTES: Final = counter("toban_ingest_received_bytes_total", "Bytes that were taken in, inflated.", "bytes")
"""Labels: signal."""
