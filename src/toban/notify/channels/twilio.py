"""Twilio: SMS and phone calls. https://www.twilio.com/docs/messaging/api/message-resource."""

import asyncio
import base64
import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from typing import Annotated, Final, Literal, Self
from urllib.parse import quote
from xml.sax.saxutils import escape as xml_escape
from xml.sax.saxutils import quoteattr

import structlog
from pydantic import AfterValidator, BeforeValidator, model_validator

from toban.core.config_types import Address, Duration, Secret, Text
from toban.core.connection_check import ConnectionCheck
from toban.core.errors import DeliveryError
from toban.core.notification import Notification, NotificationKind, OfferKind
from toban.core.text_limits import safe_text, truncate
from toban.notify.channel import Channel, ChannelTools, Handle
from toban.notify.delivery_attempt import RecipientRefusal
from toban.notify.message_parts import MessageParts, message_parts
from toban.notify.texts import texts

log = structlog.get_logger("toban.notify")

UNDELIVERED: Final = frozenset({"undelivered", "failed", "busy", "no-answer", "canceled"})
"""The statuses of messages and calls that reached nobody."""
UNDECIDED: Final = frozenset({"accepted", "scheduled", "queued", "sending", "initiated", "ringing"})
"""The statuses of messages that the carrier does not have yet, and of calls that nobody has answered yet."""

VOICES: Final = {"en": ("en-US", "Polly.Joanna"), "ja": ("ja-JP", "Polly.Mizuki")}
CALLED: Final = frozenset({NotificationKind.FIRING, NotificationKind.REMINDER})
"""What is worth a call, beside critical notices; nobody is called because an alert is resolved or a silence ends."""

POLL_SECONDS: Final = 2.0

HOOK: Final = "/hooks/twilio"
INCIDENT: Final = "incident"
"""The parameter of the hook that names the incident and its version."""

_SMS: Final = 480
"""Seven parts of a message in Japanese, four in English: each part costs. Twilio accepts 1,600 characters."""
_SPOKEN: Final = 600
"""Spoken twice, this is less than the 4,000 characters of TwiML that Twilio accepts, also when it is escaped."""


def _numbers(value: object) -> object:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _number(value: str) -> str:
    if not re.fullmatch(r"\+[1-9]\d{6,14}", value, re.ASCII):
        raise ValueError("write a number like +81901234567: with the country, without spaces")
    return value


def _numbers_there(value: tuple[str, ...]) -> tuple[str, ...]:
    if not value:
        raise ValueError("name at least one number")
    return value


def _sid(value: str) -> str:
    if not re.fullmatch(r"AC[0-9a-f]{32}", value):
        raise ValueError("the SID of an account has 34 characters and begins with AC: it is in Twilio's console")
    return value


