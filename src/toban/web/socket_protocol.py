"""WebSockets on one connection, with limits on what clients send."""

from typing import Final

from uvicorn.protocols.websockets.wsproto_impl import WSProtocol
from wsproto import events

from toban.web.http_protocol import PEER_USER, peer_user

MESSAGE_BYTES: Final = 2**16
"""Bytes that a message of a client may have."""

PENDING_BYTES: Final = 2**18
"""Bytes of answers to pings that may wait for a client that does not read."""

PING_INTERVAL: Final = 20.0
"""Seconds between two pings; a client that does not answer one within as many is disconnected."""


class SocketProtocol(WSProtocol):
    """uvicorn's protocol, among the connections of the HTTP server."""

    waits_since: float | None = None
    """A WebSocket waits for its client as long as it is open: it is never closed to make room."""

    def abort(self, reason: str) -> None:
        """Abort the connection."""
        self.transport.abort()

    def handle_connect(self, event: events.Request) -> None:
        """Pass the user at the other end of a Unix socket to the application."""
        user = peer_user(self.transport.get_extra_info("socket"))
        self.app_state = {**self.app_state, PEER_USER: user}
        super().handle_connect(event)

    def handle_ping(self, event: events.Ping) -> None:
        """Answer a ping, unless the client reads no answers."""
        if self.transport.get_write_buffer_size() > PENDING_BYTES:
            self.abort("not reading")
        else:
            super().handle_ping(event)
