"""The vocabulary of the shop."""

import pytest

from tests.fakes import FakeClock, ListLineSink
from toban.core.log_line import LogLevel
from toban.core.metric_registry import MetricRegistry
from toban.instruments import metric_families
from toban.instruments.business_metrics import BusinessMetrics, Order, customer_type
from toban.instruments.cardinality import OTHER, OVER, CardinalityLimits
from toban.instruments.error_classes import error_code, payment_error, responsible_party
from toban.instruments.performance_metrics import PerformanceMonitor


@pytest.fixture
def meters():
    return MetricRegistry()


def test_a_request_is_counted_by_the_names_of_the_original(meters):
    """
    In seconds, in the original's buckets, and in finer ones beside them.
    """
    monitor = PerformanceMonitor(meters, CardinalityLimits(meters), ListLineSink(), FakeClock())
    monitor.track_api_endpoint("/shop-api", "POST", 200, 0.3)
    labels = {"endpoint": "/shop-api", "method": "POST", "status": "200"}

    assert meters.value(metric_families.API_REQUESTS, **labels) == 1
    assert meters.histogram(metric_families.API_SECONDS, **labels).counts == [0, 1, 0, 0, 0, 0, 0]
    assert meters.histogram(metric_families.API_LATENCY, endpoint="/shop-api", method="POST").total == 0.3


def test_a_slow_query_is_logged_with_the_originals_text(meters):
    """
    Over two seconds, not at two.
    """
    lines = ListLineSink()
    monitor = PerformanceMonitor(meters, CardinalityLimits(meters), lines, FakeClock())
    monitor.track_graphql_query("Search", 2.0)
    monitor.track_graphql_query("Search", 2.345, endpoint="/shop-api", trace_id="ab12")

    (line,) = lines.lines
    assert line.message == "Slow query detected: Search took 2345ms"
    assert (line.level, line.category) == (LogLevel.WARN, "performance")
    assert line.facts == {"operation": "Search", "duration": 2345, "endpoint": "/shop-api"}
    assert line.trace_id == "ab12"


def test_an_order_is_counted_once_in_each_metric(meters):
    """
    Vendure's own name of the default channel is nobody's word for it.
    """
    BusinessMetrics(meters, CardinalityLimits(meters)).track_order(
        Order(12000.5, "PaymentSettled", "JPY", "__default_channel__", "wholesale")
    )

    assert meters.value(metric_families.ORDERS_CREATED, customerType="wholesale", channel="default") == 1
    assert meters.value(metric_families.ORDER_TOTAL, status="PaymentSettled") == 1
    assert meters.value(metric_families.REVENUE, channel="default", currency="JPY") == 12000.5


def test_a_customer_s_type_is_its_status_else_general():
    """
    As in the original.
    """
    assert customer_type({"customerStatus": "gold"}) == "gold"
    assert customer_type({"customerStatus": ""}) == customer_type({}) == customer_type(None) == "general"


def test_a_view_of_a_known_customer_is_activity(meters):
    """
    A rebate is an amount and a calculation; a campaign a use and a discount.
    """
    business = BusinessMetrics(meters, CardinalityLimits(meters))
    business.track_product_view("42", "7")
    business.track_rebate_calculation("7", 1500, "2026-11")
    business.track_campaign_usage("summer", 300)

    assert meters.value(metric_families.PRODUCT_VIEWS, productId="42") == 1
    assert meters.value(metric_families.CUSTOMER_ACTIVITY, customerId="7", action="product_view") == 1
    assert meters.value(metric_families.REBATE_AMOUNT, customerId="7", period="2026-11") == 1500
    assert meters.value(metric_families.REBATE_CALCULATIONS, period="2026-11") == 1
    assert meters.value(metric_families.CAMPAIGN_USAGE, campaignId="summer") == 1
    assert meters.value(metric_families.CAMPAIGN_DISCOUNT, campaignId="summer") == 1


def test_label_values_over_the_limit_count_as_other(meters):
    """
    A gauge has no other: it is dropped. How much it was is counted.
    """
    business = BusinessMetrics(meters, CardinalityLimits(meters, {"productId": 2, "customerId": 1}))
    for product in ("1", "2", "3", "1", "4"):
        business.track_product_view(product)
    business.track_rebate_calculation("a", 1, "p")
    business.track_rebate_calculation("b", 2, "p")

    assert [meters.value(metric_families.PRODUCT_VIEWS, productId=name) for name in ("1", "2", OTHER)] == [2, 1, 2]
    assert meters.value(metric_families.REBATE_AMOUNT, customerId="b", period="p") == 0
    assert meters.value(metric_families.REBATE_CALCULATIONS, period="p") == 2
    assert meters.value(OVER, label="productId") == 2
    assert meters.value(OVER, label="customerId") == 1


def test_label_values_from_before_a_restart_are_kept(meters):
    """
    And text that is no name at all is never a label.
    """
    meters.add(metric_families.PRODUCT_VIEWS, 1, productId="9")
    budgets = CardinalityLimits(meters, {"productId": 1})
    budgets.learn(meters)

    assert budgets.limited("productId", "9") == "9"
    assert budgets.limited("productId", "8") == OTHER
    assert CardinalityLimits(meters).limited("operation", "x" * 200) == OTHER


@pytest.mark.parametrize(
    ("state", "message", "said"),
    [
        ("Declined", "", "declined"),
        ("Error", "", "error"),
        ("Declined", "Your card has insufficient funds.", "insufficient_funds"),
        ("Error", "connect ECONNREFUSED 10.0.0.1:443", "unreachable"),
        ("Declined", "card expired", "expired_card"),
        ("Error", "anything else: 4111 1111 1111 1111", "error"),
    ],
)
def test_a_failed_payment_has_a_class_from_a_fixed_list(state, message, said):
    """
    What a provider says is free text.
    """
    assert payment_error(state, message) == said


def test_client_errors_are_distinguished_from_shop_errors():
    """
    What has no code was not expected by Vendure either.
    """
    assert (
        responsible_party("GRAPHQL_VALIDATION_FAILED")
        == responsible_party("FORBIDDEN")
        == responsible_party("ENTITY_NOT_FOUND")
        == "client"
    )
    assert (
        responsible_party("UNKNOWN")
        == responsible_party("ECONNREFUSED")
        == responsible_party("INTERNAL_SERVER_ERROR")
        == "shop"
    )
    assert error_code("user 17 not found") == "UNKNOWN"
