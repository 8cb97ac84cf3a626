"""How many silences are kept."""

from datetime import timedelta
from types import SimpleNamespace

import pytest

from tests.fakes import FakeClock
from toban.core import input_limits
from toban.core.matchers import Matcher, MatchOperator
from toban.core.metric_registry import MetricRegistry
from toban.notify import repository
from toban.notify.silences import Silence
from toban.state.backends import SqliteBackend
from toban.state.database import State
from toban.web.alerts_api import AlertsApi, InvalidRequestError


async def test_silences_that_have_not_ended_are_bounded(tmp_path, monkeypatch):
    """
    Each is looked at in each decision: 10,000 of them held everything up. One that is changed, or ended, is no further.
    """
    monkeypatch.setattr(input_limits, "SILENCES", 3)
    clock = FakeClock()

    def silence(name, hours=1):
        now = clock.now()
        matchers = (Matcher("severity", MatchOperator.EQUAL, "info"),)
        return Silence(name, matchers, now, now + timedelta(hours=hours), "ann", "tea", now)

    async with State(SqliteBackend(tmp_path / "toban.db"), clock, MetricRegistry()) as state:
        alerts = AlertsApi(None, SimpleNamespace(wake=lambda: None), None, state, clock)  # type: ignore[arg-type]  # nothing else is asked of them
        for name in "abc":
            await alerts.keep(silence(name))
        with pytest.raises(
            InvalidRequestError, match="there are 3 silences that have not ended: end some of them first"
        ):
            await alerts.keep(silence("d"))
        assert await alerts.keep(silence("e", 2), instead_of="a") == "a"
        assert await alerts.expire("b", "ann")
        assert await alerts.keep(silence("d")) == "d"
        clock.advance(timedelta(hours=3).total_seconds())
        assert await alerts.keep(silence("f")) == "f"
        assert {it.id for it in await state.transaction(repository.silences)} == {"a", "b", "c", "d", "f"}
