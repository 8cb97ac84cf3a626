"""A server on the loopback interface with one response, which a test may change: a shop, a storefront, an exporter."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Page:
    """
    The response to every request.

    While ``responding`` is not set, requests wait.
    """

    body: str | Callable[[], str] = ""
    status: int = 200
    media: str = "application/json"
    url: str = ""
    requests: list[str] = field(default_factory=list)
    """The User-Agent of each request so far."""
    responding: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.responding.set()


@contextmanager
def serve_page(page: Page) -> Iterator[Page]:
    """Serve a page while the block runs."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            page.requests.append(self.headers.get("user-agent", ""))
            page.responding.wait()
            body = (page.body if isinstance(page.body, str) else page.body()).encode()
            try:
                self.send_response(page.status)
                self.send_header("content-type", page.media)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
            except OSError:
                self.close_connection = True  # the client has disconnected

        do_POST = do_GET  # noqa: N815  # the name is the library's

        def log_message(self, format: str, *arguments: object) -> None:
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    page.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield page
    finally:
        page.responding.set()
        server.shutdown()
        server.server_close()
        thread.join()
