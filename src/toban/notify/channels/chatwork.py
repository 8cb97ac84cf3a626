"""Chatwork: https://developer.chatwork.com/reference/post-rooms-room_id-messages."""

from typing import Annotated, Final, Literal

from pydantic import AfterValidator

from toban.core.config_types import Address, Secret, Text
from toban.core.connection_check import ConnectionCheck
from toban.core.errors import DeliveryError
from toban.core.notification import Notification, NotificationKind
from toban.core.text_limits import truncate
from toban.notify.channel import Channel, ChannelTools, Handle
from toban.notify.message_parts import MessageParts, message_parts, plain_text

_TITLE: Final = 300
_TEXT: Final = 10_000
"""Chatwork accepts about 40,000 characters."""

_ZERO_WIDTH_SPACE: Final = "\u200b"


def _number(value: str) -> str:
    if not value.isascii() or not value.isdigit():
        raise ValueError("it is a number: that of https://www.chatwork.com/#!rid123 is 123")
    return value


class Chatwork(Channel):
    """
    Write to a room as the owner of an API token.

    Each change of a group is a message. The token has all rights of its owner and never expires: create an account for
    toban that is in this room alone.
    """

    kind: Literal["chatwork"] = "chatwork"

    token: Secret
    """The API token of the account that writes."""

    room: Annotated[Text, AfterValidator(_number)]
    """The number of the room: `123` of `https://www.chatwork.com/#!rid123`."""

    mention: tuple[Annotated[Text, AfterValidator(_number)], ...] = ()
    """The account IDs of whom to mention while an alert fires, so that their phones ring."""

    api: Address = "https://api.chatwork.com/v2"
    """Where the API is."""

    async def send(self, notification: Notification, handle: Handle, tools: ChannelTools) -> Handle:
        """Post it."""
        firing = notification.kind in {NotificationKind.FIRING, NotificationKind.REMINDER}
        body = render_message(message_parts(notification, tools.shop), self.mention if firing else ())
        form = {"body": body, "self_unread": "0"}
        response = await self.http(tools).post_form(f"{self._url}/messages", form, self._access)
        response.raise_for_status()
        response.raise_for_page("Chatwork")
        return {}

    async def check_connection(self, tools: ChannelTools) -> ConnectionCheck:
        """Ask for the room, and whether the account may write there."""
        try:
            response = await self.http(tools).get(self._url, self._access)
            response.raise_for_status()
            response.raise_for_page("Chatwork")
        except DeliveryError as error:
            return ConnectionCheck(ok=False, message=str(error))
        name = response.fields.get("name", self.room)
        if response.fields.get("role") == "readonly":
            return ConnectionCheck(ok=False, message=f"the account may only read in {name}: make it a member")
        return ConnectionCheck(ok=True, message=f"the token is valid, and may write to {name}")

    @property
    def _url(self) -> str:
        return f"{self.api.rstrip('/')}/rooms/{self.room}"

    @property
    def _access(self) -> dict[str, str]:
        return {"x-chatworktoken": self.token.get_secret_value()}


def escaped(text: str) -> str:
    """Return a text in which nothing is a tag: Chatwork knows no escape, so a space that nobody sees breaks them."""
    return text.replace("[", f"[{_ZERO_WIDTH_SPACE}")


def render_message(parts: MessageParts, mention: tuple[str, ...]) -> str:
    """Return a message with a title in a frame, in Chatwork's notation."""
    links = [f"{link.text}: {link.href}" for link in parts.links]
    return "".join(
        [
            *(f"[To:{account}]" for account in mention),
            f"[info][title]{truncate(parts.headline, _TITLE, escaped)}[/title]",
            truncate(plain_text(parts), _TEXT, escaped),
            *(f"\n{escaped(link)}" for link in links),
            "[/info]",
        ]
    )
