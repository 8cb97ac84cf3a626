"""The collector `postgres`, without a server."""

from toban.collect.collectors import postgres
from toban.core.metric_registry import MetricRegistry
from toban.core.samples import gauge
from toban.ingest.metric_families import POOL

USED = gauge("postgres_connections_used", "")


def test_pool_metrics_of_the_shop_replace_those_of_the_server():
    """
    As long as the shop's telemetry tells them; the same number never comes twice.
    """
    pushed = MetricRegistry()
    samples = [USED.sample(3), POOL.sample(5, state="total")]
    assert list(postgres.not_pushed(samples, pushed)) == samples

    pushed.set(POOL, 4, state="total")
    assert list(postgres.not_pushed(samples, pushed)) == samples[:1]

    pushed.remove(POOL, state="total")
    assert list(postgres.not_pushed(samples, pushed)) == samples


def test_pool_metrics_of_shop_and_server_are_one_family():
    """
    One name, one meaning, one sentence.
    """
    assert POOL in postgres.FAMILIES
