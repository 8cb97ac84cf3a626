"""Spans a second through HTTP, decoding, joining and counting: a real store's checkout, again and again."""

import asyncio
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import orjson
import uvicorn
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from starlette.applications import Starlette

from toban.core.clock import SystemClock
from toban.core.log_line import LogLine
from toban.core.metric_registry import MetricRegistry
from toban.ingest.otlp_model import OtlpSignal
from toban.ingest.otlp_receiver import OtlpReceiver
from toban.shop.settings import Services
from toban.web.auth import NetworkAccess
from toban.web.http_server import network
from toban.web.ingest import IngestApi
from toban.web.settings import WebSettings

DATA = Path(__file__).parents[1] / "tests" / "data" / "otlp"
STEPS = ("add-item", "pay-declined", "pay-settled")
JSON_STEPS = ("search", "pay-declined", "pay-settled")
ROUNDS = 300


def protobuf(number: int) -> Iterator[tuple[bytes, int]]:
    """Return a checkout's bodies with ids of its own, as its customer's would be, and how many spans are in each."""
    for step in STEPS:
        message = ExportTraceServiceRequest.FromString((DATA / "proto" / f"{step}.traces.pb").read_bytes())
        spans = [span for part in message.resource_spans for scope in part.scope_spans for span in scope.spans]
        for span in spans:
            span.trace_id = number.to_bytes(4, "big") + span.trace_id[4:]
        yield message.SerializeToString(), len(spans)


def json(number: int) -> Iterator[tuple[bytes, int]]:
    """The same in JSON."""
    for step in JSON_STEPS:
        message = orjson.loads((DATA / "json" / f"{step}.traces.json").read_bytes())
        spans = [span for part in message["resourceSpans"] for scope in part["scopeSpans"] for span in scope["spans"]]
        for span in spans:
            span["traceId"] = f"{number:08x}{span['traceId'][8:]}"
        yield orjson.dumps(message), len(spans)


class Pace:
    """How long the loop was held."""

    def __init__(self) -> None:
        self.longest = 0.0

    async def run(self) -> None:
        while True:
            before = time.perf_counter()
            await asyncio.sleep(0.001)
            self.longest = max(self.longest, time.perf_counter() - before - 0.001)


class NoStore:
    """Takes lines and stores none: `bench/log_burst.py` measures what stores them."""

    def write(self, lines: Sequence[LogLine]) -> None:
        return

    async def append(
        self, lines: Sequence[LogLine], source: str | list[str], cursors: Mapping[str, str] | None = None
    ) -> None:
        return


def made() -> tuple[OtlpReceiver, Starlette]:
    meters, pushed, clock = MetricRegistry(), MetricRegistry(), SystemClock()
    taking = OtlpReceiver(pushed, Services(), NoStore(), clock, meters)
    return taking, Starlette(routes=IngestApi(taking, None, None, 4 * 2**20).routes())  # type: ignore[arg-type]  # nothing else comes


@contextmanager
def counted(what: str, spans: int) -> Iterator[None]:
    before, began = memory("VmRSS"), time.process_time()
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    yield
    took = time.process_time() - began
    print(f"{what}: {spans / took:,.0f} spans a second, {memory('VmHWM') - before:.1f} MB more at the most")


def memory(what: str) -> float:
    """Return megabytes of this process."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(what)) * 1024 / 1e6


async def without_http(name: str, bodies: list[tuple[bytes, int]], type_: str) -> None:
    from toban.ingest.otlp_response import Encoding

    taking, _ = made()
    with counted(f"{name}, without HTTP", sum(many for _, many in bodies)):
        for body, _ in bodies:
            await taking.accept(OtlpSignal.TRACES, Encoding(type_), body)


async def with_http(name: str, bodies: list[tuple[bytes, int]], type_: str) -> None:
    """The sender's part is a socket and ready bytes, so that little but toban is measured."""
    _, app = made()
    server = uvicorn.Server(
        uvicorn.Config(
            NetworkAccess(app, WebSettings(), MetricRegistry()),
            lifespan="off",
            http="httptools",
            log_config=None,
            access_log=False,
        )
    )
    with network("127.0.0.1:0") as listening:
        listening.listen()  # whoever comes before the server is ready waits
        running = asyncio.create_task(server.serve([listening.dup()]))
        reader, writer = await asyncio.open_connection(*listening.getsockname())
    head = f"POST /v1/traces HTTP/1.1\r\nHost: localhost\r\nContent-Type: {type_}\r\nTransfer-Encoding: chunked\r\n\r\n"
    pace = Pace()
    pacing = asyncio.create_task(pace.run())
    lengths = []
    with counted(f"{name}, through HTTP", sum(many for _, many in bodies)):
        for body, _ in bodies:
            began = time.perf_counter()
            writer.write(head.encode() + f"{len(body):x}\r\n".encode() + body + b"\r\n0\r\n\r\n")
            status = await reader.readuntil(b"\r\n\r\n")
            assert b"200 OK" in status, status
            if b"content-length: 0" not in status:
                await reader.readexactly(2)
            lengths.append(time.perf_counter() - began)
    print(
        f"  a body of {statistics.mean(len(body) for body, _ in bodies) / 1000:.0f} kB: "
        f"p50 {statistics.median(lengths) * 1000:.1f} ms, most {max(lengths) * 1000:.1f} ms; "
        f"the loop was held {pace.longest * 1000:.1f} ms at the most"
    )
    pacing.cancel()
    writer.close()
    server.should_exit = True
    await running


def main() -> None:
    for name, make, type_ in (
        ("protobuf", protobuf, "application/x-protobuf"),
        ("JSON", json, "application/json"),
    ):
        bodies = [body for number in range(ROUNDS) for body in make(number)]
        asyncio.run(without_http(name, bodies, type_))
        asyncio.run(with_http(name, bodies, type_))
        asyncio.run(with_http(f"{name}, a body of nearly 4 MiB", [make_large(name, bodies)], type_))


def make_large(name: str, bodies: list[tuple[bytes, int]]) -> tuple[bytes, int]:
    """Return one body that holds as much as may be."""
    if name == "JSON":
        parts, spans, size = [], 0, 0
        for body, many in bodies:
            if size + len(body) > 4 * 2**20 - 1000:
                break
            size, spans = size + len(body), spans + many
            parts.extend(orjson.loads(body)["resourceSpans"])
        return orjson.dumps({"resourceSpans": parts}), spans
    joined, spans = b"", 0
    for body, many in bodies:
        if len(joined) + len(body) > 4 * 2**20 - 1000:
            break
        joined, spans = joined + body, spans + many
    return joined, spans


if __name__ == "__main__":
    main()
