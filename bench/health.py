"""
How long `/health` takes while others ask for much: twenty clients beside each other, at one kind of page at a time.

``python bench/health.py [SECONDS]`` (8 for each kind unless given) runs the whole program with an exporter of 2,000
series and a thousand products that were viewed, and prints milliseconds: how long it took, and how much processor time
toban took meanwhile, which is nearly the same whatever else the machine does.
"""

import http.client
import json
import multiprocessing
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote, urlsplit

from memory import Exporter, toban

CLIENTS = 20
PRODUCTS = 1_000
PAGES = {
    "nobody": [],
    "/metrics": ["/metrics"],
    "/federate": ["/federate?match[]=" + quote('{__name__=~".+"}')],
    "/api/v1/query": ["/api/v1/query?query=" + quote("sum by (status) (rate(shop_requests_total[5m]))")],
    "pages": ["/", "/api/status", "/api/alerts"],
    "all of them": ["/metrics", "/federate?match[]=shop_requests_total", "/api/v1/query?query=up", "/"],
}


def ask(connection: http.client.HTTPConnection, path: str) -> float:
    """Ask for a page to its last byte; return the seconds that took."""
    began = time.monotonic()
    connection.request("GET", path)
    connection.getresponse().read()
    return time.monotonic() - began


def spent(process: int) -> float:
    """Return the seconds of processor time that a process took so far, to the last microsecond."""
    files = Path(f"/proc/{process}/task").glob("*/schedstat")
    return sum(int(file.read_text().split()[0]) for file in files) / 1e9


def hammer(port: int, paths: list[str], answered: "multiprocessing.Queue[int]", seconds: float) -> None:
    """Ask with all clients at once, each for one page after the other."""
    end, many = time.monotonic() + seconds, [0] * CLIENTS

    def client(number: int) -> None:
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
            while time.monotonic() < end:
                ask(connection, paths[(number + many[number]) % len(paths)])
                many[number] += 1

    clients = [threading.Thread(target=client, args=(number,)) for number in range(CLIENTS)]
    for one in clients:
        one.start()
    for one in clients:
        one.join()
    answered.put(sum(many))


@contextmanager
def hammered(port: int, paths: list[str], seconds: float) -> Iterator["multiprocessing.Queue[int]"]:
    """Have a process of its own ask as long as the block lasts, and a little longer."""
    answered: multiprocessing.Queue[int] = multiprocessing.Queue()
    process = multiprocessing.Process(target=hammer, args=(port, paths, answered, seconds))
    if paths:
        process.start()
        time.sleep(0.5)
    try:
        yield answered
    finally:
        if paths:
            process.join()


def main(seconds: float) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Exporter)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    scrape = f"collect: [{{kind: scrape, name: shop, url: 'http://127.0.0.1:{server.server_port}/', interval: 15s}}]"
    with toban("health", scrape) as run:
        port = urlsplit(run.pages).port or 0
        views = "\n".join(json.dumps({"type": "product_view", "product": str(it)}) for it in range(PRODUCTS)).encode()
        kind = {"content-type": "application/x-ndjson"}
        urllib.request.urlopen(urllib.request.Request(f"{run.pages}api/events", views, kind)).close()
        time.sleep(20)  # until all of it was collected
        print(f"{'':>16}{'time to answer':>24}{'processor time':>24}{'':>8}{'others,':>12}")
        columns = "".join(f"{column:>8}" for column in [*["p50", "p99", "most"] * 2, "asked"])
        print(f"{'beside':>16}{columns}{'a second':>12}", flush=True)
        for name, paths in PAGES.items():
            took, own = list[float](), list[float]()
            with (
                hammered(port, paths, seconds) as answered,
                closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection,
            ):
                end = time.monotonic() + seconds - 1
                while time.monotonic() < end:
                    before = spent(run.process.pid)
                    took.append(ask(connection, "/health") * 1000)
                    own.append((spent(run.process.pid) - before) * 1000)
                    time.sleep(0.02)
            figures = [
                figure
                for many in (sorted(took), sorted(own))
                for figure in (many[len(many) // 2], many[len(many) * 99 // 100], many[-1])
            ]
            others = answered.get() / seconds if paths else 0
            print(f"{name:>16}{''.join(f'{it:8.0f}' for it in figures)}{len(took):8}{others:12.0f}", flush=True)
        print(f"{run.figures()['VmRSS']:.1f} MB resident, {run.figures()['VmHWM']:.1f} at most")
    server.shutdown()


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 8)
