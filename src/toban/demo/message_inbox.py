"""The demo's message inbox: receives messages as Slack, PagerDuty and a mail server do, and shows them on a page."""

import asyncio
import html
import secrets
import socket
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email import message_from_bytes, policy
from importlib.resources import files
from typing import Any, Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from toban.demo.servers import INSTALL_EXTRA, DemoError
from toban.demo.web_server import port_of, served
from toban.web.pages.i18n import negotiate_language, texts

Say = Callable[[str], None]

POLICY: Final = "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

MAX_MESSAGES: Final = 200
"""Messages that are kept of each service."""

SERVICE_NAMES: Final = {"slack": "Slack", "pagerduty": "PagerDuty", "email": "Mail"}


@dataclass
class InboxMessage:
    """A message as it is now, and its changes, the newest last."""

    title: str
    text: str
    color: str = ""
    """Slack's color: green, orange or red."""

    state: str = ""
    steps: list[tuple[datetime, str]] = field(default_factory=list)

    def step(self, text: str) -> None:
        """Record a change."""
        self.steps.append((datetime.now(UTC), text))


@dataclass
class Inbox:
    """All messages, by service and by the id under which they can be changed."""

    say: Say
    messages: dict[str, dict[str, InboxMessage]] = field(default_factory=lambda: {name: {} for name in SERVICE_NAMES})

    def put(self, service: str, name: str, message: InboxMessage, text: str) -> None:
        """Store a message, new or changed."""
        kept = self.messages[service]
        kept[name] = message
        message.step(text)
        while len(kept) > MAX_MESSAGES:
            kept.pop(next(iter(kept)))
        self.say(f"{SERVICE_NAMES[service]}: {text}")


@dataclass(frozen=True, slots=True)
class MessageInbox:
    """The listening sockets of the inbox: a web server and a mail server."""

    web: socket.socket
    mail: socket.socket

    @property
    def page(self) -> str:
        """The URL of the page with the messages."""
        return f"http://127.0.0.1:{port_of(self.web)}"

    def channels(self) -> Mapping[str, Mapping[str, object]]:
        """Return the `channels` of a toban.yaml that sends messages here."""
        mail = {"host": "127.0.0.1", "port": port_of(self.mail), "tls": "none"}
        return {
            "slack": {"kind": "slack", "token": "xoxb-demo", "api": f"{self.page}/slack"},
            "email": {"kind": "email", **mail, "sender": "toban <toban@example.com>", "to": ["owner@example.com"]},
            "pagerduty": {"kind": "pagerduty", "key": secrets.token_hex(16), "api": f"{self.page}/pagerduty"},
        }

    @asynccontextmanager
    async def served(self, say: Say) -> AsyncIterator[Inbox]:
        """Receive messages while the block runs; ``say`` gets a line for each. Raises ``DemoError``."""
        inbox = Inbox(say)
        mail = await _mail_server(self.mail, inbox)
        try:
            async with served(Starlette(routes=InboxServer(inbox).routes()), self.web):
                yield inbox
        finally:
            mail.close()


@contextmanager
def open_inbox() -> Iterator[MessageInbox]:
    """Listen on free ports: connections wait until they are served."""
    with socket.socket() as web, socket.socket() as mail:
        for listener in (web, mail):
            listener.bind(("127.0.0.1", 0))
            listener.listen()
        yield MessageInbox(web, mail)


