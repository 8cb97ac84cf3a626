"""The signed requests by which Slack, PagerDuty, LINE and Twilio pass on what people answer."""

from collections.abc import Callable, Mapping
from typing import Any, Final
from xml.sax.saxutils import escape as xml_escape

import orjson
from starlette.requests import Request
from starlette.responses import Response

from toban.access.permissions import Permission
from toban.answers import line, pagerduty, slack, twilio
from toban.answers.assembly import Answers
from toban.core.errors import StateError
from toban.core.ports import Clock
from toban.core.untyped_json import as_mapping
from toban.notify.channels.twilio import HOOK, INCIDENT, gather, say
from toban.web.endpoint import FORM, JSON, Endpoint
from toban.web.problem_details import problem
from toban.web.request_bodies import RETRY_AFTER, read_body

MAX_BYTES: Final = 4 * 2**20
"""A click carries its whole message."""
MAX_FORM: Final = 64 * 2**10


class AnswerHooks:
    """Checks signatures, and writes answers down before it responds: not every service sends a click again."""

    def __init__(self, answers: Answers, clock: Clock) -> None:
        self._answers = answers
        self._clock = clock

    def routes(self) -> list[Endpoint]:
        """Return the routes."""
        # Their senders have no token of toban's: signatures are checked instead.
        public, post = Permission.PUBLIC, ["POST"]
        return [
            Endpoint("/hooks/slack", self.slack, public, methods=post, takes=FORM, largest=MAX_BYTES),
            Endpoint("/hooks/pagerduty", self.pagerduty, public, methods=post, takes=JSON, largest=MAX_BYTES),
            Endpoint("/hooks/line", self.line, public, methods=post, takes=JSON, largest=MAX_BYTES),
            Endpoint(HOOK, self.twilio, public, methods=post, takes=FORM, largest=MAX_FORM),
        ]

    async def slack(self, request: Request) -> Response:
        """Receive a click, a sent modal or a command."""
        body = await read_body(request)
        stamp = request.headers.get("x-slack-request-timestamp", "")
        given, now = request.headers.get("x-slack-signature", ""), self._clock.now()
        channel = _signing_channel(
            self._answers.slack_secrets,
            lambda secret: slack.is_signed(secret, stamp, body, given, now),
            unset="no channel of kind slack has a signing_secret",
            wrong="the signature is wrong or older than 5 minutes: check signing_secret and the clock",
        )
        if isinstance(channel, Response):
            return channel
        try:
            payload = slack.parse_request(body)
        except ValueError as error:
            return problem(400, f"the payload is no JSON: {error}")
        if payload.get("ssl_check"):
            return Response(status_code=200)
        return await self._receive(channel, slack.idempotency_key(payload), payload)

    async def pagerduty(self, request: Request) -> Response:
        """Receive an event."""
        body = await read_body(request)
        given = request.headers.get("x-pagerduty-signature", "")
        channel = _signing_channel(
            self._answers.pagerduty_secrets,
            lambda secret: pagerduty.is_signed(secret, body, given),
            unset="no channel of kind pagerduty has a webhook_secret",
            wrong="the signature is wrong: is webhook_secret the one of the subscription?",
        )
        if isinstance(channel, Response):
            return channel
        try:
            event = as_mapping(as_mapping(orjson.loads(body)).get("event"))
        except ValueError as error:
            return problem(400, f"the event is no JSON: {error}")
        return await self._receive(channel, pagerduty.idempotency_key(channel, event), event)

    async def line(self, request: Request) -> Response:
        """Receive postbacks; other events, and the empty request by which LINE verifies the address, are ignored."""
        body = await read_body(request)
        given = request.headers.get("x-line-signature", "")
        channel = _signing_channel(
            self._answers.line_secrets,
            lambda secret: line.is_signed(secret, body, given),
            unset="no channel of kind line has a channel_secret",
            wrong="the signature is wrong: is channel_secret the one of the Messaging API channel?",
        )
        if isinstance(channel, Response):
            return channel
        try:
            events = line.parse_request(body)
        except ValueError as error:
            return problem(400, f"the request is no JSON: {error}")
        for event in events:
            response = await self._receive(channel, line.idempotency_key(event), event)
            if response.status_code != 200:
                return response  # LINE sends all of them again; those that are written are known then
        return Response(status_code=200)

    async def twilio(self, request: Request) -> Response:
        """Receive a key that was pressed in a call, and respond with what is said then."""
        body, answers = await read_body(request), self._answers
        try:
            fields = twilio.parse_form(body)
        except ValueError as error:
            return problem(400, f"the request is no form: {error}")
        given, query = request.headers.get("x-twilio-signature", ""), request.url.query
        url = f"{answers.address.rstrip('/')}{HOOK}{f'?{query}' if query else ''}"
        channel = _signing_channel(
            answers.twilio_tokens,
            lambda token: twilio.is_signed(token, url, fields, given),
            unset="no channel of kind twilio has `answers`, or notify.address is not set",
            wrong="the signature is wrong: is the token right, and notify.address what Twilio calls?",
        )
        if isinstance(channel, Response):
            return channel
        source, kept = answers.twilio[channel], twilio.kept_fields(dict(fields), request.query_params.get(INCIDENT, ""))
        if kept["digits"] not in twilio.KEYS:
            return _call(gather(say(xml_escape(source.say("key-unknown")), source.language), url))
        key = twilio.idempotency_key(kept)
        response = await self._receive(channel, key, kept)
        if response.status_code != 200 or not key:
            return response
        return _call(say(xml_escape(await source.spoken(key)), source.language))

    async def _receive(self, channel: str, key: str, body: Mapping[str, Any]) -> Response:
        try:
            if key:
                await self._answers.service.receive(channel, key, body)
        except StateError as error:
            return problem(503, str(error), headers={"retry-after": str(RETRY_AFTER)})
        return Response(status_code=200)


def _signing_channel(
    secrets: Mapping[str, str], is_signed: Callable[[str], bool], *, unset: str, wrong: str
) -> str | Response:
    """Return the channel whose secret signed a request, or else the response that says what to look at."""
    if not secrets:
        return problem(403, unset)
    channel = next((name for name, secret in secrets.items() if is_signed(secret)), None)
    return problem(403, wrong) if channel is None else channel


def _call(spoken: str) -> Response:
    """Return what a call goes on with, as TwiML."""
    return Response(f"<Response>{spoken}</Response>", media_type="text/xml")
