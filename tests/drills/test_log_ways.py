"""The demo's shop logs by four ways at once: each brings every line of its books, and all together bring it once."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager
from functools import partial

import httpx2
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.program import Program, eventually, toban
from tests.vendure_shop import SLOW, ShopProcesses, ShopVariant, place_orders, run_vendure
from toban.demo import fly_log_server
from toban.demo.fly_log_server import ORGANIZATION, TOKEN, FlyLogServer
from toban.demo.servers import free_port
from toban.demo.web_server import served

pytestmark = SLOW

SEED = 1
"""Of visits among which two payments of one order fail."""

WAYS = {"winston": "files", "console": "files", "otlp": "otlp", "fly": "fly"}
"""The ways of a line, and their sources as toban names them."""


def settings_of(ways: Sequence[str], shop: ShopProcesses, stream: FlyLogServer) -> Mapping[str, object]:
    """Return the toban.yaml that reads lines by some of the ways; OpenTelemetry needs none."""
    winston, *consoles = shop.log_files()
    files = [*([winston] if "winston" in ways else []), *(consoles if "console" in ways else [])]
    fly = {"fly": "fly" in ways, "fly_server": stream.url}
    return {
        "shop": {"fly_org": ORGANIZATION, "fly_token": TOKEN},
        "collect": [{"kind": "fly", "token": TOKEN, "enabled": False}, {"kind": "toban", "interval": "1s"}],
        "logs": {"files": files, **fly},
    }


@asynccontextmanager
async def forwarded(port: int, urls: Sequence[str]) -> AsyncIterator[None]:
    """Forward what is sent to a port to each of some tobans, as a collector of OpenTelemetry does."""
    async with httpx2.AsyncClient() as http:

        async def forward(request: Request) -> Response:
            body = await request.body()
            headers = {name: it for name, it in request.headers.items() if name in {"content-type", "content-encoding"}}
            responses = [await http.post(url + request.url.path, content=body, headers=headers) for url in urls]
            return Response(responses[0].content, max(it.status_code for it in responses))

        app = Starlette(routes=[Route("/v1/{signal}", forward, methods=["POST"])])
        with fly_log_server.socket.create_server(("127.0.0.1", port)) as listener:
            async with served(app, listener):
                yield


def logged(program: Program) -> Counter[str]:
    """Return the messages of the shop's own lines that toban finds, each as often as it is found."""
    found = program.json("/api/logs", query="context:Orders", limit="1000")
    return Counter(line["message"] for line in found["lines"])


def arrived(program: Program, source: str) -> float:
    """Return how many lines have come from a source, new ones and copies."""
    return program.value(f'sum(toban_log_lines_total{{source="{source}",outcome=~"stored|duplicate"}})')


async def test_each_way_brings_every_line_and_all_ways_together_bring_it_once(tmp_path):
    """
    Winston's file, the console's, OpenTelemetry, and Fly's stream of what the console prints.
    """
    port = free_port()
    with ExitStack() as stack:
        stream = stack.enter_context(fly_log_server.open_stream())
        variant = ShopVariant(telemetry="plain", logs=True)
        shop = stack.enter_context(run_vendure(variant, f"http://127.0.0.1:{port}"))
        programs: dict[str, Program] = {}
        for name, ways in {**{way: (way,) for way in WAYS}, "all": tuple(WAYS)}.items():
            place = tmp_path / name
            place.mkdir()
            (place / "toban.yaml").write_text(json.dumps(settings_of(ways, shop, stream)))
            programs[name] = stack.enter_context(toban(place / "data", "--config", str(place / "toban.yaml")))
        urls = [programs[name].url for name in ("otlp", "all")]
        async with forwarded(port, urls), stream.served(shop.console_logs):
            for name in ("fly", "all"):
                await asyncio.to_thread(programs[name].until, "log stream connected")
            books = (await place_orders(shop, seed=SEED, orders=8)).logged
            assert max(books.values()) > 1  # two payments of one order: two equal lines
            expected = Counter[str]()
            for way, source in WAYS.items():
                found = await asyncio.to_thread(eventually, partial(logged, programs[way]), lambda it: not books - it)
                assert found == books, way
                brought = partial(arrived, programs[way], source)
                expected[source] += await asyncio.to_thread(eventually, brought, lambda it: it >= books.total())
            for source, count in expected.items():
                brought = partial(arrived, programs["all"], source)
                await asyncio.to_thread(eventually, brought, lambda it, least=count: it >= least)
            assert logged(programs["all"]) == books