class InboxServer:
    """Serves Slack's Web API, PagerDuty's Events API, and the page with the messages."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox

    def routes(self) -> list[Route]:
        """Return the routes."""
        post = ["POST"]
        return [
            Route("/", self.show),
            Route("/static/inbox.css", _stylesheet),
            Route("/slack/{method}", self.slack, methods=post),
            Route("/pagerduty/v2/enqueue", self.pagerduty, methods=post),
            Route("/pagerduty/v2/change/enqueue", self.change, methods=post),
            Route("/{path:path}", lambda _: RedirectResponse("/")),
        ]

    async def slack(self, request: Request) -> Response:
        """Receive a message, a reply, or a change of a message."""
        method, body = request.path_params["method"], await _body(request)
        kept = self._inbox.messages["slack"]
        if method == "auth.test":
            return JSONResponse({"ok": True, "user": "toban", "team": "the demo"})
        if method not in {"chat.postMessage", "chat.update"}:
            return JSONResponse({"ok": False, "error": "unknown_method"})
        if not body.get("text"):
            return JSONResponse({"ok": False, "error": "no_text"})
        name = str(body.get("ts") or body.get("thread_ts") or f"{datetime.now(UTC).timestamp():.6f}")
        if (body.get("ts") or body.get("thread_ts")) and name not in kept:
            return JSONResponse({"ok": False, "error": "message_not_found"})
        # Slack unescapes what was escaped for it.
        text = html.unescape(str(body.get("text", "")))
        if body.get("thread_ts"):
            kept[name].step(text)
        else:
            message = kept.get(name) or InboxMessage("", "")
            first: dict[str, Any] = next(iter(body.get("attachments", ())), {})
            message.title, message.text = text, html.unescape(str(first.get("text", "")))
            message.color = str(first.get("color", ""))
            self._inbox.put("slack", name, message, text)
        return JSONResponse({"ok": True, "channel": body.get("channel", ""), "ts": name})

    async def pagerduty(self, request: Request) -> Response:
        """Receive an event: an incident is triggered, acknowledged or resolved."""
        body = await _body(request)
        name, action = str(body.get("dedup_key") or secrets.token_hex(8)), str(body.get("event_action", ""))
        kept = self._inbox.messages["pagerduty"]
        if action == "trigger":
            payload = body.get("payload", {})
            details = payload.get("custom_details", {})
            message = kept.get(name) or InboxMessage("", "")
            message.title, message.text = str(payload.get("summary", "")), str(details.get("text", ""))
            verb = "updated" if message.state == "triggered" else "triggered"
            message.state = "triggered"
            self._inbox.put("pagerduty", name, message, f"{verb}: {message.title}")
        elif name in kept and action in {"acknowledge", "resolve"}:
            message = kept[name]
            message.state = f"{action.rstrip('e')}ed"
            self._inbox.put("pagerduty", name, message, f"{message.state}: {message.title}")
        return JSONResponse({"status": "success", "message": "Event processed", "dedup_key": name}, 202)

    async def change(self, request: Request) -> Response:
        """Receive a change event, which triggers no incident."""
        title = str((await _body(request)).get("payload", {}).get("summary", ""))
        self._inbox.put("pagerduty", secrets.token_hex(8), InboxMessage(title, "", state="change"), title)
        return JSONResponse({"status": "success", "message": "Change event processed"}, 202)

    async def show(self, request: Request) -> Response:
        """Show the messages, in the reader's language."""
        language = negotiate_language(request.headers.get("accept-language", ""))
        page = "".join(_html(self._inbox, texts(language), language))
        headers = {"content-security-policy": POLICY, "cache-control": "no-store"}
        return Response(page, headers=headers, media_type="text/html")


async def _body(request: Request) -> dict[str, Any]:
    try:
        found = await request.json()
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


class InboxMailHandler:
    """Receives mail from aiosmtpd."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802  # aiosmtpd's name
        """Store a mail; those of one thread are one message."""
        mail = message_from_bytes(envelope.content, policy=policy.default)
        body = mail.get_body(("plain",))
        title, text = str(mail["subject"]).strip(), body.get_content() if body else ""
        thread = str(mail["references"] or mail["message-id"]).split()[0]
        message = self._inbox.messages["email"].get(thread) or InboxMessage(title, text)
        message.title, message.text = title, text
        self._inbox.put("email", thread, message, f"{title} (to {', '.join(envelope.rcpt_tos)})")
        return "250 2.0.0 accepted"


async def _mail_server(listener: socket.socket, inbox: Inbox) -> asyncio.Server:
    try:
        from aiosmtpd.smtp import SMTP
    except ImportError as error:
        raise DemoError(f"a mail server is missing: {INSTALL_EXTRA}") from error
    loop = asyncio.get_running_loop()
    return await loop.create_server(
        lambda: SMTP(InboxMailHandler(inbox), hostname="127.0.0.1", loop=loop), sock=listener.dup()
    )


def _html(inbox: Inbox, say: Mapping[str, str], language: str) -> Iterable[str]:
    yield f'<!doctype html><html lang="{language}"><meta charset="utf-8"><title>{say["post"]}</title>'
    yield '<meta name="viewport" content="width=device-width"><meta http-equiv="refresh" content="5">'
    yield f'<link rel="stylesheet" href="/static/inbox.css"><header><h1>{say["post"]}</h1></header>'
    yield f"<p class=faint>{say['post-about']}</p>"
    for service, name in SERVICE_NAMES.items():
        yield f"<h2>{name}</h2>"
        messages = list(inbox.messages[service].values())
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
        yield "".join(f"<li>{at:%H:%M:%S} {html.escape(text)}" for at, text in reversed(message.steps))
        yield "</ul></article>"


async def _stylesheet(request: Request) -> Response:
    return Response(
        files("toban.demo").joinpath("inbox.css").read_bytes(),
        media_type="text/css",
        headers={"cache-control": "max-age=300"},
    )
