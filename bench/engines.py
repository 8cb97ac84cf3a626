"""
toban beside Debian's Prometheus and VictoriaMetrics: the same numbers over HTTP, the same questions.

``python bench/engines.py [SERIES ...]`` (1,000 and 10,000 unless given) writes six hours at 15 s into each by remote
write, asks each the nine expressions of the original dashboard, one that brings every bucket as it is, and an alert's
condition: cold (the first after a start), and warm (the median of five). It prints milliseconds until the last byte,
how fast numbers were taken, bytes a sample on disk, and resident memory after all that.
"""

import http.client
import os
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import numpy as np

from toban.core.labels import Labels
from toban.core.samples import Batch, Layout
from toban.demo.servers import Server, folder, free_port, running
from toban.remote.remote_write_model import HEADERS
from toban.remote.remote_write_protobuf import Encoder

HOURS, EVERY, STEP = 6, 15_000, 60
END = time.time_ns() // 1_000_000 // EVERY * EVERY - 60_000
LOOKS = HOURS * 3_600_000 // EVERY
BOUNDS = ("0.1", "0.3", "0.5", "0.7", "1.0", "3.0", "5.0", "7.0", "10.0", "+Inf")

PANELS = {
    "p95": "histogram_quantile(0.95, rate(vendure_api_duration_seconds_bucket[5m]))",
    "p50": "histogram_quantile(0.50, rate(vendure_api_duration_seconds_bucket[5m]))",
    "requests": "rate(vendure_api_requests_total[5m])",
    "errors": 'rate(vendure_api_requests_total{status=~"5.."}[5m]) / rate(vendure_api_requests_total[5m]) * 100',
    "connections": "postgres_active_connections",
    "idle": 'postgres_connection_pool_size{state="idle"}',
    "redis": "redis_memory_usage_bytes / 1024 / 1024",
    "orders": "rate(vendure_orders_created_total[1h]) * 3600",
    "revenue": "rate(vendure_order_total_amount_sum[1h]) * 3600",
    "every bucket": "vendure_api_duration_seconds_bucket",
}
ALERT = 'sum by (status) (rate(vendure_api_requests_total{status=~"5.."}[5m])) > 0.5'


