"""A webhook on the loopback that keeps what it is posted."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any


class Hook:
    """Keeps what a webhook is posted."""

    def __init__(self) -> None:
        self.got: list[dict[str, Any]] = []
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:  # the name is the library's
                hook.got.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
                self.send_response(200)
                self.end_headers()
                self.wfile.write(b"ok")  # as Slack says it

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def told(self, name: str) -> list[str]:
        """Return how toban told of an alert, message by message."""
        return [it["toban"]["kind"] for it in self.got if it["groupLabels"].get("alertname") == name]

    def close(self) -> None:
        """Let go of the port."""
        self.server.shutdown()
        self.server.server_close()
