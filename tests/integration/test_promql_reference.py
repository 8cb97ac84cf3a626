"""The same questions to a real Prometheus and to toban, over the same random series."""

import json
import math
import random
import shutil
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests import servers
from tests.needs import need
from tests.promql_scripts import ScriptSource
from toban.core.labels import Labels, quote
from toban.core.query_result import QueryResult
from toban.promql.engine import PromqlEngine

# Prometheus 2 has windows closed on the left. Samples stand at quarters of a second, questions at halves: the edges of
# windows and lookback never meet a sample, and both versions say the same.
BEGIN = 1_700_000_000_250
SCRAPES = 240
START, END, STEP = BEGIN + 600_250, BEGIN + 3_300_250, 37_000

Series = dict[Labels, list[tuple[int, float]]]


def invented(seed: int) -> Series:
    """Counters with resets, gauges, and histograms, with gaps, late starts and early ends."""
    chance = random.Random(seed)
    series: Series = {}

    def add(labels: dict[str, str], value: float, kind: str) -> None:
        first, last = sorted(chance.sample(range(SCRAPES), 2)) if chance.random() < 0.3 else (0, SCRAPES)
        samples = []
        for scrape in range(first, last):
            if kind == "counter":
                # Far from nought: near it, Prometheus 3 extrapolates a counter otherwise than 2 does.
                value = 9000.0 if chance.random() < 0.02 else value + chance.choice([0, 0, 1, 2, 7.5])
            else:
                value = chance.choice([value, chance.gauss(0, 100)])
            if chance.random() > 0.06:
                samples.append((BEGIN + scrape * 15_000 + chance.choice([0, 1000, 2000]), value))
        series[Labels(labels)] = samples

    for shop in "ab":
        for instance in "123":
            labels = {"shop": shop, "instance": instance}
            for status in ("200", "404", "500"):
                add(
                    {**labels, "__name__": "requests_total", "status": status},
                    9000.0 + chance.randint(0, 50),
                    "counter",
                )
            add({**labels, "__name__": "load"}, 1.0, "gauge")
            add({**labels, "__name__": "limit"}, 3.0, "gauge")
            for le in ("0.1", "0.5", "1", "+Inf"):
                add({**labels, "__name__": "took_bucket", "le": le}, 9000.0, "counter")
    return series


def openmetrics(series: Series) -> str:
    """Write series as promtool reads them: a family's samples together."""
    lines: list[str] = []
    for labels, samples in sorted(series.items(), key=lambda item: item[0].name):
        inside = ",".join(f"{name}={quote(value)}" for name, value in labels.items() if name != "__name__")
        lines += [f"{labels.name}{{{inside}}} {value!r} {at / 1000:.3f}" for at, value in samples]
    return "\n".join([*lines, "# EOF", ""])


@pytest.fixture(scope="module")
def data() -> Series:
    return invented(20)


@pytest.fixture(scope="module")
def prometheus(data: Series) -> Iterator[str]:
    """A Prometheus that holds the series, and nothing else."""
    promtool = need("promtool", shutil.which("promtool"))

    def prepare(folder: Path) -> None:
        (folder / "data.om").write_text(openmetrics(data))
        subprocess.run(
            [str(promtool), "tsdb", "create-blocks-from", "openmetrics", "data.om", "data"],
            cwd=folder,
            check=True,
            capture_output=True,
        )

    with servers.prometheus(prepare=prepare) as server:
        yield f"http://127.0.0.1:{server.port}"


Table = dict[tuple[tuple[str, str], ...], dict[int, float]]


def theirs(address: str, query: str) -> Table:
    form = urllib.parse.urlencode(
        {"query": query, "start": START / 1000, "end": END / 1000, "step": STEP / 1000}
    ).encode()
    with urllib.request.urlopen(f"{address}/api/v1/query_range", form) as response:
        result = json.load(response)["data"]["result"]
    return {
        tuple(sorted(series["metric"].items())): {round(at * 1000): float(value) for at, value in series["values"]}
        for series in result
    }


def ours(answer: QueryResult) -> Table:
    return {
        tuple(points.labels.items()): dict(zip(points.times.tolist(), points.values.tolist(), strict=True))
        for points in answer.series
    }


RANGED = ["rate", "increase", "irate", "delta", "idelta", "deriv", "changes", "resets", "last_over_time"]
OVER_TIME = ["avg", "min", "max", "sum", "count", "stddev", "stdvar", "present", "absent"]
AGGREGATIONS = ["sum", "avg", "min", "max", "count", "group", "stddev", "stdvar"]
QUERIES = [
    *[f"{function}(requests_total[{span}])" for function in RANGED for span in ("2m", "5m")],
    *[f"{function}_over_time(load[3m])" for function in OVER_TIME],
    *[f"{operator} by (shop) (load)" for operator in AGGREGATIONS],
    *[f"{operator} without (instance, status) (rate(requests_total[4m]))" for operator in AGGREGATIONS],
    "requests_total",
    "timestamp(load)",
    "load offset 3m",
    "load offset -2m",
    f"load @ {(BEGIN + 1_000_250) / 1000}",
    "rate(requests_total[5m] @ end())",
    "quantile by (shop) (0.7, load)",
    "quantile_over_time(0.3, load[6m])",
    "predict_linear(load[6m], 300)",
    "histogram_quantile(0.9, rate(took_bucket[5m]))",
    "histogram_quantile(0.5, sum by (le, shop) (rate(took_bucket[5m])))",
    "topk(2, load)",
    "bottomk by (shop) (1, load)",
    'count_values("v", round(load))',
    "load > limit",
    "load >= bool limit",
    "load / on (shop, instance) limit",
    "requests_total * on (shop, instance) group_left () limit",
    "load and limit > 0",
    "load or requests_total",
    "load unless on (instance) limit > 0",
    "-load ^ 2 % 7",
    'sum(rate(requests_total{status=~"5.."}[5m])) / sum(rate(requests_total[5m]))',
    "max_over_time(rate(requests_total[2m])[10m:41s])",
    "sum_over_time((load > 0)[5m:1m])",
    "avg_over_time(sum by (shop) (load)[7m:])",
    'absent(load{shop="a", instance="1"})',
    'absent(load{shop="z"})',
    'label_replace(load, "where", "$1-x", "shop", "(.*)")',
    'label_join(load, "both", "/", "shop", "instance")',
    "clamp(load, -1, 50)",
    "sgn(load) + ceil(load) - floor(load)",
    "hour() + minute() / 100 + day_of_year()",
    "scalar(sum(load)) + time()",
    "vector(1) + on () group_right () load",
]


@pytest.mark.parametrize("query", QUERIES)
def test_results_equal_those_of_prometheus(prometheus: str, data: Series, query: str):
    """
    The same series, at the same steps, with the same values.
    """
    memory = ScriptSource()
    for labels, samples in data.items():
        memory.add(labels, samples)
    said, wanted = ours(PromqlEngine(memory).range(query, START, END, STEP)), theirs(prometheus, query)

    assert said.keys() == wanted.keys()
    for labels, points in wanted.items():
        assert said[labels].keys() == points.keys()
        np.testing.assert_allclose(
            [said[labels][at] for at in points], list(points.values()), rtol=1e-9, atol=1e-9, equal_nan=True
        )
    assert any(math.isfinite(value) for points in wanted.values() for value in points.values()) or not wanted
