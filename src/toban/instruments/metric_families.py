"""
The shop's metrics, by the names, labels and buckets of the original design.

They are an interface and kept to the letter, also where a linter would prefer snake case. The
metrics of PostgreSQL, Redis and Node from telemetry are declared in `ingest.metric_families`.
"""

from typing import Final

from toban.core.samples import counter, gauge, histogram

FINE_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
"""Prometheus' default buckets: the original's begin at 0.1 s, and a good shop is faster."""

# Performance
GRAPHQL_SECONDS: Final = histogram(
    "vendure_graphql_duration_seconds",
    "Duration of requests, by GraphQL operation.",
    (0.1, 0.5, 1, 2, 5, 10),
    "seconds",
    labels=("operation",),
)
API_SECONDS: Final = histogram(
    "vendure_api_duration_seconds",
    "Duration of requests, by endpoint, method and HTTP status.",
    (0.1, 0.5, 1, 2, 5, 10),
    "seconds",
    labels=("endpoint", "method", "status"),
)
API_REQUESTS: Final = counter(
    "vendure_api_requests_total",
    "Requests, by endpoint, method and HTTP status.",
    labels=("endpoint", "method", "status"),
)
API_LATENCY: Final = histogram(
    "vendure_api_latency_seconds",
    "Duration of requests in finer buckets, by endpoint.",
    FINE_BUCKETS,
    "seconds",
    labels=("endpoint", "method"),
)
GRAPHQL_LATENCY: Final = histogram(
    "vendure_graphql_latency_seconds",
    "Duration of requests in finer buckets, by GraphQL operation.",
    FINE_BUCKETS,
    "seconds",
    labels=("operation",),
)
GRAPHQL_ERRORS: Final = counter(
    "vendure_graphql_errors_total",
    "Requests that failed with HTTP status 200, by operation, error code, and who caused the error.",
    labels=("operation", "code", "fault"),
)
"""`fault` is `client` or `shop`."""
ERROR_RESULTS: Final = counter(
    "vendure_error_results_total",
    "Responses with an ErrorResult: a declined payment, a failed login.",
    labels=("operation", "code"),
)

# Business
ORDERS_CREATED: Final = counter("vendure_orders_created_total", "Placed orders.", labels=("customerType", "channel"))
ORDER_TOTAL: Final = histogram(
    "vendure_order_total_amount",
    "Totals of orders, in major units of their currency, by their state when they were placed.",
    (1000, 5000, 10000, 50000, 100000, 500000),
    labels=("status",),
)
REVENUE: Final = counter(
    "vendure_revenue_total", "Total of all orders, in major units of the currency.", labels=("channel", "currency")
)
ORDERS_FAILED: Final = counter(
    "vendure_orders_failed_total",
    "Orders that were not placed within 15 minutes of a failed payment attempt.",
    labels=("method",),
)
PAYMENTS_FAILED: Final = counter(
    "vendure_payments_failed_total", "Failed payment attempts.", labels=("method", "error")
)
"""`error` is a class from a fixed list."""
PRODUCT_VIEWS: Final = counter("vendure_product_views_total", "Views of products.", labels=("productId",))
CUSTOMER_ACTIVITY: Final = counter(
    "vendure_customer_activity_total", "Actions of customers.", labels=("customerId", "action")
)
REBATE_AMOUNT: Final = gauge(
    "vendure_rebate_amount", "A customer's rebate of a period, in major units.", labels=("customerId", "period")
)
REBATE_CALCULATIONS: Final = counter("vendure_rebate_calculations_total", "Calculated rebates.", labels=("period",))
CAMPAIGN_USAGE: Final = counter(
    "vendure_campaign_usage_total", "Orders with a campaign's discount.", labels=("campaignId",)
)
CAMPAIGN_DISCOUNT: Final = histogram(
    "vendure_campaign_discount_amount",
    "Discounts of a campaign, in major units of the currency.",
    (100, 500, 1000, 5000, 10000, 50000),
    labels=("campaignId",),
)
