"""The demo's storefront: a page that shows the catalogue, made from what the Shop API answers."""

import html
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import httpx2
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from toban.demo.web_server import QuietServer, port_of, settings

CATALOGUE: Final = "query Page { products(options: {take: 50}) { items { name description } } }"
FRAME: Final = '<!doctype html><html lang="en"><head><title>Tea and paper</title></head><body>{}</body></html>'
PATIENCE: Final = 10.0
"""Seconds that it waits for the shop."""


@dataclass
class Storefront:
    """Answers with the shop's catalogue; while ``empty``, with the frame of the page alone, and 200 all the same."""

    socket: socket.socket
    empty: bool = False

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{port_of(self.socket)}/"

    @contextmanager
    def served(self, shop_api: str) -> Iterator[None]:
        """Answer while the block lasts, in a thread: the demo's own waits while it starts a server."""

        async def page(request: Request) -> Response:
            if self.empty:
                return HTMLResponse(FRAME.format('<div id="app"></div>'))
            try:
                async with httpx2.AsyncClient(timeout=PATIENCE, headers={"User-Agent": "storefront/1.0"}) as http:
                    answer = await http.post(shop_api, json={"query": CATALOGUE})
                    items = answer.json()["data"]["products"]["items"]
            except (httpx2.HTTPError, ValueError, KeyError, TypeError):
                return HTMLResponse(FRAME.format("<p>We are sorry: the shop does not answer.</p>"), 502)
            return HTMLResponse(FRAME.format("".join(map(_shown, items))))

        server = QuietServer(settings(Starlette(routes=[Route("/", page)])))
        thread = threading.Thread(target=server.run, args=([self.socket.dup()],), name="storefront")
        thread.start()
        try:
            yield
        finally:
            server.should_exit = True
            thread.join()


def _shown(item: dict[str, Any]) -> str:
    return f"<article><h2>{html.escape(item['name'])}</h2><p>{html.escape(item['description'])}</p></article>"


@contextmanager
def open_storefront() -> Iterator[Storefront]:
    """Listen on a free port: who comes before it is served waits."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield Storefront(listening)
