"""ntfy: https://docs.ntfy.sh/publish/#publish-as-json."""

import hashlib
import re
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator

from toban.core.config_types import Address, Secret, Text
from toban.core.connection_check import ConnectionCheck
from toban.core.notification import Notification
from toban.core.text_limits import truncate, utf8_bytes
from toban.notify.channel import Channel, ChannelTools, Handle
from toban.notify.connectivity import check_reachable
from toban.notify.message_parts import MessageParts, message_parts, plain_text

PRIORITIES: Final = {"critical": 5, "warning": 4, "info": 3}
TAGS: Final = {"critical": "rotating_light", "warning": "warning", "info": "white_check_mark"}
"""ntfy shows them as emoji."""

DAY_IS_USED_UP: Final = 42908
"""The code of ntfy's error for an account that has sent as many messages as it may in a day."""

_TITLE: Final = 200
_TEXT_BYTES: Final = 2_500
_URL: Final = 500
"""Of a message with more than 4,096 bytes ntfy makes a file, and it takes no more than 8 KB of JSON in all."""

_LABEL: Final = 50
_ACTIONS: Final = 3


def _topic(value: str) -> str:
    if not re.fullmatch(r"[-_A-Za-z0-9]{1,64}", value):
        raise ValueError("a topic has up to 64 letters, digits, `-` and `_`")
    return value


class Ntfy(Channel):
    """
    Publish to a topic of ntfy.

    The messages of a group replace each other on the phone (ntfy 2.16 and newer), each with a sound. Whoever knows the
    name of a topic without access control can read it.
    """

    kind: Literal["ntfy"] = "ntfy"

    topic: Annotated[Text, AfterValidator(_topic)]
    """The topic to publish to."""

    url: Address = "https://ntfy.sh"
    """The URL of the ntfy server."""

    token: Secret | None = None
    """An access token, where the topic needs one."""

    async def send(self, notification: Notification, handle: Handle, tools: ChannelTools) -> Handle:
        """Publish it. When the day's messages are used up it is rejected, so that another channel gets it at once."""
        sequence = hashlib.sha256(notification.group_id.encode()).hexdigest()[:32]
        parts = message_parts(notification, tools.shop)
        body = {"topic": self.topic, "sequence_id": sequence, **render_message(parts)}
        headers = {"authorization": f"Bearer {self.token.get_secret_value()}"} if self.token else {}
        response = await self.http(tools).post(self.url, body, headers)
        if response.fields.get("code") == DAY_IS_USED_UP:
            raise response.error(permanent=True)
        response.raise_for_status()
        response.raise_for_page("ntfy")
        return {}

    async def check_connection(self, tools: ChannelTools) -> ConnectionCheck:
        """Connect to the server."""
        return await check_reachable(self.url, "send a test notification to see whether it accepts messages")


def render_message(parts: MessageParts) -> dict[str, Any]:
    """Return the title, the text and a button for each link; ntfy shows texts as they are."""
    links = [link for link in parts.links if len(link.href) <= _URL]
    actions = [{"action": "view", "label": truncate(link.text, _LABEL), "url": link.href} for link in links[-_ACTIONS:]]
    return {
        "title": truncate(parts.headline, _TITLE),
        "message": truncate(plain_text(parts), _TEXT_BYTES, size=utf8_bytes) or parts.title,
        "priority": PRIORITIES[parts.tone],
        "tags": [TAGS[parts.tone]],
        "actions": actions,
        **({"click": links[-1].href} if links else {}),
    }
