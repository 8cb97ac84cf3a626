"""Clicks, modals and commands from Slack: https://docs.slack.dev/interactivity/handling-user-interaction."""

import hashlib
import hmac
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

import orjson
import structlog

from toban.access.permissions import Permission
from toban.answers.answer import Answer, Verb, clicked, commanded
from toban.answers.executor import AnswerExecutor, Mark
from toban.answers.people import person_at_slack, person_with_email
from toban.answers.person_answers import AnswerRefusedError, PersonAnswers
from toban.core.errors import DeliveryError, InvalidCommandError, NotFoundError
from toban.core.ports import Clock
from toban.core.untyped_json import as_list, as_mapping
from toban.notify.channel import ChannelTools
from toban.notify.channels.slack import OPEN, Slack
from toban.oncall.settings import OnCallSettings
from toban.state.database import State

log = structlog.get_logger("toban.answers")

CLOCK_SKEW: Final = timedelta(seconds=300)
"""How old a signed request may be: an older one may be a replay."""
MAX_FIELDS: Final = 50
KEPT: Final = frozenset(
    {
        *("type", "user", "user_id", "team", "team_id", "channel", "actions", "view", "response_url", "trigger_id"),
        *("text", "ssl_check"),
    }
)
"""The fields of a payload that are written down; the message that was clicked, for example, is not."""
NOTE_LENGTH: Final = 2_000


def is_signed(secret: str, timestamp: str, body: bytes, signature: str, now: datetime) -> bool:
    """Tell whether a request comes from the app with this signing secret, and is not old."""
    if not (timestamp.isascii() and timestamp.isdecimal() and len(timestamp) <= 12):
        return False
    if abs(now.timestamp() - int(timestamp)) > CLOCK_SKEW.total_seconds():
        return False
    signed = b"v0:" + timestamp.encode() + b":" + body
    wanted = "v0=" + hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()
    return hmac.compare_digest(wanted.encode(), signature.encode("utf-8", "replace"))


def parse_request(body: bytes) -> dict[str, Any]:
    """Return the payload of a request: JSON in the field ``payload``, or the fields of a command. Raises ValueError."""
    fields = dict(parse_qsl(body.decode("utf-8", "replace"), max_num_fields=MAX_FIELDS))
    found = as_mapping(orjson.loads(fields["payload"])) if "payload" in fields else {"type": "slash_commands", **fields}
    return kept_fields(found)


