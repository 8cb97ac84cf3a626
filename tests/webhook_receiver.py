"""A webhook receiver on the loopback interface that stores the payloads."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any


class WebhookReceiver:
    """Stores the payloads that a webhook sends."""

    def __init__(self) -> None:
        self.received: list[dict[str, Any]] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:  # the name is the library's
                receiver.received.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
                self.send_response(200)
                self.end_headers()
                self.wfile.write(b"ok")  # as Slack responds

            def log_message(self, *_: object) -> None:
                """Log nothing."""

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def kinds(self, name: str) -> list[str]:
        """Return the kinds of the notifications of an alert, in order."""
        return [it["toban"]["kind"] for it in self.received if it["groupLabels"].get("alertname") == name]

    def close(self) -> None:
        """Close the server."""
        self.server.shutdown()
        self.server.server_close()