def invented(series: int) -> Iterator[Batch]:
    """Return looks of six hours: most are buckets, as in life; then counters, and gauges that wander."""
    chance = np.random.default_rng(7)
    labels: list[Labels] = []
    endpoints = max(1, series * 6 // 10 // len(BOUNDS))
    for number in range(endpoints):
        of = {"endpoint": f"/shop-api/{number}", "method": "POST", "status": "200"}
        labels += [Labels(of, __name__="vendure_api_duration_seconds_bucket", le=bound) for bound in BOUNDS]
    buckets = len(labels)
    for number in range(series // 4):
        status = ("200", "302", "404", "500")[number % 4]
        of = {"endpoint": f"/shop-api/{number // 4}", "method": "POST", "status": status}
        labels.append(Labels(of, __name__="vendure_api_requests_total"))
    labels += [Labels(__name__="vendure_orders_created_total", channel=str(number)) for number in range(5)]
    labels += [Labels(__name__="vendure_order_total_amount_sum", status=str(number)) for number in range(5)]
    counters = len(labels)
    gauges = ("postgres_active_connections", "postgres_connection_pool_size", "redis_memory_usage_bytes")
    labels += [Labels(__name__=name, state=state) for name in gauges for state in ("idle", "active")]
    labels += [Labels(__name__="load", place=str(number)) for number in range(series - len(labels))]
    layouts = [Layout(labels[first : first + 500]) for first in range(0, len(labels), 500)]
    totals, wander = np.zeros(len(labels)), np.full(len(labels), 50.0)
    for look in range(LOOKS):
        steps = chance.poisson(2.0, counters).astype(np.float64)
        steps[:buckets] = np.cumsum(steps[:buckets].reshape(-1, len(BOUNDS)), axis=1).ravel()
        totals[:counters] += steps
        wander[counters:] += chance.normal(0, 1, len(labels) - counters).round(1)
        values = np.concatenate([totals[:counters], wander[counters:]])
        at = END - (LOOKS - 1 - look) * EVERY
        for number, layout in enumerate(layouts):
            yield Batch(layout, at, values[number * 500 : number * 500 + len(layout)].copy())


@dataclass
class Engine:
    """One of the three, running."""

    name: str
    server: Server
    data: Path
    ingest: float = 0.0
    cold: dict[str, float] = field(default_factory=dict)
    warm: dict[str, float] = field(default_factory=dict)
    memory: float = 0.0
    on_disk: float = 0.0

    def write(self, body: bytes) -> None:
        """Write a request; it counts when it is acknowledged."""
        began = time.perf_counter()
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=60)
        connection.request("POST", "/api/v1/write", body, dict(HEADERS))
        response = connection.getresponse()
        content = response.read()
        connection.close()
        if response.status not in {200, 204}:
            raise RuntimeError(f"{self.name}: {response.status} {content[:200]!r}")
        self.ingest += time.perf_counter() - began

    def ask(self, query: str, *, instant: bool) -> float:
        """Ask a question; return milliseconds until the last byte."""
        form = {"query": query, "time": f"{END / 1000}"}
        if not instant:
            form = {"query": query, "start": f"{END / 1000 - HOURS * 3600}", "end": f"{END / 1000}", "step": str(STEP)}
        body = urllib.parse.urlencode(form).encode()
        began = time.perf_counter()
        path = "query" if instant else "query_range"
        with urllib.request.urlopen(f"http://127.0.0.1:{self.server.port}/api/v1/{path}", body, timeout=120) as answer:
            while answer.read(2**20):
                pass
        return (time.perf_counter() - began) * 1000

    def measure(self) -> None:
        """Start it anew and ask everything once, then five times."""
        for name, query in {**PANELS, "alert": ALERT}.items():
            self.server.stop()
            self.server.start()
            self.ready()
            self.cold[name] = self.ask(query, instant=name == "alert")
        for name, query in {**PANELS, "alert": ALERT}.items():
            self.warm[name] = median(self.ask(query, instant=name == "alert") for _ in range(5))
        status = Path(f"/proc/{self.server.process.pid}/status").read_text()
        self.memory = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")) / 1024

    def ready(self) -> None:
        """Wait until it answers."""
        for _ in range(600):
            try:
                self.ask("1", instant=True)
            except OSError:
                time.sleep(0.1)
            else:
                return
        raise RuntimeError(f"{self.name} does not answer: {self.server.log.read_text()[-500:]}")

    def size(self) -> int:
        """Return how many bytes its numbers take on disk."""
        return sum(path.stat().st_blocks * 512 for path in self.data.rglob("*") if path.is_file())


@contextmanager
def engines() -> Iterator[list[Engine]]:
    """Run all three."""
    with folder() as place:
        port, written = free_port(), place / "toban.yaml"
        nothing = "collect: [{kind: host, enabled: false}, {kind: toban, enabled: false}]"
        written.write_text(f"{nothing}\nalerting: {{shipped: false}}\n")
        (place / "prometheus.yml").write_text("{}")
        commands = {
            "toban": [
                *(sys.executable, "-m", "toban", "up", "--config", str(written)),
                *("--data", "toban", "--listen", f"127.0.0.1:{port}"),
            ],
            "prometheus": [
                *("prometheus", "--config.file=prometheus.yml", "--storage.tsdb.path=prometheus"),
                *("--web.enable-remote-write-receiver", "--web.listen-address=127.0.0.1:{port}"),
            ],
            "victoria": [
                *("victoria-metrics", "-storageDataPath=victoria", "-httpListenAddr=127.0.0.1:{port}"),
                *("-search.latencyOffset=0s", "-search.disableCache"),
            ],
        }
        found = []
        with contextmanager(_all)(commands, place, port) as servers:
            for name, server in servers.items():
                found.append(Engine(name, server, place / name))
                found[-1].ready()
            yield found


def _all(commands: dict[str, list[str]], place: Path, first: int) -> Iterator[dict[str, Server]]:
    from contextlib import ExitStack

    with ExitStack() as stack:
        servers = {}
        for name, command in commands.items():
            port = first if name == "toban" else free_port()
            given = [part.format(port=port) for part in command]
            server = Server(port, place, given, name=name, privileged=name == "toban", environment=dict(os.environ))
            servers[name] = stack.enter_context(running(server))
        yield servers


def main(sizes: list[int]) -> None:
    for size in sizes:
        with engines() as three:
            encoder, many, waiting = Encoder({}), 0, list[Batch]()
            for batch in invented(size):
                waiting.append(batch)
                if sum(len(one.layout) for one in waiting) >= 10_000:
                    body, samples = encoder.encode(waiting)
                    many, waiting = many + samples, []
                    for engine in three:
                        engine.write(body)
            if waiting:
                body, samples = encoder.encode(waiting)
                many += samples
                for engine in three:
                    engine.write(body)
            time.sleep(75)  # each has its round of sealing or merging meanwhile
            for engine in three:
                engine.measure()
                engine.on_disk = engine.size() / many
            print(f"\n{size} series, {many:,} samples")
            print(
                f"{'':14}" + "".join(f"{engine.name:>13}" for engine in three) + "   beside Prometheus, VictoriaMetrics"
            )

            def row(what: str, figures: list[float], *, less: bool = True) -> None:
                ours, *others = figures
                ratios = [other / ours if less else ours / other for other in others]
                shown = "".join(f"{figure:13,.1f}" for figure in figures)
                print(f"{what:14}{shown}   " + ", ".join(f"{ratio:.1f}" for ratio in ratios))

            row("samples/s", [many / engine.ingest for engine in three], less=False)
            for name in (*PANELS, "alert"):
                row(f"{name}, cold", [engine.cold[name] for engine in three])
                row(f"{name}, warm", [engine.warm[name] for engine in three])
            row("bytes/sample", [engine.on_disk for engine in three])
            row("resident MB", [engine.memory for engine in three])


if __name__ == "__main__":
    main([int(size) for size in sys.argv[1:]] or [1_000, 10_000])
