"""The HTTP API of Loki."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette

from tests.fake_line_store import FakeLineStore
from tests.fakes import FakeClock
from tests.unit.logs.logql.test_engine import AT, LINES, START, line
from toban.core.log_line import LogLevel
from toban.logs.logql.engine import LogqlEngine
from toban.logs.logql.query_limits import LogqlLimits
from toban.logs.tiered_log_engine import TieredLogEngine
from toban.web.auth import TrustedAccess
from toban.web.fair_streaming import FairStreaming
from toban.web.loki_api import LokiApi

SECONDS = AT // 1000
API = "/loki/api/v1"


@pytest.fixture
def store() -> FakeLineStore:
    return FakeLineStore(LINES)


@pytest.fixture
async def client(store: FakeLineStore) -> AsyncIterator[httpx2.AsyncClient]:
    clock = FakeClock(START + timedelta(minutes=1))
    async with LogqlEngine(store, LogqlLimits()) as engine:
        app = Starlette(routes=LokiApi(TieredLogEngine(engine), clock, FairStreaming()).routes())
        transport = httpx2.ASGITransport(TrustedAccess(app))
        async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client:
            yield client


async def get(client: httpx2.AsyncClient, path: str, status: int = 200, /, **parameters: str) -> Any:
    response = await client.get(path if path[0] == "/" else f"{API}/{path}", params=parameters)
    assert response.status_code == status, response.text
    return response.json() if status == 200 else response.text


async def test_lines_are_streams_by_their_labels(client):
    found = await get(client, "query_range", query='{service="api"} | level="error"')
    assert found == {
        "status": "success",
        "data": {
            "resultType": "streams",
            "result": [
                {
                    "stream": {
                        "context": "Payments",
                        "detected_level": "error",
                        "level": "error",
                        "service": "api",
                        "service_name": "api",
                    },
                    "values": [
                        [str((AT + 1000) * 1_000_000 + 1), "payment failed\nError: declined\n    at pay (a.ts:1)"]
                    ],
                }
            ],
            "stats": {},
        },
    }


async def test_labels_are_categorized_for_clients_that_want_it(client):
    """
    Without the flag, all are labels of the stream.
    """
    query = {"query": '{service="nginx"} | json | __error__=""'}
    response = await client.get(
        f"{API}/query_range", params=query, headers={"x-loki-response-encoding-flags": "categorize-labels"}
    )
    data = response.json()["data"]
    assert data["encodingFlags"] == ["categorize-labels"]
    assert data["result"][0]["stream"] == {
        "detected_level": "info", "level": "info", "service": "nginx", "service_name": "nginx"
    }  # fmt: skip  # as it is read
    assert data["result"][0]["values"][0][2] == {"parsed": {"path": "/x", "status": "404"}}

    plain = (await get(client, "query_range", **query))["data"]
    assert plain["result"][0]["stream"]["status"] == "404"
    assert len(plain["result"][0]["values"][0]) == 2


async def test_metadata_has_the_trace_id_and_facts(client):
    response = await client.get(
        f"{API}/query_range",
        params={"query": '{service="nginx"} |= "10.0.0.1"'},
        headers={"x-loki-response-encoding-flags": "categorize-labels"},
    )
    ((_, _, categories),) = response.json()["data"]["result"][0]["values"]
    assert categories == {"structuredMetadata": {"trace_id": "ab" * 16}}


@pytest.mark.parametrize(
    ("parameters", "numbers"),
    [
        ({}, [7, 6, 5, 4, 3, 2, 1]),
        ({"direction": "FORWARD", "limit": "2"}, [1, 2]),
        ({"start": str(SECONDS + 2), "end": str(SECONDS + 4)}, [3, 2]),
        ({"start": f"{SECONDS + 2}.5", "end": f"{SECONDS + 4}000000001"}, [3]),
        ({"start": "2026-01-01T00:00:06Z"}, [7, 6]),
        ({"start": "2026-01-01T09:00:06.000000007+09:00"}, [7]),
        ({"start": f"{(AT + 3000) * 1_000_000 + 3}", "end": f"{(AT + 3000) * 1_000_000 + 4}"}, [3]),
        ({"since": "55s"}, [7, 6, 5]),
    ],
)
async def test_times_limit_and_direction(client, parameters, numbers):
    found = await get(client, "query_range", query='{service=~".+"}', **parameters)
    values = [value for stream in found["data"]["result"] for value in stream["values"]]
    values.sort(key=lambda it: int(it[0]), reverse=parameters.get("direction") != "FORWARD")
    assert [int(at) % 1_000_000 for at, _ in values] == numbers


async def test_pages_lose_no_lines_of_one_millisecond(client, store):
    """
    A client goes on before the time of the oldest line that it has.
    """
    store.append([line(30, f"same {number}") for number in range(5)], {})
    texts: list[str] = []
    end = str(SECONDS + 60)
    for _ in range(3):
        found = await get(client, "query_range", query='{service="api"} |= "same"', limit="2", end=end)
        values = [value for stream in found["data"]["result"] for value in stream["values"]]
        texts += [text for _, text in values]
        end = values[-1][0]
    assert texts == [f"same {number}" for number in (4, 3, 2, 1, 0)]


async def test_a_query_for_series_is_a_matrix(client):
    found = await get(
        client,
        "query_range",
        query='sum by (level, detected_level) (count_over_time({service="api"} | drop __error__[2000ms]))',
        start=str(SECONDS),
        end=str(SECONDS + 4),
        step="2000ms",
    )
    assert found["data"]["resultType"] == "matrix"
    assert found["data"]["result"] == [
        {"metric": {"detected_level": level, "level": level}, "values": [[SECONDS + at, "1"]]}
        for level, at in (("error", 2), ("info", 4), ("warn", 4))
    ]


async def test_both_ends_are_aligned_to_the_step(client):
    found = await get(
        client,
        "query_range",
        query='sum(count_over_time({service="api"}[10s]))',
        start=f"{SECONDS}.5",
        end=f"{SECONDS + 11}.5",
        step="10",
    )
    assert found["data"]["result"] == [{"metric": {}, "values": [[SECONDS + 10, "3"]]}]


async def test_grafana_tests_the_data_source(client):
    found = await get(client, "query", query="vector(1)+vector(1)", time=f"{AT}000000")
    assert found["data"] == {
        "resultType": "vector",
        "result": [{"metric": {}, "value": [SECONDS, "2"]}],
        "stats": {},
    }


async def test_an_instant_query_for_lines_is_rejected(client):
    assert await get(client, "query", 400, query='{service="api"}') == (
        "log queries are not supported as an instant query type, please change your query to a range query type"
    )


@pytest.mark.parametrize(
    ("path", "parameters", "text"),
    [
        ("query_range", {"query": "{"}, "parse error at line 1, col 2: syntax error: unexpected $end"),
        ("query_range", {"query": '{a="b"}', "limit": "10000"}, "(10000 > 5000)"),
        ("query_range", {"query": '{a="b"}', "limit": "0"}, "limit must be a positive value"),
        ("query_range", {"query": '{a="b"}', "direction": "up"}, "invalid direction 'up'"),
        ("query_range", {"query": '{a="b"}', "start": "yesterday"}, 'invalid time "yesterday"'),
        ("query_range", {"query": '{a="b"}', "start": "2", "end": "1"}, "end timestamp must not be before"),
        ("query_range", {"query": "vector(1)", "step": "x"}, 'cannot parse "x" to a valid duration'),
        ("query_range", {"query": "vector(1)", "step": "0"}, "zero or negative query resolution step"),
        ("query_range", {"query": "vector(1)", "start": "1", "step": "1"}, "exceeded maximum resolution"),
        ("series", {"match[]": '{a="b"} |= "x"'}, "only label matchers are supported"),
        ("label/level/values", {"query": "x"}, "parse error"),
    ],
)  # fmt: skip  # rows
async def test_errors_are_plain_text(client, path, parameters, text):
    assert text in await get(client, path, 400, **parameters)


async def test_a_store_in_trouble_is_retried(client, store):
    store.error = "logs: disk I/O error"
    response = await client.get(f"{API}/query_range", params={"query": '{service="api"}'})
    assert (response.status_code, response.headers["retry-after"]) == (503, "2")


async def test_a_query_may_be_posted(client):
    response = await client.post(f"{API}/query_range", data={"query": '{service="worker"}'})
    assert len(response.json()["data"]["result"]) == 1


async def test_labels_and_their_values(client):
    names = ["category", "context", "detected_level", "environment", "instance", "level", "service", "service_name"]
    for path in ("labels", "label"):
        assert await get(client, path) == {"status": "success", "data": names}
    assert (await get(client, "label/level/values"))["data"] == ["error", "info", "warn"]
    assert (await get(client, "label/service/values", query='{level!="info"}'))["data"] == ["api"]
    assert await get(client, "label/none/values") == {"status": "success"}


async def test_series_are_label_sets(client):
    """
    Logcli sends `match`, Grafana `match[]`.
    """
    proxy = {"service": "proxy", "service_name": "proxy", "level": "info", "detected_level": "info"}
    for name in ("match", "match[]"):
        assert await get(client, "series", **{name: '{service="proxy"}'}) == {"status": "success", "data": [proxy]}
    for match in ("{}", ""):
        assert len((await get(client, "series", match=match))["data"]) == 6


async def test_stats_and_volumes(client):
    assert await get(client, "index/stats", query='{service="api"}') == {
        "streams": 3, "chunks": 3, "entries": 3, "bytes": 84,
    }  # fmt: skip  # as it is read
    found = await get(client, "index/volume", query='{service=~"api|proxy"}')
    assert found["data"]["resultType"] == "vector"
    assert [(it["metric"], it["value"][1]) for it in found["data"]["result"]] == [
        ({"service": "api"}, "84"),
        ({"service": "proxy"}, "59"),
    ]
    found = await get(client, "index/volume", query='{service="api"}', targetLabels="level", limit="1")
    assert [it["metric"] for it in found["data"]["result"]] == [{"level": "error"}]
    found = await get(
        client, "index/volume_range", query='{service="api"}', start=str(SECONDS), end=str(SECONDS + 4), step="2"
    )
    assert found["data"]["result"] == [
        {"metric": {"service": "api"}, "values": [[SECONDS + 2, "50"], [SECONDS + 4, "34"]]},
    ]
    found = await get(client, "index/volume", query='{service="proxy"}', aggregateBy="labels")
    assert [(it["metric"], it["value"][1]) for it in found["data"]["result"]] == [({"service": ""}, "59")]


async def test_fields_are_detected(client):
    found = await get(client, "detected_fields", query='{service="api"}')
    kinds = (("duration", "duration", 2), ("size", "bytes", 2), ("status", "int", 2), ("user_id", "int", 1))
    fields = [{"label": name, "type": kind, "cardinality": count, "parsers": []} for name, kind, count in kinds]
    assert found == {"fields": fields, "limit": 1000}


async def test_a_large_result_is_complete(client, store):
    store.append([line(10, f"{number} " + "x" * 1000, LogLevel.DEBUG) for number in range(1500)], {})
    found = await get(client, "query_range", query='{level="debug"}', limit="2000")
    assert [len(it["values"]) for it in found["data"]["result"]] == [1500]


async def test_build_and_readiness(client):
    assert (await get(client, "status/buildinfo"))["version"] == "3.5.0"
    assert (await client.get("/ready")).text == "ready\n"
