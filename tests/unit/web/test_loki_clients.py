"""
The requests of logcli and of Grafana's data source, parameter for parameter and with their headers.

Written after logcli's client (`pkg/logcli/client`, `pkg/logcli/query`) and Grafana's plugin (`pkg/tsdb/loki`,
`public/app/plugins/datasource/loki`); neither was run.
"""

from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from tests.unit.logs.logql.test_engine import AT, LINES, line
from tests.unit.web.test_loki_api import API, client, store
from toban.core.log_line import LogLevel

__all__ = ["client", "store"]

LOGCLI = {"user-agent": "loki-logcli/3.5.0", "x-scope-orgid": "", "x-query-tags": "Source=logcli"}
GRAFANA = {
    "user-agent": "Grafana/12.3.0",
    "x-query-tags": "Source=grafana",
    "x-loki-response-encoding-flags": "categorize-labels",
    "x-datasource-uid": "loki",
    "x-panel-id": "undefined",
    "accept-encoding": "gzip",
}
START, END = f"{AT}000000", f"{AT + 60_000}000000"
RANGE = {"start": START, "end": END}
API_LINES = [5, 4, 3]


async def ask(client: httpx2.AsyncClient, headers: dict[str, str], path: str, **parameters: str) -> Any:
    response = await client.get(f"{API}/{path}", params=parameters, headers=headers)
    assert response.status_code == 200, response.text
    return response.json()


def entries(answer: Any) -> list[tuple[int, str]]:
    """Return the lines of all streams, the newest first, as logcli sorts them."""
    found = [(int(value[0]), value[1]) for stream in answer["data"]["result"] for value in stream["values"]]
    return sorted(found, reverse=True)


async def batches(
    client: httpx2.AsyncClient, *, size: int, limit: int, is_forward: bool
) -> AsyncIterator[tuple[int, str]]:
    """
    Yield lines as `logcli query --batch SIZE --limit LIMIT` reads them.

    The next batch begins at the last line of this one, which is left out; `end` is exclusive: it adds a nanosecond.
    """
    start, end, overlap, total = int(START), int(END), set[tuple[int, str]](), 0
    while total < limit:
        wanted = min(size, limit - total) + len(overlap)
        found = entries(
            await ask(
                client, LOGCLI, "query_range", query='{service=~".+"}', limit=str(wanted), start=str(start),
                end=str(end), direction="FORWARD" if is_forward else "BACKWARD",
            )
        )  # fmt: skip  # as logcli builds it
        found = found[::-1] if is_forward else found
        new = [it for it in found if it not in overlap]
        for one in new:
            yield one
        total += len(new)
        if len(found) < wanted or not new:
            return
        last = found[-1][0]
        overlap = {it for it in found if it[0] == last}
        start, end = (last, end) if is_forward else (start, last + 1)


@pytest.mark.parametrize("is_forward", [False, True], ids=["newest first", "--forward"])
@pytest.mark.parametrize("size", [1, 3, 1000])
async def test_batches_of_logcli_have_each_line_once(client, store, size, is_forward):
    """
    Also lines of one millisecond, which logcli would take for one if their times were equal.
    """
    store.append([line(30, f"same {number}") for number in range(5)], {})
    texts = [text async for _, text in batches(client, size=size, limit=1000, is_forward=is_forward)]
    wanted = [it.message for it in [*LINES, *(line(30, f"same {number}") for number in range(5))]]
    read = [text.partition("\n")[0] for text in texts]
    assert read == (wanted if is_forward else wanted[::-1])


