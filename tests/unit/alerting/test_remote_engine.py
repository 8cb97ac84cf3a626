"""The presence of data in a remote engine."""

from datetime import timedelta

import pytest

from tests.rule_evaluation import START, ImmediateEngine, load_series
from toban.alerting.remote_engine import RemoteRuleEngine
from toban.core.errors import StoreError
from toban.core.samples import milliseconds
from toban.promql.engine import LOOKBACK

SERIES = """up{job="a"} 1x40
up{job="b"} 1x8
errors_total{job="a"} 0+1x40
"""
AT = milliseconds(START) + 600_000
"""Ten minutes on: `up{job="b"}` has ended eight minutes before."""


@pytest.mark.parametrize(
    "query",
    [
        "up",
        'up{job="b"}',
        'up{job="b"} offset 5m',
        'up{job="b"} @ 60 or up',
        "nothing",
        "nothing or up",
        "up and nothing",
        "absent(nothing)",
        'rate(errors_total{job="a"}[5m]) > 3',
        'rate(errors_total{job="b"}[5m])',
        'sum(rate(errors_total[5m])) / sum(up) unless up{job="b"}',
        "max_over_time(rate(errors_total[1m])[5m:1m])",
        "vector(1)",
        "1 > bool 0",
    ],
)
async def test_presence_is_that_of_the_selected_samples(query):
    """
    Selector by selector, with its offset and its range.
    """
    engine = ImmediateEngine(load_series(SERIES))
    ours = engine.engine.presence(query, AT)
    assert await RemoteRuleEngine(engine, LOOKBACK).presence(query, AT) == ours


async def test_an_error_of_the_remote_engine_is_an_error_of_the_rule():
    """
    It is no answer, and no absence either.
    """
    engine = ImmediateEngine(load_series(SERIES))
    engine.error = StoreError("gone")
    with pytest.raises(StoreError, match="gone"):
        await RemoteRuleEngine(engine, timedelta(minutes=5)).presence("up", AT)
    with pytest.raises(StoreError, match="gone"):
        await RemoteRuleEngine(engine, timedelta(minutes=5)).instant("up", AT)
