"""SIGTERM while everything is configured and much is going on."""

import fcntl
import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Self

import pytest

from tests.program import PATIENCE, Program, eventually, toban
from tests.small_shop import COLLECT_EACH_SECOND, shop

PROMISED = 5
"""Seconds within which toban ends when it is asked to (DESIGN): a promise, not a measurement."""

HEAVY = "sum_over_time(quantile_over_time(0.5, (sin(vector(time())))[1h:1s])[7d:1s])"
"""Takes half a minute, or as long as a query may."""

LARGE = " or ".join(f"label_replace(vector(time()), 'n', '{n}', '', '')" for n in range(40))
"""Forty series: over their longest range ten megabytes, more than any buffer between toban and who doesn't read."""


def start_reading(program: Program) -> socket.socket:
    """Ask for what is large, read the beginning of the answer, and no more."""
    host, port = program.url.removeprefix("http://").split(":")
    asking = socket.socket()
    asking.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    asking.connect((host, int(port)))
    query = LARGE.replace(" ", "%20")
    asking.sendall(
        f"GET /api/v1/query_range?query={query}&start=0&end=10999&step=1 HTTP/1.1\r\nhost: localhost\r\n\r\n".encode()
    )
    assert asking.recv(12) == b"HTTP/1.1 200"
    return asking


def rest(asking: socket.socket) -> bytes:
    """Return what was still on its way."""
    found = b""
    try:
        while piece := asking.recv(65536):
            found += piece
    except ConnectionError:
        pass  # cut off, which is what was to be seen
    return found


def test_toban_stops_in_time_under_load(tmp_path):
    """
    Beside a shop whose API hangs, with an answer that nobody reads and a query that runs and is waited for: toban
    closes in order, the answer stays unfinished, and the query is given up.
    """
    (tmp_path / "toban.yaml").write_text(COLLECT_EACH_SECOND)
    ends: list[int] = []

    def wait_for_the_heavy_one() -> None:
        try:
            ends.append(program.get(f"/api/v1/query?query={HEAVY.replace(' ', '%20')}")[0])
        except (OSError, http.client.HTTPException):
            ends.append(0)

    with shop() as piece, toban(tmp_path / "data", **piece.environment) as program:
        program.until("is on duty")
        request_count = len(piece.api.requests)
        piece.api.responding.clear()
        eventually(lambda: len(piece.api.requests) > request_count)
        with start_reading(program) as asking:
            waiting = threading.Thread(target=wait_for_the_heavy_one)
            waiting.start()
            # There is one thread for queries: when another gets no turn, the heavy one has it.
            eventually(lambda: program.get("/api/v1/query?query=1&timeout=300ms")[0], lambda code: code == 503)
            began = time.monotonic()
            assert program.stop(within=PROMISED) == 0
            print(f"ended after {time.monotonic() - began:.1f} s")
            waiting.join()
            assert not rest(asking).endswith(b"0\r\n\r\n")
        assert ends and ends[0] != 200
    (tmp_path / "toban.yaml").unlink()
    with toban(tmp_path / "data") as program:
        program.until("is on duty")
        assert not any("without a stop" in line for line in program.logged)


