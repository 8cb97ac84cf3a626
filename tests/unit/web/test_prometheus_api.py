"""The HTTP API of Prometheus."""

import asyncio
import math

import pytest
from starlette.applications import Starlette

from tests.fakes import FakeClock
from tests.promql_scripts import ScriptSource
from tests.unit.web.conftest import AT, DOWN, UP
from toban.web.auth import TrustedAccess
from toban.web.fair_streaming import FairStreaming
from toban.web.prometheus_api import PrometheusApi
from toban.web.prometheus_json import sample_text

SECONDS = AT // 1000


async def get_json(client, path, code=200, /, **parameters):
    response = await client.get(path, params=parameters)
    assert response.status_code == code, response.text
    return response.json()


async def test_an_instant_query_returns_a_vector_with_text_values(client):
    """
    Times are numbers, values are texts.
    """
    found = await get_json(client, "/api/v1/query", query="up", time=str(SECONDS))

    assert found == {
        "status": "success",
        "data": {
            "resultType": "vector",
            "result": [
                {"metric": {"__name__": "up", **DOWN}, "value": [SECONDS, "0"]},
                {"metric": {"__name__": "up", **UP}, "value": [SECONDS, "1"]},
            ],
        },
    }


@pytest.mark.parametrize(
    ("query", "data"),
    [
        ("1+1", {"resultType": "scalar", "result": [4, "2"]}),
        ('"a"', {"resultType": "string", "result": [4, "a"]}),
        ("nothing", {"resultType": "vector", "result": []}),
    ],
)
async def test_scalar_and_string_results(client, query, data):
    """
    As Grafana's "save & test" asks.
    """
    assert (await client.post("/api/v1/query", data={"query": query, "time": "4"})).json()["data"] == data


async def test_a_range_query_returns_a_matrix_with_both_ends(client):
    """
    Start and end included.
    """
    found = await get_json(
        client, "/api/v1/query_range", query="sum(up)", start=str(SECONDS - 30), end=str(SECONDS), step="15s"
    )
    assert found["data"] == {
        "resultType": "matrix",
        "result": [{"metric": {}, "values": [[SECONDS - 30, "2"], [SECONDS - 15, "2"], [SECONDS, "1"]]}],
    }


async def test_a_range_selector_keeps_its_own_times(client):
    """
    An instant query of `up[1m]` is a matrix.
    """
    found = await get_json(client, "/api/v1/query", query="up[31s]", time=f"{SECONDS}.5")
    assert found["data"]["result"][0]["values"] == [[SECONDS - 30, "1"], [SECONDS, "0"]]


async def test_results_over_the_limit_are_truncated_with_a_warning(client):
    """
    Whoever asks for one series is told that there are more.
    """
    found = await get_json(client, "/api/v1/query", query="up", limit="1")
    assert len(found["data"]["result"]) == 1
    assert found["warnings"] == ["results truncated due to limit"]


async def test_series_labels_and_values(client):
    """
    Sorted, chosen by selectors, over all time unless said otherwise.
    """
    series = await get_json(client, "/api/v1/series", **{"match[]": 'up{job="host"}'})
    assert series["data"] == [{"__name__": "up", **UP}]
    assert (await get_json(client, "/api/v1/labels"))["data"] == ["__name__", "instance", "job", "mount"]
    assert (await get_json(client, "/api/v1/label/job/values"))["data"] == ["host", "postgres"]
    chosen = await get_json(client, "/api/v1/label/job/values", **{"match[]": "system_disk_usage_bytes"})
    assert chosen["data"] == ["host"]
    assert (await get_json(client, "/api/v1/label/job/values", end="1"))["data"] == []


async def test_targets_have_the_result_of_their_last_scrape(client):
    """
    Up, down with the reason, and not known yet.
    """
    found = (await get_json(client, "/api/v1/targets"))["data"]["activeTargets"]
    assert [(one["scrapePool"], one["health"], one["lastError"]) for one in found] == [
        ("host", "up", ""),
        ("postgres", "down", "<b>wrong password</b>"),
        ("late", "unknown", ""),
    ]


async def test_the_build_information_is_that_of_prometheus(client):
    """
    Without `features`, or Grafana would take toban for Mimir.
    """
    found = (await get_json(client, "/api/v1/status/buildinfo"))["data"]
    assert found["application"] == "toban"
    assert "features" not in found


