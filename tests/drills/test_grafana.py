"""Each request of Grafana's Prometheus data source has the response of a real Prometheus."""

from collections.abc import Iterator

import pytest

from tests import servers
from tests.openmetrics_files import block_writer, write_openmetrics_file
from tests.program import toban
from tests.prometheus_requests import request_api

Pair = tuple[str, str, int]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """A toban and a Prometheus that hold the same numbers, and the time of their end."""
    folder = tmp_path_factory.mktemp("grafana")
    file, end = write_openmetrics_file(folder, 2)
    nothing = folder / "toban.yaml"
    nothing.write_text("collect: [{kind: host, enabled: false}, {kind: toban, enabled: false}]\n")
    with (
        servers.prometheus(prepare=block_writer(file)) as prometheus,
        toban(folder / "d", "--config", str(nothing)) as program,
    ):
        program.until("is on duty")
        assert program.run("import", str(file)).returncode == 0
        yield program.url, f"http://127.0.0.1:{prometheus.port}", end


PANELS = [
    "seen_total",
    "sum by (shop) (rate(seen_total[1m]))",
    "sum(increase(seen_total[1h]))",
    "histogram_quantile(0.95, sum by (le) (rate(took_seconds_bucket[5m])))",
    "sum_over_time(load[10m]) > 2",
    "topk(1, seen_total) or load",
    "clamp_min(load, 3) / 2",
    'label_replace(seen_total, "s", "$1", "shop", "(.).*")',
    "time()",
    "absent(nothing)",
]
CALLS = [
    ("POST", "query", {"query": "1+1", "time": "4"}),
    *(("POST", "query_range", {"query": query, "start": "{start}", "end": "{end}", "step": "15"}) for query in PANELS),
    *(("POST", "query_range", {"query": query, "start": "{start}", "end": "{end}", "step": "47"}) for query in PANELS),
    *(("POST", "query", {"query": query, "time": "{end}"}) for query in PANELS),
    ("GET", "label/shop/values", {"start": "{start}", "end": "{end}"}),
    ("GET", "label/le/values", {"match[]": "took_seconds_bucket", "start": "{start}", "end": "{end}"}),
    ("GET", "label/__name__/values", {"match[]": ['{shop=~".+"}', "load"], "start": "{start}", "end": "{end}"}),
    ("POST", "labels", {"match[]": "seen_total", "start": "{start}", "end": "{end}"}),
    ("POST", "series", {"match[]": 'seen_total{shop!="berlin"}', "start": "{start}", "end": "{end}"}),
    ("POST", "query_exemplars", {"query": "rate(took_seconds_bucket[5m])", "start": "{start}", "end": "{end}"}),
    ("POST", "format_query", {"query": "sum(rate(seen_total[5m]))by(shop)"}),
    ("POST", "query", {"query": "seen_total{", "time": "{end}"}),
]


@pytest.mark.parametrize(("method", "path", "parameters"), CALLS)
def test_the_response_equals_that_of_prometheus(pair, method, path, parameters):
    """
    To the letter, but for the words of a mistake. No sample lies where the step falls: Prometheus 2 has windows closed
    on the left.
    """
    ours, theirs, end = pair

    def response_of(url):
        return request_api(url, path, filled, method)

    times = {"{start}": f"{end - 5400}.4", "{end}": f"{end - 60}.4"}
    filled = {name: value if isinstance(value, list) else times.get(value, value) for name, value in parameters.items()}
    (code, found), (wanted, expected) = response_of(ours), response_of(theirs)
    for response in (found, expected):
        response.pop("error", None)
        response.pop("infos", None)
        if path in {"query", "query_range"} and response.get("data", {}).get("resultType") in {"vector", "matrix"}:
            response["data"]["result"].sort(key=lambda it: sorted(it["metric"].items()))
    assert (code, found) == (wanted, expected)


@pytest.mark.parametrize("path", ["metadata", "rules", "alerts", "status/buildinfo", "targets"])
def test_requests_that_grafana_sends_with_get_only(pair, path):
    """
    About the programs themselves the two tell different things, in the same form.
    """
    (code, found), (wanted, expected) = request_api(pair[0], path), request_api(pair[1], path)
    assert (code, found["status"], type(found["data"])) == (wanted, expected["status"], type(expected["data"]))
    assert request_api(pair[0], path, {}, "POST")[0] == request_api(pair[1], path, {}, "POST")[0] == 405