class UnresponsivePort:
    """A port at which every connection meets the same mood, whatever protocol is spoken there."""

    def __init__(self, mood: str) -> None:
        self.mood = mood
        self.met = 0
        self._ended = threading.Event()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self._threads = [threading.Thread(target=self._serve, daemon=True)]

    def __enter__(self) -> Self:
        if self.mood == "refuses":
            self._listening.close()
        else:
            self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        with suppress(OSError):
            # Wakes whoever accepts.
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for thread in self._threads:
            if thread.ident:
                thread.join(PATIENCE)

    def _serve(self) -> None:
        while not self._ended.is_set():
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            self.met += 1
            self._threads.append(threading.Thread(target=self._meet, args=(connection,), daemon=True))
            self._threads[-1].start()

    def _meet(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            if self.mood == "takes mail and keeps silent":
                self._take(connection)
            while not self._ended.wait(0.02):
                if self.mood == "trickles":
                    # A reply of SMTP that goes on and on; for HTTP, PostgreSQL and Redis it is none.
                    connection.sendall(b"220-a\r\n")

    def _take(self, connection: socket.socket) -> None:
        """Speak SMTP up to the answer after the mail."""
        connection.sendall(b"220 mx\r\n")
        for line in connection.makefile("rb"):
            if line == b".\r\n":
                return
            if line.startswith(b"DATA"):
                connection.sendall(b"354 go\r\n")
            elif line[:4] in {b"EHLO", b"MAIL", b"RCPT"}:
                connection.sendall(b"250 ok\r\n")


MAILERS, OTHERS = ("m1", "m2", "m3"), ("slack", "pagerduty", "webhook")


@contextmanager
def beside(folder, mood: str, **environment: str) -> Iterator[tuple[Program, UnresponsivePort]]:
    """Run toban with six channels, a database and a Redis that are all of one mood."""
    with UnresponsivePort(mood) as server:
        at = f"http://127.0.0.1:{server.port}/x"
        mail = {"kind": "email", "host": "127.0.0.1", "port": server.port, "tls": "none", "sender": "t@example.com"}
        channels = {name: {**mail, "to": ["a@example.com"]} for name in MAILERS}
        channels["slack"] = {"kind": "slack", "webhook": at}
        channels["pagerduty"] = {"kind": "pagerduty", "key": "0" * 32, "api": at}
        channels["webhook"] = {"kind": "webhook", "url": at}
        settings = {"alerting": {"shipped": False}, "notify": {"drill": {"enabled": False}}, "channels": channels}
        (folder / "toban.yaml").write_text(json.dumps(settings))
        shop = {
            "DATABASE_URL": f"postgresql://u:p@127.0.0.1:{server.port}/shop",
            "REDIS_URL": f"redis://127.0.0.1:{server.port}/0",
        }
        with toban(folder / "data", **shop, **environment) as program:
            yield program, server


@pytest.mark.parametrize("mood", ["refuses", "hangs", "trickles", "takes mail and keeps silent"])
def test_toban_stops_while_messages_are_retried(tmp_path, mood):
    """
    Whatever those at the other end do: nothing is abandoned, and port and data are free.
    """
    with beside(tmp_path, mood) as (program, server):
        program.until("is on duty")
        url = program.url
        for _ in range(4):
            for name in (*MAILERS, *OTHERS):
                assert program.post("/api/alerts/test", json.dumps({"channel": name}).encode())[0] == 200
        if mood == "refuses":
            eventually(lambda: sum("notification failed" in line for line in program.logged) >= 6)
        else:
            eventually(lambda: server.met >= 6)
        assert program.stop() == 0
        assert not [line for line in program.logged if "abandoned" in line or "Traceback" in line]
        _, stopping, after = "\n".join(program.logged).partition('"stopping"')
        assert stopping
        assert "notification sent" not in after
        assert _is_free(tmp_path / "data" / "toban.lock", url)


def test_toban_stops_while_state_hangs(tmp_path):
    """
    A database for state that accepts and says nothing holds a thread, also while toban starts.
    """
    with UnresponsivePort("hangs") as server:
        (tmp_path / "toban.yaml").write_text(f"state: postgresql://u:p@127.0.0.1:{server.port}/toban\n")
        with toban(tmp_path / "data") as program:
            eventually(lambda: server.met)
            assert program.stop() == 0
            assert any("stopping" in line for line in program.logged)
            assert not any("Traceback" in line for line in program.logged)
            assert _is_free(tmp_path / "data" / "toban.lock", "")


def _is_free(lock, url: str) -> bool:
    """Tell whether another toban could work there."""
    with lock.open("rb+") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    if url:
        socket.create_server(("127.0.0.1", int(url.rpartition(":")[2]))).close()
    return True