def kept_fields(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is written down of a payload."""
    return {name: value for name, value in payload.items() if name in KEPT}


def idempotency_key(payload: Mapping[str, Any]) -> str:
    """Return what is the same for all copies of a click, a sent modal or a command; empty for anything else."""
    user = str(as_mapping(payload.get("user")).get("id") or payload.get("user_id") or "")
    kind = payload.get("type")
    if kind == "block_actions":
        action = _action(payload)
        parts = [user, str(action.get("action_id", "")), str(action.get("action_ts", ""))]
    elif kind == "view_submission":
        view = as_mapping(payload.get("view"))
        parts = [user, str(view.get("id", "")), "sent"]
    elif kind == "slash_commands":
        parts = [user, str(payload.get("trigger_id", "")), "command"]
    else:
        return ""
    return f"slack-{hashlib.sha256(orjson.dumps(parts)).hexdigest()}" if all(parts) else ""


class SlackAnswers:
    """Executes what people do in Slack with the messages of one channel; what came of it only they are told."""

    kind = "slack"

    def __init__(
        self,
        channel: Slack,
        tools: Callable[[], ChannelTools],
        on_call: OnCallSettings,
        permissions: Callable[[str], frozenset[Permission]],
        executor: AnswerExecutor,
        state: State,
        clock: Clock,
    ) -> None:
        """``tools`` returns the tools of one request."""
        self._channel = channel
        self._tools = tools
        self._on_call = on_call
        self._executor = executor
        self._answers = PersonAnswers(channel.name, self.kind, permissions, executor, state, clock)
        self._team = ""
        self._by_email: dict[str, str] = {}
        """The people who were found by their e-mail address, by their member ID."""

    async def execute(self, body: Mapping[str, Any], received: datetime, mark: Mark) -> str:
        """Execute what was received, and tell whoever sent it; return what came of it. Raises ``StateError``."""
        if _action(body).get("action_id") == OPEN:
            return "opened"  # Slack opens the page; it says so to the app as well
        try:
            person, member = await self._person(body)
        except DeliveryError as error:
            log.warning("who answered can't be looked up at Slack", channel=self._channel.name, error=str(error))
            await self._tell(body, self._executor.say("not-looked-up", error=str(error)))
            return "failed"
        stranger = f"Slack member {member}"
        try:
            answer, actor = await self._answers.permitted(person, stranger, lambda: _answer(body), _described(body))
            if _is_note_button(body):
                await self._open_note(body)
                return "opened"
            text = await self._executor.execute(answer, actor, mark)
        except AnswerRefusedError as error:
            await self._tell(body, self._executor.say(error.key, who=stranger))
            return "refused"
        except (InvalidCommandError, NotFoundError) as error:
            await self._tell(body, str(error))
            return "invalid"
        except DeliveryError as error:
            log.warning("modal not opened", channel=self._channel.name, error=str(error))
            await self._tell(body, self._executor.say("modal-not-opened"))
            return "failed"
        await self._tell(body, text)
        return "done"

    async def _person(self, body: Mapping[str, Any]) -> tuple[str, str]:
        """Return who sent it, empty for somebody unknown, and their member ID. Raises ``DeliveryError``."""
        user = as_mapping(body.get("user"))
        member = str(user.get("id") or body.get("user_id") or "")[:50]
        team = str(as_mapping(body.get("team")).get("id") or body.get("team_id") or "")
        if not self._team:
            self._team = await self._channel.web_api(self._tools()).team()
        if not member or team != self._team or user.get("team_id", team) != team:
            return "", member
        if known := person_at_slack(self._on_call, member) or self._by_email.get(member, ""):
            return known, member
        if not any(it.email for it in self._on_call.people.values()):
            return "", member
        try:
            email = await self._channel.web_api(self._tools()).email(member)
        except DeliveryError as error:
            if not error.permanent:
                raise
            log.info("e-mail of a member not readable", channel=self._channel.name, error=str(error))
            return "", member
        if person := person_with_email(self._on_call, email):
            self._by_email[member] = person
        return person, member

    async def _open_note(self, body: Mapping[str, Any]) -> None:
        answer = _answer(body)
        say = self._executor.say
        channel = str(as_mapping(body.get("channel")).get("id", ""))
        view = {
            "type": "modal",
            "callback_id": "toban.note",
            "private_metadata": orjson.dumps([str(_action(body).get("value", "")), channel]).decode(),
            "title": {"type": "plain_text", "text": say("note-title", number=answer.number)},
            "submit": {"type": "plain_text", "text": say("note-submit")},
            "close": {"type": "plain_text", "text": say("note-close")},
            "blocks": [
                {
                    "type": "input",
                    "block_id": "note",
                    "label": {"type": "plain_text", "text": say("note-label")},
                    "element": {
                        "type": "plain_text_input",
                        "action_id": "text",
                        "multiline": True,
                        "max_length": NOTE_LENGTH,
                    },
                }
            ],
        }
        api = self._channel.web_api(self._tools())
        await api.post("views.open", {"trigger_id": str(body.get("trigger_id", "")), "view": view})

    async def _tell(self, body: Mapping[str, Any], text: str) -> None:
        """Tell whoever sent it alone; what fails here is not the answer's fault, and only logged."""
        user = str(as_mapping(body.get("user")).get("id") or body.get("user_id") or "")
        channel = str(as_mapping(body.get("channel")).get("id") or _private(body)[1])
        url = str(body.get("response_url", ""))
        try:
            if url and self._is_slacks(url):
                message = {"response_type": "ephemeral", "replace_original": False, "delete_original": False}
                response = await self._channel.http(self._tools()).post(url, {**message, "text": text})
                response.raise_for_status()
            elif user and channel:
                message = {"channel": channel, "user": user, "text": text}
                await self._channel.web_api(self._tools()).post("chat.postEphemeral", message)
        except DeliveryError as error:
            log.warning("reply to an answer not delivered", channel=self._channel.name, error=str(error))

    def _is_slacks(self, url: str) -> bool:
        """Tell whether a URL leads to Slack: it comes signed, and is followed nowhere else all the same."""
        wanted, api = urlsplit(url), urlsplit(self._channel.api)
        host = wanted.hostname or ""
        return (wanted.scheme == "https" and host.endswith(".slack.com")) or wanted.netloc == api.netloc


def _action(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Return the first action of a click; Slack sends one."""
    return as_mapping(next(iter(as_list(payload.get("actions"))), None))


def _is_note_button(body: Mapping[str, Any]) -> bool:
    return body.get("type") == "block_actions" and _action(body).get("action_id") == f"toban.{Verb.NOTE.value}"


def _private(body: Mapping[str, Any]) -> tuple[str, str]:
    """Return the value and the channel of the button that opened a modal."""
    try:
        found = as_list(orjson.loads(str(as_mapping(body.get("view")).get("private_metadata", ""))))
    except ValueError:
        return "", ""
    return (str(found[0]), str(found[1])) if len(found) == 2 else ("", "")


def _answer(body: Mapping[str, Any]) -> Answer:
    """Return the answer that a payload stands for. Raises ``InvalidCommandError``."""
    kind = body.get("type")
    if kind == "slash_commands":
        return commanded(str(body.get("text", "")))
    if kind == "view_submission":
        answer = clicked(f"toban.{Verb.NOTE.value}", _private(body)[0])
        state = as_mapping(as_mapping(as_mapping(body.get("view")).get("state")).get("values"))
        value = as_mapping(as_mapping(state.get("note")).get("text")).get("value")
        return Answer(Verb.NOTE, answer.number, text=str(value or ""))
    action = _action(body)
    value = action.get("value") or as_mapping(action.get("selected_option")).get("value") or ""
    return clicked(str(action.get("action_id", "")), str(value))


def _described(body: Mapping[str, Any]) -> str:
    """Return what somebody wanted, for the audit log."""
    action = _action(body)
    value = action.get("value") or as_mapping(action.get("selected_option")).get("value") or ""
    wanted = body.get("text", "") if body.get("type") == "slash_commands" else f"{action.get('action_id', '')} {value}"
    return f"{body.get('type', '')} {wanted}".strip()[:300]
