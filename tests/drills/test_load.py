"""Large exporters, busy dashboards and thousands of alerts: no run is missed, memory stays, health responds."""

import json
import os
import random
import threading
import time
import urllib.parse
import urllib.request
from itertools import count
from pathlib import Path

import pytest
import yaml

from tests.page_server import Page, serve_page
from tests.program import toban
from toban.alerting.external_alerts import MAX_ALERTS

SERIES, MINUTES = 10_000, 30
BOUNDS = ("0.1", "0.3", "0.5", "0.7", "1.0", "3.0", "5.0", "7.0", "10.0", "+Inf")
DASHBOARD = [
    "histogram_quantile(0.95, sum by (le) (rate(vendure_api_duration_seconds_bucket[5m])))",
    "histogram_quantile(0.50, sum by (le) (rate(vendure_api_duration_seconds_bucket[5m])))",
    "sum by (status) (rate(vendure_api_requests_total[5m]))",
    'sum(rate(vendure_api_requests_total{status=~"5.."}[5m])) / sum(rate(vendure_api_requests_total[5m])) * 100',
    'load{place="7"}',
    "avg(load)",
    "max_over_time(load{place=~'1.'}[10m])",
    "sum(rate(vendure_orders_created_total[1h])) * 3600",
    "topk(5, rate(vendure_api_requests_total[5m]))",
]


def exporter():
    """Return what writes the page of 10,000 series: each time it is read, they have gone on."""
    scrapes, chance = count(1), random.Random(7)

    def page():
        scrape = next(scrapes)
        lines = [
            f'vendure_api_duration_seconds_bucket{{endpoint="/{endpoint}",le="{bound}"}} {scrape * (place + 1)}'
            for endpoint in range(SERIES * 6 // 10 // len(BOUNDS))
            for place, bound in enumerate(BOUNDS)
        ]
        for number in range(SERIES * 3 // 10):
            labels = f'endpoint="/{number // 4}",status="{(200, 302, 404, 500)[number % 4]}"'
            lines.append(f"vendure_api_requests_total{{{labels}}} {scrape * 3}")
        lines += [f'vendure_orders_created_total{{channel="{number}"}} {scrape}' for number in range(10)]
        lines += [f'load{{place="{number}"}} {chance.gauss(scrape, 9):.3f}' for number in range(SERIES - len(lines))]
        return "\n".join([*lines, ""])

    return page


def viewer(url, stop, took):
    """Look at each panel every five seconds, over six hours."""
    while not stop.wait(5):
        now = time.time()
        for query in DASHBOARD:
            form = {"query": query, "start": now - 6 * 3600, "end": now, "step": 60}
            began = time.monotonic()
            with urllib.request.urlopen(f"{url}/api/v1/query_range", urllib.parse.urlencode(form).encode()) as answer:
                answer.read()
            took.append(time.monotonic() - began)


def processor(process):
    """Return seconds."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.soak
@pytest.mark.timeout(3000)
def test_no_run_is_missed_beside_three_dashboards(tmp_path):
    """
    For half an hour; and memory is flat once it has what it needs.
    """
    settings = {"alerting": {"evaluation_interval": "15s"}, "collect": []}
    with serve_page(Page(exporter(), media="text/plain; version=0.0.4")) as page:
        settings["collect"].append({"kind": "scrape", "name": "large", "url": page.url, "limit": 20_000})
        (tmp_path / "toban.yaml").write_text(yaml.safe_dump(settings))
        # A process of its own: its memory is measured.
        with toban(tmp_path / "data", "--config", str(tmp_path / "toban.yaml"), fresh=True) as program:
            program.until("is on duty")
            stop, took = threading.Event(), list[float]()
            viewers = [threading.Thread(target=viewer, args=(program.url, stop, took)) for _ in range(3)]
            for one in viewers:
                one.start()
            sizes, began, used = [], time.monotonic(), processor(program.process)
            while time.monotonic() - began < MINUTES * 60:
                stop.wait(15)
                sizes.append(program.memory() / 1024 / 1024)
            stop.set()
            for one in viewers:
                one.join()
            share = (processor(program.process) - used) / (time.monotonic() - began)
            took.sort()
            print(f"\nresident {sizes[0]:.0f}, after a third {sizes[len(sizes) // 3]:.0f}, at the end {sizes[-1]:.0f},")
            print(f"most {max(sizes):.0f} MB; {share:.0%} of a core; {len(took)} questions, the slowest of")
            print(f"a hundred {took[len(took) * 99 // 100] * 1000:.0f} ms")
            counted = {
                name: program.value(f"sum({name} or vector(0))")
                for name in ("toban_job_missed_runs_total", "toban_job_timeouts_total")
            }
            assert counted == {"toban_job_missed_runs_total": 0, "toban_job_timeouts_total": 0}
            assert program.value('scrape_samples_scraped{job="large"}') == SERIES
            assert program.value('min_over_time(up{job="large"}[30m])') == 1
            assert sizes[-1] < 1.2 * sizes[len(sizes) // 3] + 15


@pytest.mark.soak
@pytest.mark.timeout(300)
def test_health_responds_within_a_quarter_of_a_second_beside_thousands_of_alerts(tmp_path):
    """
    As a Prometheus with 5,000 alerts posts them: each 15 seconds all of them. 99 of 100 responses.
    """
    labels = [{"alertname": f"load{n % 50}", "severity": "warning", "instance": f"web-{n}"} for n in range(MAX_ALERTS)]
    body = json.dumps([{"labels": it, "annotations": {"summary": f"{it['instance']} is slow"}} for it in labels])
    with toban(tmp_path / "data", fresh=True) as program:
        program.until("is on duty")
        stop, seconds = threading.Event(), list[float]()

        def check() -> None:
            while not stop.wait(0.02):
                began = time.monotonic()
                program.get("/health")
                seconds.append(time.monotonic() - began)

        checking = threading.Thread(target=check)
        checking.start()
        try:
            for _ in range(6):
                headers = {"content-type": "application/json"}
                request = urllib.request.Request(f"{program.url}/api/v2/alerts", body.encode(), headers)
                with urllib.request.urlopen(request) as response:
                    assert response.status == 200
                stop.wait(15)
        finally:
            stop.set()
            checking.join()
        assert f"{MAX_ALERTS} external alerts" in program.get("/-/healthy")[1]
    seconds.sort()
    assert seconds[len(seconds) * 99 // 100] < 0.25
