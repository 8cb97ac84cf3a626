"""
A fake engine that receives remote write and responds to queries, stricter than any real one.

    async with FakeRemote() as engine:
        engine.url                  # what `write_url` and `query_url` are made of
        engine.samples              # received samples: (series, time, value), in order of arrival
        engine.next(busy(3), late)  # how the next two requests fail

A sample that is received twice is there twice, so that it shows. Queries are responded to by ``responses``, in order.
"""

import struct
from collections import deque
from urllib.parse import parse_qs

from tests.fake_http import FakeService, ReceivedRequest, Reply
from toban.core.labels import Labels
from toban.remote.remote_write_model import HEADERS, RemoteWriteDecodeError
from toban.remote.remote_write_protobuf import Decoder


class FakeRemote(FakeService):
    """A fake remote engine."""

    def __init__(self) -> None:
        super().__init__()
        self.samples: list[tuple[Labels, int, float]] = []
        self.responses: deque[Reply] = deque()
        self.queries: list[dict[str, str]] = []
        self._decoder = Decoder()

    def respond(self, request: ReceivedRequest) -> Reply:
        """Receive samples, or respond to a query."""
        if request.path.startswith("/api/v1/query"):
            self.queries.append({name: value for name, (value,) in parse_qs(request.body.decode()).items()})
            return self.responses.popleft()
        wrong = {name: value for name, value in HEADERS.items() if request.headers.get(name) != value}
        if request.path != "/api/v1/write" or wrong:
            self.mistakes.append(f"{request.path}: {wrong}")
            return Reply(400, b"bad")
        try:
            found = [(it.labels, it.at, it.value) for it in self._decoder.decode(request.body, 2**26)[0]]
        except RemoteWriteDecodeError as error:
            self.mistakes.append(str(error))
            return Reply(400, str(error).encode())
        last: dict[Labels, int] = {}
        for labels, at, _ in found:
            if at <= last.get(labels, -1):
                self.mistakes.append(f"{labels} at {at}: not in order of time")
            last[labels] = at
        self.samples += found
        return Reply(204)

    def pretended(self, request: ReceivedRequest) -> Reply:
        """Respond that the samples were accepted."""
        return Reply(204)


def bits(value: float) -> bytes:
    """Return a value's bytes, by which NaNs can be compared."""
    return struct.pack("<d", value)
