"""Attacks over sockets, of limited size, on loopback only."""

import http.client
import json
import socket
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

from tests.program import Program

QUIET = """
alerting: {shipped: false}
channels: {hook: {kind: webhook, url: "http://127.0.0.1:9/x"}}
notify: {drill: {enabled: false, channels: [hook]}}
"""
"""A toban.yaml without rules and notifications."""
PAGES = ["/", "/api/status", "/api/alerts", "/api/silences", "/api/v2/silences", "/api/v2/alerts", "/-/ready"]
"""Pages that show all that was received: one unusual value must not break a page."""

SILENCE = json.dumps(
    {"matchers": ['severity=~".+"'], "duration": "30d", "created_by": "somebody", "comment": "x"}
).encode()


def address(program: Program) -> tuple[str, int]:
    """Where to connect to, wherever it listens."""
    return "127.0.0.1", urlsplit(program.url).port or 0


def connect(program: Program) -> socket.socket:
    return socket.create_connection(address(program), timeout=30)


def written(method: str, path: str, body: bytes = b"", **headers: str) -> bytes:
    """Write a request as a client would."""
    read_until_closed = {"host": "localhost", "content_length": str(len(body)), **headers}
    lines = [
        f"{method} {path} HTTP/1.1",
        *(f"{name.replace('_', '-')}: {value}" for name, value in read_until_closed.items()),
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def reset(connection: socket.socket) -> None:
    """Break a connection off, so that whoever accepts it meets nobody."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def send_request(program: Program, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, str]:
    """Ask with exactly these headers; the status and the body of the answer."""
    with connect(program) as connection:
        connection.sendall(written(method, path, body, **headers))
        response = http.client.HTTPResponse(connection, method=method)
        response.begin()
        return response.status, response.read().decode()


def responds(program: Program) -> None:
    """Ask for every page."""
    for page in PAGES:
        assert program.get(page)[0] == 200, page


def sent(connection: socket.socket, pieces: Iterator[bytes] | Sequence[bytes]) -> int:
    """Send until the other side has had enough; how many bytes it took."""
    many = 0
    with suppress(OSError):
        for piece in pieces:
            connection.sendall(piece)
            many += len(piece)
    return many


def read_until_closed(connection: socket.socket) -> bytes:
    """What the other side says until it closes."""
    found = b""
    with suppress(OSError):
        while piece := connection.recv(65536):
            found += piece
    return found


@contextmanager
def held(program: Program, many: int, begun: bytes = b"") -> Iterator[list[socket.socket]]:
    """Hold many connections open, each with the beginning of a request."""
    connections: list[socket.socket] = []
    try:
        for _ in range(many):
            connection = connect(program)
            connections.append(connection)
            with suppress(OSError):
                connection.sendall(begun)
        yield connections
    finally:
        for connection in connections:
            connection.close()
