"""The components of a shop."""

from datetime import UTC, datetime

import pytest

from tests.fakes import FakeClock
from tests.promql_scripts import ScriptSource
from toban.core.ports import HealthState
from toban.health.components import COMPONENTS, POINTS, ComponentFigure, component_state, evaluate_components
from toban.promql.engine import PromqlEngine
from toban.promql.executor import QueryExecutor

NOW = datetime(2026, 6, 15, 10, 30, tzinfo=UTC)
BY_KEY = {it.key: it for it in COMPONENTS}


async def test_a_figure_has_the_values_of_an_hour_and_none_where_there_is_none():
    source = ScriptSource()
    minute = 60_000
    end = round(NOW.timestamp() * 1000)
    source.add(
        {"__name__": "redis_memory_usage_bytes", "job": "redis"},
        [(end - it * minute, 100 - it) for it in range(9, -1, -1)],
    )
    async with QueryExecutor(PromqlEngine(source)) as engine:
        figures = {it.component.key: it for it in await evaluate_components(engine, FakeClock(NOW))}
    redis = figures["redis"]
    assert len(redis.values) == POINTS
    assert redis.values[-10:] == list(range(91, 101))
    assert redis.values[:40] == [None] * 40
    assert redis.last == 100
    assert figures["database"].values == ()
    assert figures["database"].last is None


@pytest.mark.parametrize(
    ("targets", "values", "is_alerting", "state"),
    [
        ([], (), False, HealthState.NOT_CONFIGURED),
        ([], (1.0,), False, HealthState.HEALTHY),
        ([], (1.0,), True, HealthState.UNHEALTHY),
        ([HealthState.HEALTHY], (), False, HealthState.HEALTHY),
        ([HealthState.HEALTHY], (), True, HealthState.UNHEALTHY),
        ([HealthState.HEALTHY, HealthState.UNHEALTHY], (), False, HealthState.UNHEALTHY),
        ([HealthState.HEALTHY, HealthState.NO_DATA], (), False, HealthState.NO_DATA),
    ],
)
def test_the_state_of_a_component(targets, values, is_alerting, state):
    assert component_state(ComponentFigure(BY_KEY["redis"], values), targets, is_alerting=is_alerting) is state


def test_a_rule_belongs_to_a_component_by_the_metrics_that_it_reads():
    assert BY_KEY["storage"].owns_rule(["system_disk_available_bytes"])
    assert not BY_KEY["redis"].owns_rule(["system_disk_available_bytes", "up"])
    assert BY_KEY["worker"].owns_target("http", "worker")
    assert not BY_KEY["worker"].owns_target("http", "storefront")
