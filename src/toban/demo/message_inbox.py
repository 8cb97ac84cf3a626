"""Where the demo's messages go: what Slack, PagerDuty and a mail server would have got, kept and shown on a page."""

import asyncio
import html
import secrets
import socket
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email import message_from_bytes, policy
from typing import Any, Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from toban.demo.servers import EXTRA, DemoError
from toban.demo.web_server import port_of, served
from toban.web.i18n import negotiate_language, texts
from toban.web.overview_page import POLICY, stylesheet

Say = Callable[[str], None]

KEPT: Final = 200
"""How many messages are kept of each sort."""

NAMES: Final = {"slack": "Slack", "pagerduty": "PagerDuty", "email": "Mail"}


@dataclass
class InboxMessage:
    """What one message says now, and how it came to that: the newest last."""

    title: str
    text: str
    color: str = ""
    """Slack's: the original's green, orange and red."""

    state: str = ""
    steps: list[tuple[datetime, str]] = field(default_factory=list)

    def step(self, says: str) -> None:
        """Note a change."""
        self.steps.append((datetime.now(UTC), says))


@dataclass
class Inbox:
    """Everything that came, by the service and the name under which it can be changed."""

    say: Say
    messages: dict[str, dict[str, InboxMessage]] = field(default_factory=lambda: {name: {} for name in NAMES})

    def put(self, service: str, name: str, message: InboxMessage, says: str) -> None:
        """Keep a message, or what became of one."""
        kept = self.messages[service]
        kept[name] = message
        message.step(says)
        while len(kept) > KEPT:
            kept.pop(next(iter(kept)))
        self.say(f"{NAMES[service]}: {says}")


@dataclass(frozen=True, slots=True)
class MessageInbox:
    """The open doors of the post office: a web service and a mail server on this machine."""

    web: socket.socket
    mail: socket.socket

    @property
    def page(self) -> str:
        """Where it is shown what came."""
        return f"http://127.0.0.1:{port_of(self.web)}"

    def channels(self) -> Mapping[str, Mapping[str, object]]:
        """Return what `channels` of a toban.yaml says for messages to come here."""
        mail = {"host": "127.0.0.1", "port": port_of(self.mail), "tls": "none"}
        return {
            "slack": {"kind": "slack", "token": "xoxb-demo", "api": f"{self.page}/slack"},
            "email": {"kind": "email", **mail, "sender": "toban <toban@example.com>", "to": ["owner@example.com"]},
            "pagerduty": {"kind": "pagerduty", "key": secrets.token_hex(16), "api": f"{self.page}/pagerduty"},
        }

    @asynccontextmanager
    async def served(self, say: Say) -> AsyncIterator[Inbox]:
        """Take what comes while the block lasts; ``say`` hears a line for each. Raises ``DemoError``."""
        box = Inbox(say)
        mail = await _mail(self.mail, box)
        try:
            async with served(Starlette(routes=InboxServer(box).routes()), self.web):
                yield box
        finally:
            mail.close()


@contextmanager
def open_inbox() -> Iterator[MessageInbox]:
    """Open the doors, on free ports: what comes before they are served waits."""
    with socket.socket() as web, socket.socket() as mail:
        for door in (web, mail):
            door.bind(("127.0.0.1", 0))
            door.listen()
        yield MessageInbox(web, mail)


