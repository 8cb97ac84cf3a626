"""The same requests to toban and to a real Prometheus: the same status, error type and schema."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests import servers
from tests.program import Program, eventually, toban
from tests.prometheus_requests import request_api

RANGE = {"start": "1700000000", "end": "1700000060", "step": "15"}

WELL: list[tuple[str, dict[str, Any]]] = [
    ("query", {"query": "up"}),
    ("query", {"query": "1+1"}),
    ("query", {"query": "1+1", "time": "4"}),
    ("query", {"query": "1+1", "time": "1700000000.123"}),
    ("query", {"query": "1+1", "time": "2026-01-01T00:00:00Z"}),
    ("query", {"query": "1+1", "time": "2026-01-01T00:00:00.5+09:00"}),
    ("query", {"query": "1+1", "time": "-9"}),
    ("query", {"query": "1e6 / 0"}),
    ("query", {"query": "-1 / 0"}),
    ("query", {"query": "0 / 0"}),
    ("query", {"query": "vector(1e300)"}),
    ("query", {"query": "vector(0.1 + 0.2)"}),
    ("query", {"query": "1e-7"}),
    ("query", {"query": "1e21"}),
    ("query", {"query": "123456789"}),
    ("query", {"query": "-0"}),
    ("query", {"query": '"words \\" 当番"'}),
    ("query", {"query": "up[5m]"}),
    ("query", {"query": "nothing_like_it"}),
    ("query", {"query": "nothing_like_it[5m]"}),
    ("query", {"query": "vector(1)", "timeout": "5s"}),
    ("query", {"query": "vector(1)", "timeout": "2.5"}),
    ("query", {"query": "count(up) by (job)"}),
    ("query", {"query": "sort_desc(up)"}),
    ("query_range", {"query": "vector(time())", **RANGE}),
    ("query_range", {"query": "2", **RANGE}),
    ("query_range", {"query": "nothing_like_it", **RANGE}),
    ("query_range", {"query": "vector(1)", **RANGE, "step": "1m"}),
    ("query_range", {"query": "vector(1)", **RANGE, "step": "0.5"}),
    ("query_range", {"query": "vector(1)", "start": "0", "end": "11000", "step": "1"}),
    ("query_range", {"query": "vector(1)", **RANGE, "end": "1700000000"}),
    ("series", {"match[]": "up"}),
    ("series", {"match[]": ["up", "nothing_like_it"]}),
    ("series", {"match[]": "nothing_like_it"}),
    ("series", {"match[]": "up", "start": "0", "end": "1"}),
    ("labels", {}),
    ("labels", {"match[]": "up"}),
    ("labels", {"match[]": "nothing_like_it"}),
    ("labels", {"start": "0", "end": "1"}),
    ("label/job/values", {}),
    ("label/job/values", {"match[]": "up"}),
    ("label/nothing_like_it/values", {}),
    ("label/__name__/values", {"match[]": "up"}),
    ("metadata", {"metric": "nothing_like_it"}),
    ("metadata", {"metric": "process_cpu_seconds_total"}),
    ("metadata", {"metric": "process_cpu_seconds_total", "limit": "1"}),
    ("targets", {"state": "active"}),
    ("targets", {"state": "dropped"}),
    ("status/buildinfo", {}),
    ("status/runtimeinfo", {}),
    ("status/config", {}),
    ("status/tsdb", {}),
    ("query_exemplars", {"query": "up", "start": "0", "end": "1"}),
    ("query_exemplars", {"query": "up{", "start": "0", "end": "1"}),
    ("query_exemplars", {"query": "up"}),
    ("format_query", {"query": 'sum by(job)(rate(x{a=~"b"}[5m] offset 1m))'}),
    ("format_query", {"query": "sum("}),
]

WRONG: list[tuple[str, dict[str, Any]]] = [
    ("query", {}),
    ("query", {"query": ""}),
    ("query", {"query": "up{"}),
    ("query", {"query": "sum("}),
    ("query", {"query": "rate(up)"}),
    ("query", {"query": "up[5m:"}),
    ("query", {"query": "no_function(up)"}),
    ("query", {"query": "topk('a', up)"}),
    ("query", {"query": 'up{job=~"("}'}),
    ("query", {"query": "{}"}),
    ("query", {"query": "up offset"}),
    ("query", {"query": "vector(1) + on () (vector(1) or label_replace(vector(1), 'a', 'b', '', ''))"}),
    ("query", {"query": "up", "time": "abc"}),
    ("query", {"query": "up", "time": "2026-01-01"}),
    ("query", {"query": "up", "time": "2026-01-01T00:00:00"}),
    ("query", {"query": "up", "timeout": "abc"}),
    ("query_range", {"query": "up"}),
    ("query_range", {"query": "up", "start": "0"}),
    ("query_range", {"query": "up", "start": "0", "end": "10"}),
    ("query_range", {**RANGE}),
    ("query_range", {"query": "up", **RANGE, "end": "1"}),
    ("query_range", {"query": "up", **RANGE, "start": "abc"}),
    ("query_range", {"query": "up", **RANGE, "step": "0"}),
    ("query_range", {"query": "up", **RANGE, "step": "-1"}),
    ("query_range", {"query": "up", **RANGE, "step": "abc"}),
    ("query_range", {"query": "up", **RANGE, "step": "1e30"}),
    ("query_range", {"query": "up", **RANGE, "timeout": "abc"}),
    ("query_range", {"query": "up[5m]", **RANGE}),
    ("query_range", {"query": '"words"', **RANGE}),
    ("query_range", {"query": "up{", **RANGE}),
    ("query_range", {"query": "up", "start": "0", "end": "11001", "step": "1"}),
    ("series", {}),
    ("series", {"match[]": "up{"}),
    ("series", {"match[]": "{}"}),
    ("series", {"match[]": "rate(up[5m])"}),
    ("series", {"match[]": "up", "start": "abc"}),
    ("series", {"match[]": "up", "end": "abc"}),
    ("series", {"match[]": ["up", "1+"]}),
    ("labels", {"match[]": "up{"}),
    ("labels", {"match[]": '{job=~".*"}'}),
    ("labels", {"start": "abc"}),
    ("label/b-ad/values", {}),
    ("label/job/values", {"match[]": "up{"}),
    ("label/job/values", {"end": "abc"}),
    ("metadata", {"limit": "abc"}),
    ("nothing_like_it", {}),
]

GET_ONLY = ("label/", "metadata", "targets", "status/", "nothing_like_it")
REQUESTS = [
    pytest.param(method, path, parameters, id=f"{method} {path} {json.dumps(parameters)}")
    for path, parameters in WELL + WRONG
    for method in ("GET", "POST")
    if method == "GET" or not path.startswith(GET_ONLY)
]
CONSTANT = [
    pytest.param(path, parameters, id=f"{path} {json.dumps(parameters)}")
    for path, parameters in WELL
    if path == "query_range" or "time" in parameters or ("timeout" not in parameters and path == "query")
    if "up" not in parameters["query"]
]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    with toban(tmp_path_factory.mktemp("toban") / "data") as program:
        program.until("is on duty")
        yield program


@pytest.fixture(scope="module")
def prometheus(program: Program) -> Iterator[str]:
    """A Prometheus that scrapes it, so that both have something to tell."""
    target = program.url.removeprefix("http://")
    scrape = {
        "job_name": "toban",
        "scrape_interval": "1s",
        "honor_labels": True,
        "static_configs": [{"targets": [target]}],
    }
    with servers.prometheus(json.dumps({"scrape_configs": [scrape]})) as server:
        address = f"http://127.0.0.1:{server.port}"
        eventually(lambda: request_api(address, "query", {"query": "up == 1"})[1]["data"]["result"])
        yield address


def shape(json_value: Any, name: str = "") -> Any:
    """Return an answer with sorts in place of leaves; the first of a list stands for all, and labels for labels."""
    if isinstance(json_value, dict) and name in {"metric", "labels", "discoveredLabels"}:
        return "labels"
    if isinstance(json_value, dict):
        return {key: shape(value, key) for key, value in json_value.items()}
    if isinstance(json_value, list) and all(isinstance(one, list | dict | str) for one in json_value):
        return [shape(one) for one in json_value[:1]]
    if isinstance(json_value, list):
        return [shape(one) for one in json_value]
    return "number" if isinstance(json_value, int | float) else type(json_value).__name__


def holds(ours: Any, theirs: Any) -> bool:
    """Tell whether all that a client of Prometheus may look for is there; there may be more, as in newer versions."""
    if isinstance(theirs, dict):
        return isinstance(ours, dict) and all(key in ours and holds(ours[key], theirs[key]) for key in theirs)
    if isinstance(theirs, list):
        return isinstance(ours, list) and len(ours) == len(theirs) and all(map(holds, ours, theirs))
    return bool(ours == theirs)


@pytest.mark.parametrize(("method", "path", "parameters"), REQUESTS)
def test_the_response_has_the_same_schema(program, prometheus, method, path, parameters):
    """
    The same status code, and for whoever asked something wrong the same error type.
    """
    (code, ours), (wanted, theirs) = (request_api(url, path, parameters, method) for url in (program.url, prometheus))
    assert code == wanted, ours
    if wanted >= 400 and isinstance(theirs, dict):
        assert (ours["status"], ours["errorType"]) == (theirs["status"], theirs["errorType"])
    assert holds(shape(ours), shape(theirs)), (ours, theirs)


@pytest.mark.parametrize(("path", "parameters"), CONSTANT)
def test_responses_independent_of_data_are_identical(program, prometheus, path, parameters):
    """
    Numbers are written alike, in vectors, matrices and scalars.
    """
    given = parameters if path == "query_range" else {"time": "1700000000.25", **parameters}
    assert request_api(program.url, path, given) == request_api(prometheus, path, given)


@pytest.mark.parametrize("path", ["label/job/values", "metadata", "targets", "status/buildinfo"])
def test_get_only_endpoints_reject_post(program, prometheus, path):
    """
    Grafana asks again with GET when it is told so.
    """
    assert request_api(program.url, path, {}, "POST")[0] == request_api(prometheus, path, {}, "POST")[0] == 405
