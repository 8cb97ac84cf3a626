"""What collectors are lent, in tests."""

import httpx2
import pytest

from tests.fakes import FakeClock
from toban.collect.tools import Tools
from toban.core.metric_registry import Meters
from toban.shop.connections import Shop


@pytest.fixture
async def tools():
    async with httpx2.AsyncClient() as http:
        yield Tools(http, FakeClock(), Meters(), Shop())