class InboxServer:
    """Answers as Slack's Web API and PagerDuty's Events API do, and shows what came."""

    def __init__(self, box: Inbox) -> None:
        self._box = box

    def routes(self) -> list[Route]:
        """Return the routes."""
        post = ["POST"]
        return [
            Route("/", self.show),
            Route("/static/toban.css", stylesheet),
            Route("/slack/{method}", self.slack, methods=post),
            Route("/pagerduty/v2/enqueue", self.pagerduty, methods=post),
            Route("/pagerduty/v2/change/enqueue", self.change, methods=post),
            Route("/{path:path}", lambda _: RedirectResponse("/")),
        ]

    async def slack(self, request: Request) -> Response:
        """Take a message, a reply to one, or a change of one."""
        method, said = request.path_params["method"], await _body(request)
        kept = self._box.messages["slack"]
        if method == "auth.test":
            return JSONResponse({"ok": True, "user": "toban", "team": "the demo"})
        if method not in {"chat.postMessage", "chat.update"}:
            return JSONResponse({"ok": False, "error": "unknown_method"})
        if not said.get("text"):
            return JSONResponse({"ok": False, "error": "no_text"})
        name = str(said.get("ts") or said.get("thread_ts") or f"{datetime.now(UTC).timestamp():.6f}")
        if (said.get("ts") or said.get("thread_ts")) and name not in kept:
            return JSONResponse({"ok": False, "error": "message_not_found"})
        # Slack shows what was escaped for it as it was.
        text = html.unescape(str(said.get("text", "")))
        if said.get("thread_ts"):
            kept[name].step(text)
        else:
            message = kept.get(name) or InboxMessage("", "")
            first: dict[str, Any] = next(iter(said.get("attachments", ())), {})
            message.title, message.text = text, html.unescape(str(first.get("text", "")))
            message.color = str(first.get("color", ""))
            self._box.put("slack", name, message, text)
        return JSONResponse({"ok": True, "channel": said.get("channel", ""), "ts": name})

    async def pagerduty(self, request: Request) -> Response:
        """Take an event: an incident opens, somebody looks after it, or it is over."""
        said = await _body(request)
        name, action = str(said.get("dedup_key") or secrets.token_hex(8)), str(said.get("event_action", ""))
        kept = self._box.messages["pagerduty"]
        if action == "trigger":
            payload = said.get("payload", {})
            details = payload.get("custom_details", {})
            message = kept.get(name) or InboxMessage("", "")
            message.title, message.text = str(payload.get("summary", "")), str(details.get("text", ""))
            word = "updated" if message.state == "triggered" else "triggered"
            message.state = "triggered"
            self._box.put("pagerduty", name, message, f"{word}: {message.title}")
        elif name in kept and action in {"acknowledge", "resolve"}:
            message = kept[name]
            message.state = f"{action.rstrip('e')}ed"
            self._box.put("pagerduty", name, message, f"{message.state}: {message.title}")
        return JSONResponse({"status": "success", "message": "Event processed", "dedup_key": name}, 202)

    async def change(self, request: Request) -> Response:
        """Take what opens no incident."""
        title = str((await _body(request)).get("payload", {}).get("summary", ""))
        self._box.put("pagerduty", secrets.token_hex(8), InboxMessage(title, "", state="change"), title)
        return JSONResponse({"status": "success", "message": "Change event processed"}, 202)

    async def show(self, request: Request) -> Response:
        """Show what came, in the reader's language."""
        language = negotiate_language(request.headers.get("accept-language", ""))
        page = "".join(_html(self._box, texts(language), language))
        headers = {"content-security-policy": POLICY, "cache-control": "no-store"}
        return Response(page, headers=headers, media_type="text/html")


async def _body(request: Request) -> dict[str, Any]:
    try:
        found = await request.json()
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


class InboxMailHandler:
    """Takes mail, as aiosmtpd hands it over."""

    def __init__(self, box: Inbox) -> None:
        self._box = box

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802  # aiosmtpd's name
        """Keep a mail: those of one conversation together."""
        mail = message_from_bytes(envelope.content, policy=policy.default)
        body = mail.get_body(("plain",))
        title, text = str(mail["subject"]).strip(), body.get_content() if body else ""
        thread = str(mail["references"] or mail["message-id"]).split()[0]
        message = self._box.messages["email"].get(thread) or InboxMessage(title, text)
        message.title, message.text = title, text
        self._box.put("email", thread, message, f"{title} (to {', '.join(envelope.rcpt_tos)})")
        return "250 2.0.0 taken"


async def _mail(door: socket.socket, box: Inbox) -> asyncio.Server:
    try:
        from aiosmtpd.smtp import SMTP
    except ImportError as error:
        raise DemoError(f"a mail server is missing: {EXTRA}") from error
    loop = asyncio.get_running_loop()
    return await loop.create_server(
        lambda: SMTP(InboxMailHandler(box), hostname="127.0.0.1", loop=loop), sock=door.dup()
    )


def _html(box: Inbox, say: Mapping[str, str], language: str) -> Iterable[str]:
    yield f'<!doctype html><html lang="{language}"><meta charset="utf-8"><title>{say["post"]}</title>'
    yield '<meta name="viewport" content="width=device-width"><meta http-equiv="refresh" content="5">'
    yield f'<link rel="stylesheet" href="/static/toban.css"><header><h1>{say["post"]}</h1></header>'
    yield f"<p class=faint>{say['post-about']}</p>"
    for service, name in NAMES.items():
        yield f"<h2>{name}</h2>"
        messages = list(box.messages[service].values())
        yield from _messages(messages, say) if messages else [f"<p class=faint>{say['post-nothing']}</p>"]
    yield "</html>"


def _messages(messages: Sequence[InboxMessage], say: Mapping[str, str]) -> Iterable[str]:
    for message in sorted(messages, key=lambda one: one.steps[-1][0], reverse=True):
        sort = {"#36a64f": "ok", "#ff9900": "warning", "#ff0000": "critical"}.get(message.color, "")
        sort = sort or {"resolved": "ok", "triggered": "critical", "acknowledged": "warning"}.get(message.state, "")
        state = f' <span class="faint">{html.escape(message.state)}</span>' if message.state else ""
        title, text = html.escape(message.title), html.escape(message.text)
        yield f'<article class="{sort}"><b>{title}</b>{state}<pre>{text}</pre>'
        yield "<ul class=faint>"
        yield "".join(f"<li>{at:%H:%M:%S} {html.escape(says)}" for at, says in reversed(message.steps))
        yield "</ul></article>"
