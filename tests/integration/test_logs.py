"""Log lines in the whole program: pushed, searched, followed."""

import json
import socket
import time
import urllib.parse
import urllib.request

from tests.program import eventually, toban


def loki(program, path: str, **parameters: str):
    status, body = program.get(f"/loki/api/v1/{path}?{urllib.parse.urlencode(parameters)}")
    assert status == 200, body
    return json.loads(body)


def test_pushed_lines_are_found_and_followed(tmp_path):
    """
    By Loki's API, by toban's own, and by the command.
    """
    at = time.time_ns()
    values = [
        [str(at + number), json.dumps({"level": "error", "message": f"payment {number} failed"})] for number in range(3)
    ]
    push = {"streams": [{"stream": {"app": "shop", "env": "prod"}, "values": values}]}
    with toban(tmp_path / "data", "--listen", "127.0.0.1:0") as program:
        with urllib.request.urlopen(f"{program.url}/logs/tail?query=later", timeout=30) as stream:
            assert stream.readline() == b"retry: 2000\n"
            assert program.post("/loki/api/v1/push", json.dumps(push).encode()) == (204, "")
            assert program.post("/api/logs", b'{"message": "later, by JSON"}') == (200, '{"accepted":1}')
            stream.readline()
            assert json.loads(stream.readline().removeprefix(b"data: "))["message"] == "later, by JSON"

        found = loki(program, "query_range", query='{service="shop", level="error"} |= "payment 1"')
        (stream,) = found["data"]["result"]
        assert (stream["stream"]["environment"], stream["values"][0][1]) == ("prod", "payment 1 failed")
        counted = eventually(
            lambda: loki(program, "query", query='sum(count_over_time({level="error"}[1m]))')["data"]["result"]
        )
        assert counted[0]["value"][1] == "3"
        assert loki(program, "query", query="vector(1)+vector(1)")["data"]["result"][0]["value"][1] == "2"
        assert "shop" in loki(program, "label/service/values")["data"]

        page = program.json("/api/logs", query="payment", limit="2")
        assert [it["message"] for it in page["lines"]] == ["payment 2 failed", "payment 1 failed"]
        rest = program.json("/api/logs", query="payment", limit="2", cursor=page["cursor"])
        assert [it["message"] for it in rest["lines"]] == ["payment 0 failed"]
        shown = program.run("logs", "payment -2", "--since", "1h").stdout.splitlines()
        assert [line.split(": ")[1] for line in shown] == ["payment 0 failed", "payment 1 failed"]


def upgrade(program, path: str, *headers: str) -> tuple[socket.socket, bytes]:
    """Open a WebSocket; return the connection, and the beginning of the response."""
    parts = urllib.parse.urlsplit(program.url)
    connection = socket.create_connection((parts.hostname, parts.port), timeout=30)
    key = "dGhlIHNhbXBsZSBub25jZQ=="
    head = [f"GET {path} HTTP/1.1", f"Host: {parts.netloc}", "Connection: Upgrade", "Upgrade: websocket"]
    head += ["Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {key}", *headers]
    connection.sendall("\r\n".join([*head, "", ""]).encode())
    response = b""
    while b"\r\n\r\n" not in response:
        received = connection.recv(1)
        assert received, response
        response += received
    return connection, response


def frame(connection: socket.socket) -> bytes:
    """Return the content of the next frame of text."""
    file = connection.makefile("rb")
    while True:
        first, length = file.read(2)
        if length == 126:
            length = int.from_bytes(file.read(2))
        content = file.read(length)
        if first == 0x81:
            return content


def test_lines_are_followed_by_web_socket(tmp_path):
    """
    First those that are there, then new ones, as logcli and Grafana read them.
    """
    with toban(tmp_path / "data", "--listen", "127.0.0.1:0") as program:
        assert program.post("/api/logs", b'{"message": "first"}')[0] == 200
        path = "/loki/api/v1/tail?" + urllib.parse.urlencode({"query": '{level="info"} |~ "first|second"'})
        connection, response = upgrade(program, path)
        with connection:
            assert response.startswith(b"HTTP/1.1 101")
            assert json.loads(frame(connection))["streams"][0]["values"][0][1] == "first"
            assert program.post("/api/logs", b'{"message": "second"}')[0] == 200
            streams = json.loads(frame(connection))["streams"]
            assert [value[1] for stream in streams for value in stream["values"]] == ["second"]
        assert program.stop() == 0


def test_a_web_socket_needs_the_permission_and_toban_s_own_origin(tmp_path):
    with toban(tmp_path / "data", "--listen", "127.0.0.1:0") as program:
        path = "/loki/api/v1/tail?" + urllib.parse.urlencode({"query": '{level="info"}'})
        for target, headers, status in (
            (path, ["Origin: https://evil.example"], b"403"),
            (path, ["Sec-Fetch-Site: cross-site"], b"403"),
            (path, [f"Origin: {program.url}"], b"101"),
            ("/loki/api/v1/tail?query=%7B", [], b"400"),
            ("/live", [], b"403"),
            ("/nowhere", [], b"403"),
        ):
            connection, response = upgrade(program, target, *headers)
            connection.close()
            assert response.split(b" ", 2)[1] == status, (target, headers, response)
        assert program.get("/loki/api/v1/tail") == (400, "this path is a WebSocket\n")


def test_a_web_socket_needs_credentials_where_there_are_some(tmp_path):
    token = "t" * 40
    path = "/loki/api/v1/tail?" + urllib.parse.urlencode({"query": '{level="info"}'})
    with toban(tmp_path / "data", "--listen", "127.0.0.1:0", TOBAN_TOKEN=token) as program:
        for headers, status in (
            ([], b"401"),
            (["Authorization: Bearer wrong"], b"401"),
            ([f"Authorization: Bearer {token}"], b"101"),
            ([f"Authorization: Bearer {token}", "Origin: https://evil.example"], b"403"),
        ):
            connection, response = upgrade(program, path, *headers)
            connection.close()
            assert response.split(b" ", 2)[1] == status, (headers, response)


def test_a_web_socket_takes_no_large_messages(tmp_path):
    with toban(tmp_path / "data", "--listen", "127.0.0.1:0") as program:
        connection, _ = upgrade(program, "/loki/api/v1/tail?" + urllib.parse.urlencode({"query": '{level="info"}'}))
        with connection:
            head = b"\x81\xff" + (2**20).to_bytes(8) + bytes(4)
            try:
                connection.sendall(head + b"a" * 2**20)
                while connection.recv(2**16):
                    pass
            except ConnectionError:
                pass  # it was closed before everything was sent
        assert program.get("/loki/api/v1/status/buildinfo")[0] == 200
