"""
A fake of Chatwork's API.

    async with FakeChatwork() as chatwork:
        chatwork.api, chatwork.token, chatwork.room     # what a channel is given
        chatwork.messages                               # what was posted

It takes forms only and refuses what Chatwork refuses; made from Chatwork's documentation.
"""

from urllib.parse import parse_qsl

from tests.fake_http import FakeService, ReceivedRequest, Reply


class FakeChatwork(FakeService):
    """One room."""

    token = "0123456789abcdef0123456789abcdef"
    room = "123456"

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []
        self.role = "member"

    @property
    def api(self) -> str:
        """Where the API is."""
        return f"{self.url}/v2"

    def respond(self, received: ReceivedRequest) -> Reply:
        """Post a message, or tell about the room."""
        if received.headers.get("x-chatworktoken") != self.token:
            return Reply.json({"errors": ["Invalid API token"]}, 401)
        if (received.method, received.path) == ("GET", f"/v2/rooms/{self.room}"):
            return Reply.json({"room_id": int(self.room), "name": "Shop alerts", "role": self.role})
        if (received.method, received.path) != ("POST", f"/v2/rooms/{self.room}/messages"):
            return Reply.json({"errors": ["You don't have permission to access this room."]}, 403)
        if received.headers.get("content-type") != "application/x-www-form-urlencoded":
            self.mistakes.append(f"content-type {received.headers.get('content-type')}")
        form = dict(parse_qsl(received.body.decode()))
        if not form.get("body") or len(form["body"]) > 40_000:
            return Reply.json({"errors": ["Message can't be blank"]}, 400)
        self.messages.append(form["body"])
        return Reply.json({"message_id": str(1_000_000 + len(self.messages))})

    def pretended(self, received: ReceivedRequest) -> Reply:
        """Say that it was posted."""
        return Reply.json({"message_id": "999"})
