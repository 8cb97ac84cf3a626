"""Queries described before they are run."""

import json

import pytest

from tests.fakes import FakeClock
from tests.unit.web.conftest import AT, NOW
from toban.core.actor import ANONYMOUS
from toban.core.errors import InvalidCommandError
from toban.web.api.queries import DescribeQueriesRequest, QueriesApi


async def described(source, *queries, **more):
    request = DescribeQueriesRequest.model_validate({"queries": json.dumps(queries), **more})
    return await QueriesApi(source, FakeClock(NOW)).describe(request, ANONYMOUS)


async def test_a_query_names_its_metrics_and_since_when_they_have_samples(source):
    """
    One that nobody has stored says which sources of a shop would provide it.
    """
    found = await described(source, "up / vendure_orders_created_total")
    up, orders = found.queries[0].metrics
    assert (up.name, up.oldest, up.sources) == ("up", AT - 60_000, [])
    assert orders.oldest is None
    assert "tables" in orders.sources


async def test_an_error_has_its_line_and_column(source):
    """
    And costs the other queries nothing.
    """
    wrong, right = (await described(source, "sum(up)\n  by (", "up")).queries
    assert (wrong.line, wrong.column) == (2, 6)
    assert wrong.error.startswith("parse error")
    assert (right.error, right.line) == ("", None)


async def test_the_range_lies_on_the_grid_of_its_step(source):
    found = await described(source, **{"from": "now-1h", "to": "now", "points": 100})
    assert found.step == 60_000
    assert (found.start % found.step, found.end % found.step) == (0, 0)
    assert found.end - found.start == 3_600_000


async def test_a_range_that_is_none_is_refused(source):
    with pytest.raises(InvalidCommandError, match="write it like now-6h"):
        await described(source, **{"from": "yesterday"})