@pytest.mark.parametrize(
    ("path", "parameters", "code", "kind", "words"),
    [
        ("query", {"query": "up{"}, 400, "bad_data", 'invalid parameter "query": 1:4: parse error'),
        ("query", {"query": ""}, 400, "bad_data", "parse error"),
        ("query", {"query": "up", "time": "abc"}, 400, "bad_data", 'cannot parse "abc" to a valid timestamp'),
        ("query", {"query": "up", "time": "2026-01-01"}, 400, "bad_data", "to a valid timestamp"),
        ("query", {"query": "up", "time": "9223372036854775808"}, 400, "bad_data", "to a valid timestamp"),
        ("query_range", {"query": "up", "start": "0", "end": "1e300", "step": "1"}, 400, "bad_data", '"end": cannot'),
        ("query", {"query": "up", "limit": "9" * 5_000}, 400, "bad_data", 'invalid parameter "limit"'),
        ("query", {"query": "up", "timeout": "x"}, 400, "bad_data", 'cannot parse "x" to a valid duration'),
        ("query", {"query": "up", "limit": "-1"}, 400, "bad_data", 'invalid parameter "limit"'),
        ("query", {"query": "up * on() up"}, 422, "execution", "many-to-many"),
        ("query_range", {"query": "up", "start": "2", "end": "1", "step": "1"}, 400, "bad_data", "must not be before"),
        ("query_range", {"query": "up", "start": "1", "end": "2", "step": "0"}, 400, "bad_data", "zero or negative"),
        ("query_range", {"query": "up", "start": "1", "end": "2"}, 400, "bad_data", 'parameter "step"'),
        ("query_range", {"query": "up", "start": "0", "end": "11001", "step": "1"}, 400, "bad_data", "11,000 points"),
        ("query_range", {"query": "up[1m]", "start": "1", "end": "2", "step": "1"}, 400, "bad_data", "range vector"),
        ("query_range", {"query": "up", "end": "2", "step": "1"}, 400, "bad_data", 'parameter "start"'),
        ("series", {}, 400, "bad_data", "no match[] parameter provided"),
        ("series", {"match[]": "up + 1"}, 400, "bad_data", 'invalid parameter "match[]": parse error'),
        ("series", {"match[]": "{}"}, 400, "bad_data", "non-empty matcher"),
        ("label/b-ad/values", {}, 400, "bad_data", 'invalid label name: "b-ad"'),
    ],
)
async def test_errors_have_prometheus_types_and_status_codes(client, path, parameters, code, kind, words):
    """
    The same codes, kinds and, where others match on them, words.
    """
    found = await get_json(client, f"/api/v1/{path}", code, **parameters)
    assert (found["status"], found["errorType"]) == ("error", kind)
    assert words in found["error"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.0, "1"),
        (0.1, "0.1"),
        (1e6, "1000000"),
        (123456789012345680.0, "123456789012345680"),
        (1e21, "1e+21"),
        (1e-6, "0.000001"),
        (1.5e-7, "1.5e-07"),
        (-0.0, "-0"),
        (2.0**60, "1152921504606847000"),
        (5e-324, "5e-324"),
        (math.nan, "NaN"),
        (math.inf, "+Inf"),
        (-math.inf, "-Inf"),
    ],
)
def test_values_are_formatted_as_by_prometheus(value, text):
    """
    Like a number in JavaScript, with Go's exponent of two digits.
    """
    assert sample_text(value) == text


async def test_a_query_is_cancelled_when_its_client_disconnects():
    """
    What nobody waits for costs nothing.
    """
    begun, ended = asyncio.Event(), asyncio.Event()

    class Slow:
        async def instant(self, query, at, *, time_limit=None):
            begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

    app = TrustedAccess(
        Starlette(routes=PrometheusApi(Slow(), ScriptSource(), list, FakeClock(), FairStreaming()).routes())
    )
    messages = asyncio.Queue()
    messages.put_nowait({"type": "http.request", "body": b"", "more_body": False})
    scope = {"type": "http", "method": "GET", "path": "/api/v1/query", "query_string": b"query=up", "headers": []}

    async def send(message):
        """Nobody hears it."""

    asking = asyncio.ensure_future(app(scope, messages.get, send))
    await begun.wait()
    assert not ended.is_set()
    messages.put_nowait({"type": "http.disconnect"})
    await ended.wait()
    await asking
