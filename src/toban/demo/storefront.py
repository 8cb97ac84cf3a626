"""The demo's storefront: a page with the catalogue of the Shop API."""

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
SHOP_TIMEOUT: Final = 10.0
"""Seconds until a request to the shop times out."""


@dataclass
class Storefront:
    """Serves the shop's catalogue; while ``empty``, a page without it, also with status 200."""

    socket: socket.socket
    empty: bool = False

    @property
    def url(self) -> str:
        """Its URL."""
        return f"http://127.0.0.1:{port_of(self.socket)}/"

    @contextmanager
    def served(self, shop_api: str) -> Iterator[None]:
        """Serve while the block runs, in a thread: the main thread blocks while it starts servers."""

        async def page(request: Request) -> Response:
            if self.empty:
                return HTMLResponse(FRAME.format('<div id="app"></div>'))
            try:
                async with httpx2.AsyncClient(timeout=SHOP_TIMEOUT, headers={"User-Agent": "storefront/1.0"}) as http:
                    response = await http.post(shop_api, json={"query": CATALOGUE})
                    items = response.json()["data"]["products"]["items"]
            except (httpx2.HTTPError, ValueError, KeyError, TypeError):
                return HTMLResponse(FRAME.format("<p>We are sorry: the shop does not answer.</p>"), 502)
            return HTMLResponse(FRAME.format("".join(map(_product, items))))

        server = QuietServer(settings(Starlette(routes=[Route("/", page)])))
        thread = threading.Thread(target=server.run, args=([self.socket.dup()],), name="storefront")
        thread.start()
        try:
            yield
        finally:
            server.should_exit = True
            thread.join()


def _product(item: dict[str, Any]) -> str:
    return f"<article><h2>{html.escape(item['name'])}</h2><p>{html.escape(item['description'])}</p></article>"


@contextmanager
def open_storefront() -> Iterator[Storefront]:
    """Listen on a free port: requests wait until it serves."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield Storefront(listener)
