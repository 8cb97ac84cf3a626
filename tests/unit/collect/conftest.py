"""Tools of collectors in tests."""

import httpx2
import pytest

from tests.fakes import FakeClock
from toban.collect.tools import CollectorTools
from toban.core.metric_registry import MetricRegistry
from toban.shop.connections import ShopConnections


@pytest.fixture
async def tools():
    async with httpx2.AsyncClient() as http:
        yield CollectorTools(http, FakeClock(), MetricRegistry(), ShopConnections())
