"""toban beside a real Prometheus and a real VictoriaMetrics: the same samples in both after downtimes."""

import json
import urllib.request
from contextlib import contextmanager

import numpy as np
import pytest
import yaml

from tests import servers
from tests.page_server import Page, serve_page
from tests.program import eventually, toban
from tests.prometheus_requests import request_api
from toban.core.labels import Labels
from toban.core.samples import Batch, Layout
from toban.remote.remote_write_model import HEADERS
from toban.remote.remote_write_protobuf import Encoder

ENGINES = {"prometheus": servers.prometheus, "victoria": servers.victoria}


@contextmanager
def running(engine, folder, page, **more):
    """Run toban sending to an engine and asking it."""
    at = address(engine)
    settings = {
        "collect": [
            {"kind": "scrape", "name": "page", "url": page.url, "interval": "1s"},
            *({"kind": kind, "enabled": False} for kind in ("host", "toban")),
        ],
        "metrics": {"remote": {"write_url": f"{at}/api/v1/write", "query_url": at, "labels": {"house": "mine"}}},
        **more,
    }
    (folder / "toban.yaml").write_text(yaml.safe_dump(settings))
    with toban(folder / "data", "--config", str(folder / "toban.yaml")) as program:
        program.until("is on duty")
        yield program


def address(engine):
    return f"http://127.0.0.1:{engine.port}"


def samples(url, query, at):
    """Return the raw samples of a range, without the label that toban gave."""
    _, result = request_api(url, "query", {"query": query, "time": str(at)})
    found = result["data"]["result"]
    return {
        json.dumps({name: value for name, value in one["metric"].items() if name != "house"}, sort_keys=True): one[
            "values"
        ]
        for one in found
    }


def put(engine, labels, *rows):
    """Put samples into an engine: values and times in seconds."""
    layout = Layout([labels])
    body, _ = Encoder({}).encode(Batch(layout, round(at * 1000), np.array([value])) for value, at in rows)
    request = urllib.request.Request(f"{address(engine)}/api/v1/write", body, dict(HEADERS))
    with urllib.request.urlopen(request, timeout=10) as response:
        assert response.status == 204


def newest(program):
    """Return the time of the newest look."""
    return program.value('timestamp(up{job="page"})')


@pytest.mark.parametrize("away", [4, pytest.param(600, marks=[pytest.mark.soak, pytest.mark.timeout(1200)])])
@pytest.mark.parametrize("name", ENGINES)
def test_a_remote_engine_has_every_sample_once_after_downtime(name, away, tmp_path):
    """
    It is stopped in the middle and started again; toban is killed meanwhile.
    """
    with serve_page(Page("a_total 1\nb 2.5\n")) as page, ENGINES[name]() as engine:
        with running(engine, tmp_path, page) as program:
            # Not from the first sample on: what is older than it is asked of the remote engine.
            begin = eventually(lambda: newest(program)) + 0.5
            eventually(lambda: newest(program) > begin + 3)
            engine.stop()  # killed, VictoriaMetrics loses what it said it had taken
            eventually(lambda: "samples wait since" in program.get("/-/healthy")[1])
            before = newest(program)
            for seconds in (*range(30, away, 30), away):
                eventually(lambda until=before + seconds: newest(program) > until)
            program.kill()
        with running(engine, tmp_path, page) as program:
            restarted = eventually(lambda: newest(program), lambda at: at > before + away + 1)
            eventually(lambda: newest(program) > restarted + 2)
            engine.start()
            eventually(lambda: program.get("/-/healthy")[0] == 200)
            at = newest(program)
            query = f'{{job="page", __name__=~"a_total|b|scrape_samples_scraped"}}[{round((at - begin) * 1000)}ms]'
            held = samples(program.url, query, at)
            eventually(lambda: samples(address(engine), query, at), lambda found: found == held)
            assert all(len({at for at, _ in values}) == len(values) > away + 5 for values in held.values())
            assert len(held) == 3


@pytest.mark.parametrize("name", ENGINES)
def test_queries_beyond_retention_run_on_the_remote_engine(name, tmp_path):
    """
    By a question that reaches further back, and by rules that say so; what toban holds it answers itself.
    """
    rule = {"alert": "from_outside", "expr": "elsewhere > 1", "labels": {"severity": "warning"}}
    group = {"name": "theirs", "engine": "outside", "interval": "1s", "rules": [rule]}
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": [group]}))
    alerting = {"rules": [str(tmp_path / "rules.yaml")], "shipped": False}
    with (
        serve_page(Page("a_total 1\n")) as page,
        ENGINES[name]() as engine,
        running(engine, tmp_path, page, alerting=alerting) as program,
    ):
        eventually(lambda: program.query("a_total"))
        now = newest(program)
        put(engine, Labels(__name__="elsewhere", job="x"), (7.0, now - 3000), (8.0, now))
        eventually(lambda: program.query('ALERTS{alertname="from_outside", alertstate="firing"}'))
        assert values(program, "elsewhere", now - 2999) == ["7"]
        assert values(program, "sum(elsewhere)", now) == ["8"]
        engine.kill()
        _, result = request_api(program.url, "query", {"query": "elsewhere", "time": str(now - 2999)})
        assert result["data"]["result"] == []
        assert "is unreachable" in result["warnings"][0]
        assert values(program, "a_total", newest(program)) == ["1"]


def test_a_real_prometheus_writes_to_toban(tmp_path):
    """
    By remote write: the same numbers in both, and what it knows of its metrics.
    """
    (tmp_path / "toban.yaml").write_text(yaml.safe_dump({"collect": [{"kind": "host", "enabled": False}]}))
    with toban(tmp_path / "data", "--config", str(tmp_path / "toban.yaml")) as program:
        program.until("is on duty")
        port = servers.free_port()
        scraped = {"job_name": "itself", "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}
        write = {"url": f"{program.url}/api/v1/write", "metadata_config": {"send_interval": "1s"}}
        configuration = {"global": {"scrape_interval": "1s"}, "scrape_configs": [scraped], "remote_write": [write]}
        with servers.prometheus(yaml.safe_dump(configuration), port=port) as engine:
            query = '{job="itself"}[1m]'
            eventually(lambda: program.query('count_over_time(up{job="itself"}[1m]) > 5'))
            at = program.value('timestamp(up{job="itself"})')
            held = samples(address(engine), query, at)
            eventually(lambda: samples(program.url, query, at), lambda found: found == held)
            assert len(held) > 300
            result = eventually(lambda: request_api(program.url, "metadata", {"metric": "go_goroutines"})[1]["data"])
            assert result == request_api(address(engine), "metadata", {"metric": "go_goroutines"})[1]["data"]


def values(program, query, at):
    """Return what a question comes to."""
    _, result = request_api(program.url, "query", {"query": query, "time": str(at)})
    return [one["value"][1] for one in result["data"]["result"]]