@pytest.mark.parametrize(
    ("path", "parameters", "data"),
    [
        ("query", {"query": 'sum(count_over_time({service="api"}[1m]))', "time": END, "limit": "30",
                   "direction": "BACKWARD"},
         {"resultType": "vector", "result": [{"metric": {}, "value": [AT // 1000 + 60, "3"]}], "stats": {}}),
        ("query_range", {"query": 'sum(count_over_time({service="api"}[1m]))', **RANGE, "step": "60", "limit": "30",
                         "direction": "BACKWARD"},
         {"resultType": "matrix", "result": [{"metric": {}, "values": [[AT // 1000 + 60, "3"]]}], "stats": {}}),
        ("labels", RANGE, ["category", "context", "detected_level", "environment", "instance", "level", "service",
                           "service_name"]),
        ("label/service/values", RANGE, ["api", "nginx", "proxy", "worker"]),
        ("series", {"match": '{context="Payments"}', **RANGE},
         [{"context": "Payments", "detected_level": "error", "level": "error", "service": "api",
           "service_name": "api"}]),
        ("index/volume", {"query": '{service="api"}', **RANGE, "limit": "30", "aggregateBy": "series",
                          "targetLabels": ""},
         {"resultType": "vector", "result": [{"metric": {"service": "api"}, "value": [AT // 1000 + 60, "84"]}],
          "stats": {}}),
        ("index/volume_range", {"query": '{service="api"}', **RANGE, "limit": "30", "aggregateBy": "labels",
                                "targetLabels": "", "step": "60"},
         {"resultType": "matrix", "result": [{"metric": {"service": ""}, "values": [[AT // 1000 + 60, "84"]]}],
          "stats": {}}),
    ],
)  # fmt: skip  # rows
async def test_requests_of_logcli(client, path, parameters, data):
    assert await ask(client, LOGCLI, path, **parameters) == {"status": "success", "data": data}


async def test_statistics_and_fields_of_logcli_have_no_envelope(client):
    found = await ask(client, LOGCLI, "index/stats", query='{service="api"}', **RANGE)
    assert found == {"streams": 3, "chunks": 3, "entries": 3, "bytes": 84}
    fields = {"query": '{service="api"}', **RANGE, "line_limit": "1000", "field_limit": "100", "step": "15"}
    found = await ask(client, LOGCLI, "detected_fields", **fields)
    assert [(it["label"], it["type"]) for it in found["fields"]] == [
        ("duration", "duration"), ("size", "bytes"), ("status", "int"), ("user_id", "int"),
    ]  # fmt: skip  # as it is read


async def test_grafana_saves_and_tests_its_data_source(client):
    found = await ask(client, GRAFANA, "query", query="vector(1)+vector(1)", direction="backward", time=END)
    assert [it["value"][1] for it in found["data"]["result"]] == ["2"]


@pytest.mark.parametrize("step", ["2000ms", "2s", "2", "0m2s"])
async def test_grafana_shows_lines_with_their_histogram(client, step):
    """
    Explore sends both at once; the histogram's interval is its step.
    """
    query = '{service="api"} |= ``'
    lines = await ask(
        client, GRAFANA, "query_range", query=query, limit="1000", direction="backward", step=step, **RANGE
    )
    assert lines["data"]["encodingFlags"] == ["categorize-labels"]
    assert all(len(value) == 3 for stream in lines["data"]["result"] for value in stream["values"])
    histogram = await ask(
        client, GRAFANA, "query_range", direction="backward", step=step, **RANGE,
        query=f"sum by (level, detected_level) (count_over_time({query} | drop __error__[2s]))",
    )  # fmt: skip  # as Grafana builds it
    counted = {it["metric"]["level"]: sum(int(n) for _, n in it["values"]) for it in histogram["data"]["result"]}
    assert counted == {"error": 1, "info": 1, "warn": 1}


async def test_grafana_s_label_browser_narrows_step_by_step(client):
    assert "service" in (await ask(client, GRAFANA, "labels", **RANGE))["data"]
    values = await ask(client, GRAFANA, "label/level/values", query='{service="api"}', **RANGE)
    assert values["data"] == ["error", "info", "warn"]
    series = await ask(client, GRAFANA, "series", **{"match[]": '{service="api",level="warn"}'}, **RANGE)
    assert [it["level"] for it in series["data"]] == ["warn"]
    assert (await ask(client, GRAFANA, "index/stats", query='{service="api"}', **RANGE))["entries"] == 3


@pytest.mark.parametrize(("direction", "texts"), [("FORWARD", [3, 4, 5]), ("BACKWARD", [1, 0])])
async def test_grafana_shows_the_lines_around_one(client, store, direction, texts):
    """
    Two hours to each side: from the line's millisecond on, where Grafana leaves out the line itself, and before it.
    """
    store.append([line(3, "later in the same millisecond", LogLevel.WARN)], {})
    wanted = [*LINES[:3], line(3, "later in the same millisecond"), *LINES[3:]]
    at, hours = AT + 3_000, 2 * 3_600_000
    start, end = (at, at + hours) if direction == "FORWARD" else (at - hours, at)
    found = entries(
        await ask(
            client, GRAFANA, "query_range", query='{service=~".+"}', limit="100", direction=direction, step="14400ms",
            start=f"{start}000000", end=f"{end}000000",
        )
    )  # fmt: skip  # as Grafana builds it
    read = [text.partition("\n")[0] for _, text in (found[::-1] if direction == "FORWARD" else found)]
    assert [text for text in read if text != LINES[2].message][: len(texts)] == [wanted[it].message for it in texts]
