"""What is opened for log lines, and what a reload changes."""

import httpx2

from tests.fake_log_engines import FakeLokiEngine
from tests.fakes import FakeClock
from toban.core.metric_registry import MetricRegistry
from toban.logs.assembly import open_logs
from toban.logs.logql.search import LineSearch
from toban.logs.logql.simple_search import parse_search
from toban.logs.settings import LogSettings


async def test_a_reload_adds_and_removes_the_outside_engine(tmp_path):
    async with FakeLokiEngine() as fake_loki, httpx2.AsyncClient() as http:
        fake_loki.lines = [(1_767_225_600_000_000_000, {"level": "info"}, "old", {})]
        settings = LogSettings.model_validate({"outside": {"kind": "loki", "url": fake_loki.url}})
        meters = MetricRegistry()
        async with open_logs(LogSettings(), tmp_path, http, meters, FakeClock(), meters) as logs:

            async def texts() -> list[str]:
                wanted = LineSearch(parse_search(""), 1_767_225_600_000, 1_767_225_600_001, 10)
                return [line.text for line in (await logs.engine.lines(wanted)).lines]

            assert await texts() == []
            logs.configure(settings)
            assert await texts() == ["old"]
            logs.configure(LogSettings())
            assert await texts() == []