class Twilio(Channel):
    """
    Send an SMS to some numbers, or call them and read the summary aloud.

    Twilio accepts a message before the carrier does: toban asks what became of it, and what was not delivered goes to
    another channel. With `answers`, a call of an incident is answered with a key.
    """

    kind: Literal["twilio"] = "twilio"

    pages: bool = True
    """Whether it wakes somebody: P1 alerts go there whatever their rule says."""

    account: Annotated[Text, AfterValidator(_sid)]
    """The SID of the account (AC…)."""

    token: Secret
    """The auth token of the account, or the secret of the API key in `key`."""

    key: Text = ""
    """The SID of an API key (SK…), to use instead of the auth token of the account."""

    sender: Text
    """The number to send from, like +15005550006, or for SMS the SID of a messaging service (MG…)."""

    to: Annotated[
        tuple[Annotated[Text, AfterValidator(_number)], ...],
        BeforeValidator(_numbers),
        AfterValidator(_numbers_there),
    ]
    """The numbers, like +81901234567: a list, or one text separated by commas."""

    by: Literal["sms", "call"] = "sms"
    """How: with `call`, firing alerts, reminders and critical notices are calls, and the rest is an SMS."""

    answers: bool = False
    """
    Whether a call about an incident takes a key: 1 acknowledges it, 2 calls everybody.

    It needs `notify.address`, at which Twilio must reach `/hooks/twilio`; without one, calls take no key.
    """

    auth_token: Secret | None = None
    """The auth token of the account, by which Twilio signs what it sends; only needed with `key`."""

    confirmation: Duration = timedelta(seconds=45)
    """How long to ask what became of a message or call; after that it counts as delivered."""

    api: Address = "https://api.twilio.com"
    """Where the API is."""

    @model_validator(mode="after")
    def _can_check_signatures(self) -> Self:
        if self.answers and self.by == "sms":
            raise ValueError("answers: set `by: call` too: nobody presses a key in an SMS")
        if self.answers and self.key and self.auth_token is None:
            raise ValueError("answers: set `auth_token` too: Twilio signs with it, and not with the API key in `key`")
        return self

    @property
    def signing_token(self) -> str:
        """What Twilio signs with; empty where calls take no key."""
        token = self.auth_token or self.token
        return token.get_secret_value() if self.answers else ""

    @property
    def recipients(self) -> tuple[str, ...]:
        """Each number may be rejected alone."""
        return self.to

    @property
    def max_duration(self) -> timedelta:
        """A request for each number, and what becomes of them."""
        return len(self.to) * self.timeout + self.confirmation + self.timeout

    @property
    def answer_hook(self) -> str:
        """Where Twilio sends the keys that people press."""
        return HOOK if self.answers else ""

    async def send(self, notification: Notification, handle: Handle, tools: ChannelTools) -> Handle:
        """Send it to each number, then ask what became of it."""
        wanted = [number for number in self.to if not notification.recipients or number in notification.recipients]
        parts = message_parts(notification, tools.shop)
        by_call = self.by == "call" and _is_worth_a_call(notification)
        what = "Calls" if by_call else "Messages"
        url = answer_url(tools.address, notification) if self.answers else ""
        form = {"Twiml": render_call(parts, notification.language, url)} if by_call else {"Body": render_sms(parts)}
        sender = "MessagingServiceSid" if self.sender.startswith("MG") and not by_call else "From"
        attempt, pending, errors, unanswered = tools.attempt, dict[str, str](), list[DeliveryError](), False
        for number in wanted:
            attempt.unanswered = False
            try:
                pending[number] = await self._create(what, {"To": number, sender: self.sender, **form}, tools)
                attempt.accepted.add(number)
            except DeliveryError as error:
                errors.append(error)
                attempt.refused[number] = RecipientRefusal(str(error), error.permanent)
                unanswered |= attempt.unanswered
        # Who stops toban now must know that the message may have arrived.
        attempt.unanswered = bool(pending)
        # A status that can't be read in time is not bad news.
        with suppress(TimeoutError):
            async with asyncio.timeout(self.confirmation.total_seconds()):
                await self._watch(what, pending, tools)
        attempt.unanswered = False
        if wanted and not attempt.accepted:
            attempt.unanswered = unanswered
            raise DeliveryError(
                "; ".join(dict.fromkeys(refusal.message for refusal in attempt.refused.values())),
                permanent=all(refusal.permanent for refusal in attempt.refused.values()),
                after=max((error.after or 0.0 for error in errors), default=0.0) or None,
            )
        return {}

    async def _create(self, what: str, form: dict[str, str], tools: ChannelTools) -> str:
        """Create a message or call, and return its SID, empty where the response names none."""
        try:
            async with asyncio.timeout(self.timeout.total_seconds()):
                response = await self.http(tools).post_form(f"{self._url}/{what}.json", form, self._access)
        except TimeoutError as error:
            raise DeliveryError(f"{self.name}: no response within {self.timeout}") from error
        response.raise_for_status()
        response.raise_for_page("Twilio")
        sid = response.fields.get("sid")
        return sid if isinstance(sid, str) and sid.isalnum() else ""

    async def _watch(self, what: str, created: Mapping[str, str], tools: ChannelTools) -> None:
        """Ask what became of messages or calls, and move the numbers that were not reached to the refused."""
        until = tools.clock.monotonic() + self.confirmation.total_seconds()
        pending = {number: sid for number, sid in created.items() if sid}
        while pending and tools.clock.monotonic() < until:
            await tools.clock.sleep(POLL_SECONDS)
            for number, sid in list(pending.items()):
                status, reason = await self._status(what, sid, tools)
                if status in UNDELIVERED:
                    tools.attempt.accepted.discard(number)
                    tools.attempt.refused[number] = RecipientRefusal(reason, permanent=True)
                if status not in UNDECIDED:
                    del pending[number]

    async def _status(self, what: str, sid: str, tools: ChannelTools) -> tuple[str, str]:
        """Return the status of a message or call and what to say of it; none where it can't be read."""
        try:
            response = await self.http(tools).get(f"{self._url}/{what}/{sid}.json", self._access)
            response.raise_for_status()
        except DeliveryError as error:
            log.info("status of a message unknown", channel=self.name, error=str(error))
            return "", ""
        status, code = str(response.fields.get("status", "")), response.fields.get("error_code")
        return status, f"{self.name}: {safe_text(status, ())}" + (f", error {code}" if isinstance(code, int) else "")

    async def check_connection(self, tools: ChannelTools) -> ConnectionCheck:
        """Ask for the account."""
        try:
            response = await self.http(tools).get(f"{self._url}.json", self._access)
            response.raise_for_status()
            response.raise_for_page("Twilio")
        except DeliveryError as error:
            return ConnectionCheck(ok=False, message=str(error))
        name, status = response.fields.get("friendly_name", self.account), response.fields.get("status", "active")
        if status != "active":
            return ConnectionCheck(ok=False, message=f"the account {name} is {status}")
        trial = "; a trial account reaches verified numbers only" if response.fields.get("type") == "Trial" else ""
        rest = "send a test notification to see whether it reaches the numbers"
        return ConnectionCheck(ok=True, message=f"the account {name} is active{trial}; {rest}")

    def secrets(self) -> list[str]:
        """The token, also as the header says it."""
        return [*super().secrets(), self._access["authorization"].partition(" ")[2]]

    @property
    def _url(self) -> str:
        return f"{self.api.rstrip('/')}/2010-04-01/Accounts/{self.account}"

    @property
    def _access(self) -> dict[str, str]:
        pair = f"{self.key or self.account}:{self.token.get_secret_value()}"
        return {"authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}


def _is_worth_a_call(notification: Notification) -> bool:
    is_urgent = notification.kind is NotificationKind.NOTICE and notification.severity == "critical"
    return notification.kind in CALLED or is_urgent or notification.is_test


def render_sms(parts: MessageParts) -> str:
    """Return what an SMS says; the link to toban is its last line."""
    link = f"\n{parts.links[-1].href}" if parts.links and len(parts.links[-1].href) <= _SMS // 2 else ""
    return truncate("\n".join([parts.headline, *parts.lines]), _SMS - len(link)) + link


def answer_url(address: str, notification: Notification) -> str:
    """Return where Twilio sends the key that is pressed; empty for a call that nothing is answered to."""
    offer = next((it for it in notification.offers if it.kind is OfferKind.ACKNOWLEDGE), None)
    return f"{address.rstrip('/')}{HOOK}?{INCIDENT}={quote(offer.value)}" if address and offer else ""


def render_call(parts: MessageParts, language: str, url: str = "") -> str:
    """Return what a call says, twice, as TwiML; with a URL it takes a key meanwhile, which goes there."""
    summary = say(truncate(". ".join([parts.state, parts.title, *parts.lines[:3]]), _SPOKEN, xml_escape), language)
    if not url:
        return f'<Response><Pause length="1"/>{summary}<Pause length="2"/>{summary}</Response>'
    keys = say(texts(language)["call-keys"], language)
    return f'<Response><Pause length="1"/>{gather(summary + keys, url) * 2}</Response>'


def say(text: str, language: str) -> str:
    """Return the element that says a text, which is escaped already."""
    tongue, voice = VOICES.get(language, VOICES["en"])
    return f'<Say language="{tongue}" voice="{voice}">{text}</Say>'


def gather(spoken: str, url: str) -> str:
    """Return the element that takes a key while something is spoken, and for some seconds after it."""
    return f'<Gather input="dtmf" numDigits="1" timeout="8" method="POST" action={quoteattr(url)}>{spoken}</Gather>'
