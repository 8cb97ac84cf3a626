"""SIGTERM while everything is configured and much is going on."""

import http.client
import socket
import threading
import time

from tests.program import Program, eventually, toban
from tests.shop import OFTEN, shop

PROMISED = 5
"""Seconds within which toban ends when it is asked to (DESIGN): a promise, not a measurement."""

HEAVY = "sum_over_time(quantile_over_time(0.5, (sin(vector(time())))[1h:1s])[7d:1s])"
"""Takes half a minute, or as long as a query may."""

LARGE = " or ".join(f"label_replace(vector(time()), 'n', '{n}', '', '')" for n in range(40))
"""Forty series: over their longest range ten megabytes, more than any buffer between toban and who doesn't read."""


def begun(program: Program) -> socket.socket:
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


def test_it_ends_in_time_whatever_goes_on(tmp_path):
    """
    Beside a shop whose API hangs, with an answer that nobody reads and a query that runs and is waited for: toban
    closes in order, the answer stays unfinished, and the query is given up.
    """
    (tmp_path / "toban.yaml").write_text(OFTEN)
    ends: list[int] = []

    def wait_for_the_heavy_one() -> None:
        try:
            ends.append(program.get(f"/api/v1/query?query={HEAVY.replace(' ', '%20')}")[0])
        except (OSError, http.client.HTTPException):
            ends.append(0)

    with shop() as piece, toban(tmp_path / "data", **piece.environment) as program:
        program.until("is on duty")
        asked = len(piece.api.asked)
        piece.api.prompt.clear()
        eventually(lambda: len(piece.api.asked) > asked)
        with begun(program) as asking:
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
