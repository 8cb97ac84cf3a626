"""
The shop's metrics, by the names, labels and buckets of the original design.

They are an interface and kept to the letter, also where a linter would prefer snake case. What the telemetry of
PostgreSQL, Redis and Node brings beside them is declared in `intake`.
"""

from typing import Final

from toban.core.samples import counter, gauge, histogram

FINE: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
"""Prometheus' default buckets: the original's begin at 0.1 s, where a good shop has long answered."""

# Performance
GRAPHQL_SECONDS: Final = histogram(
    "vendure_graphql_duration_seconds",
    "How long requests took, by GraphQL operation.",
    (0.1, 0.5, 1, 2, 5, 10),
    "seconds",
)
"""Labels: operation."""
API_SECONDS: Final = histogram(
    "vendure_api_duration_seconds",
    "How long requests took, by endpoint, method and HTTP status.",
    (0.1, 0.5, 1, 2, 5, 10),
    "seconds",
)
"""Labels: endpoint, method, status."""
API_REQUESTS: Final = counter("vendure_api_requests_total", "Requests, by endpoint, method and HTTP status.")
"""Labels: endpoint, method, status."""
API_LATENCY: Final = histogram(
    "vendure_api_latency_seconds", "How long requests took, in finer steps, by endpoint.", FINE, "seconds"
)
"""Labels: endpoint, method."""
GRAPHQL_LATENCY: Final = histogram(
    "vendure_graphql_latency_seconds", "How long requests took, in finer steps, by GraphQL operation.", FINE, "seconds"
)
"""Labels: operation."""
GRAPHQL_ERRORS: Final = counter(
    "vendure_graphql_errors_total",
    "Requests that failed although HTTP says 200, one each, by operation, error code, and whose fault it was.",
)
"""Labels: operation, code, fault (client or shop)."""
ERROR_RESULTS: Final = counter(
    "vendure_error_results_total", "Requests answered with an ErrorResult: a declined payment, a bad login."
)
"""Labels: operation, code."""

# Business
ORDERS_CREATED: Final = counter("vendure_orders_created_total", "Orders placed.")
"""Labels: customerType, channel."""
ORDER_TOTAL: Final = histogram(
    "vendure_order_total_amount",
    "What orders came to, in major units of their currency, by their state when they were placed.",
    (1000, 5000, 10000, 50000, 100000, 500000),
)
"""Labels: status."""
REVENUE: Final = counter("vendure_revenue_total", "What was ordered, in major units of the currency.")
"""Labels: channel, currency."""
ORDERS_FAILED: Final = counter(
    "vendure_orders_failed_total", "Orders that were not placed within 15 minutes of a failed attempt to pay."
)
"""Labels: method."""
PAYMENTS_FAILED: Final = counter("vendure_payments_failed_total", "Attempts to pay that failed.")
"""Labels: method, error (a class from a fixed list)."""
PRODUCT_VIEWS: Final = counter("vendure_product_views_total", "Views of products.")
"""Labels: productId."""
CUSTOMER_ACTIVITY: Final = counter("vendure_customer_activity_total", "What customers did.")
"""Labels: customerId, action."""
REBATE_AMOUNT: Final = gauge("vendure_rebate_amount", "A customer's rebate of a period, in major units.")
"""Labels: customerId, period."""
REBATE_CALCULATIONS: Final = counter("vendure_rebate_calculations_total", "Rebates that were calculated.")
"""Labels: period."""
CAMPAIGN_USAGE: Final = counter("vendure_campaign_usage_total", "Orders that a campaign gave a discount.")
"""Labels: campaignId."""
CAMPAIGN_DISCOUNT: Final = histogram(
    "vendure_campaign_discount_amount",
    "Discounts that a campaign gave, in major units of the currency.",
    (100, 500, 1000, 5000, 10000, 50000),
)
"""Labels: campaignId."""
