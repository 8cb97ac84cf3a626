"""E-mail, by SMTP."""

import hashlib
import html
import re
import ssl
from collections.abc import Sequence
from datetime import timedelta
from email.message import EmailMessage
from email.utils import format_datetime
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import BeforeValidator, model_validator

from toban.core.config_types import Duration, Host, Secret, Text
from toban.core.connection_check import ConnectionCheck
from toban.core.errors import DeliveryError
from toban.core.http_client import client_context
from toban.core.notification import DocumentSection, Notification, NotificationKind
from toban.core.text_limits import is_web, one_line, truncate
from toban.notify.channel import AlertmanagerReceiver, Channel, ChannelTools, Handle, SecretFile
from toban.notify.smtp import MAIL_POLICY, Server, SmtpSession, envelope
from toban.notify.texts import texts

LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_SUBJECT: Final = 180


_LISTED: Final = re.compile(r'(?:"[^"]*+"?+|[^",])++')
"""One of several addresses with commas between: `"Doe, Ann" <ann@example.com>` is one."""


def _each(value: object) -> object:
    """Return the addresses one by one, however they are listed."""
    listed = [value] if isinstance(value, str) else value
    if not isinstance(listed, list | tuple):
        return value
    parts = [_LISTED.findall(one) if isinstance(one, str) else [one] for one in listed]
    return [one for some in parts for one in some if not isinstance(one, str) or one.strip()]


class Email(Channel):
    """
    Send mail: text and HTML, and each thread one session.

    A server that offers no STARTTLS is refused rather than spoken to in the clear, and certificates are verified.
    """

    kind: Literal["email"] = "email"

    host: Host
    """The mail server."""

    port: int = 587
    """Its port: 587 for STARTTLS, 465 for TLS."""

    tls: Literal["starttls", "tls", "none"] = "starttls"
    """How the connection is encrypted; `none` only for a server on this machine."""

    ca: Path | None = None
    """A file with CA certificates to trust, in addition to those of the system."""

    username: Text = ""
    """The account to log in with; empty for a server without authentication."""

    password: Secret | None = None
    """Its password."""

    sender: Text
    """The sender: `toban <alerts@example.com>`."""

    to: Annotated[tuple[Text, ...], BeforeValidator(_each)]
    """The recipients: a list, or one text separated by commas."""

    timeout: Duration = timedelta(seconds=30)
    """How long connecting may take, and the reply to each command."""

    confirmation: Duration = timedelta(minutes=10)
    """
    How long the reply after the message may take, which decides whether it is accepted.

    RFC 5321 asks for ten minutes; other mails are sent meanwhile.
    """

    @model_validator(mode="after")
    def _is_possible(self) -> Self:
        if self.tls == "none" and self.host not in LOOPBACK:
            raise ValueError(
                "tls: `none` is for a server on this machine only: others would read the mails on their way"
            )
        if not self.to:
            raise ValueError("to: name at least one recipient")
        for address in (self.sender, *self.to):
            if "@" not in address or address != one_line(address):
                raise ValueError(f"{address!r} is an invalid e-mail address: write it like toban <alerts@example.com>")
        return self

    @property
    def recipients(self) -> tuple[str, ...]:
        """Each may be rejected alone."""
        return self.to

    @property
    def max_duration(self) -> timedelta:
        """A dozen commands and one for each recipient, and the last reply."""
        return (12 + len(self.to)) * self.timeout + self.confirmation

    async def send(self, notification: Notification, handle: Handle, tools: ChannelTools) -> Handle:
        """
        Send it to its recipients in one mail.

        Only the reply after the message decides: how the session ends changes nothing.
        """
        wanted = [address for address in self.to if not notification.recipients or address in notification.recipients]
        if not wanted:
            return handle  # its recipients were removed from the settings
        async with await self._session() as session:
            shown = self.to if session.takes_utf8 else [it for it in self.to if envelope(it).isascii()]
            message = render_mail(notification, self.sender, shown, tools.shop)
            await session.send(self.sender, wanted, message, tools.attempt)
        refused = {recipient: refusal.message for recipient, refusal in tools.attempt.refused.items()}
        return {"key": notification.key, "reached": sorted(tools.attempt.accepted), "refused": refused}

    async def _session(self) -> SmtpSession:
        """Return a session to be opened. Raises ``DeliveryError``."""
        context = await client_context()
        try:
            if self.ca:
                context.load_verify_locations(self.ca)
        except (OSError, ssl.SSLError) as error:
            raise DeliveryError(f"{self.name}: ca: {self.ca}: {error}") from error
        password = self.password.get_secret_value() if self.password else ""
        server = Server(
            self.host, self.port, self.tls, context, self.username, password, self.timeout, self.confirmation
        )
        return SmtpSession(self.name, server)

    async def check_connection(self, tools: ChannelTools) -> ConnectionCheck:
        """Connect, encrypt, and log in."""
        try:
            async with await self._session():
                pass
        except DeliveryError as error:
            return ConnectionCheck(ok=False, message=str(error))
        how = "logged in at" if self.username else "connected to"
        return ConnectionCheck(
            ok=True, message=f"{how} {self.host}; send a test notification to see whether it accepts all recipients"
        )

    def receiver(self, secret_file: SecretFile) -> AlertmanagerReceiver:
        """Return it as `email_configs`."""
        parts: dict[str, object] = {
            "to": ", ".join(self.to),
            "from": self.sender,
            "smarthost": f"{self.host}:{self.port}",
            "require_tls": self.tls == "starttls",
            "headers": {"subject": "[{{ .Status }}] {{ .CommonAnnotations.summary }}"},
        }
        if self.username and self.password:
            parts |= {"auth_username": self.username, "auth_password_file": secret_file(self.name, self.password)}
        if self.ca:
            parts["tls_config"] = {"ca_file": str(self.ca)}
        lost = "implicit TLS, which Alertmanager supports at port 465 only"
        return AlertmanagerReceiver("email_configs", parts, lost if self.tls == "tls" and self.port != 465 else "")


def render_mail(notification: Notification, sender: str, to: Sequence[str], shop: str) -> EmailMessage:
    """Return a notification as a mail, whose references put it in the thread of its group."""
    domain = envelope(sender).rpartition("@")[2] or "toban.invalid"
    root = f"<toban-{_hash(notification.group_id)}@{domain}>"
    own = root if notification.number == 0 else f"<toban-{_hash(notification.message)}@{domain}>"
    message = EmailMessage(policy=MAIL_POLICY)
    message["Subject"] = truncate(one_line(_subject(notification, shop)), _SUBJECT)
    message["From"] = sender
    message["To"] = ", ".join(to)
    message["Date"] = format_datetime(notification.at)
    message["Message-ID"] = own
    if own != root:
        message["In-Reply-To"] = root
        message["References"] = root
    message["Auto-Submitted"] = "auto-generated"
    message["X-Auto-Response-Suppress"] = "All"
    message["X-Toban-Kind"] = notification.kind.value
    message.set_content(_text(notification))
    document = notification.document
    message.add_alternative(document.html if document else _html(notification), subtype="html")
    if document:
        *_, shown = message.iter_parts()
        for name, image in document.images.items():
            shown.add_related(image, "image", "png", cid=f"<{name}>")
    return message


def _subject(notification: Notification, shop: str) -> str:
    """Return the subject: state, severity, shop and title; the state is the same in every language, for filters."""
    if notification.document:
        return notification.title
    kind = NotificationKind.FIRING if notification.kind is NotificationKind.REMINDER else notification.kind
    state = kind.upper() if kind is NotificationKind.NOTICE else f"{kind.upper()} {notification.severity}"
    return f"[{state}] {shop}: {notification.title}" if shop else f"[{state}] {notification.title}"


def _hash(text: str) -> str:
    """Return a hash that is valid in a Message-ID."""
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def _state(notification: Notification) -> str:
    say = texts(notification.language)
    return f"{say[f'kind-{notification.kind.value}']} ({notification.severity.upper()})"


def _text(notification: Notification) -> str:
    facts = [f"{fact.name}: {fact.value}" for fact in notification.facts]
    links = [f"{link.text}: {link.href}" for link in notification.links]
    head = [notification.title] if notification.document else [f"{_state(notification)}: {notification.title}"]
    body = [list(notification.lines)]
    if notification.document and notification.document.sections:
        body = [_section_lines(it) for it in notification.document.sections]
    parts = [head, *body, facts, links]
    return "\n\n".join("\n".join(part) for part in parts if part) + "\n"


def _section_lines(section: DocumentSection) -> list[str]:
    """Return a part of a document for those who read mails as text."""
    facts = [f"{it.name}: {'; '.join(it.value.splitlines())}" for it in section.facts]
    lines = [section.heading.upper(), *section.lines, *facts, section.chart]
    return [line for line in lines if line]


COLORS: Final = {"critical": "#c00000", "warning": "#b36b00", "info": "#2e7d32"}


def _html(notification: Notification) -> str:
    say = html.escape
    color = COLORS["info"] if notification.is_resolved else COLORS.get(notification.severity, COLORS["warning"])
    lines = "".join(f"<p>{say(line)}</p>" for line in notification.lines)
    facts = "".join(
        f'<tr><td style="padding-right:1em;color:#666">{say(fact.name)}</td><td>{say(fact.value)}</td></tr>'
        for fact in notification.facts
    )
    links = " · ".join(
        f'<a href="{say(link.href)}">{say(link.text)}</a>' for link in notification.links if is_web(link.href)
    )
    return (
        f'<html lang="{notification.language}"><body style="font-family:sans-serif">'
        f'<div style="border-left:6px solid {color};padding-left:1em">'
        f'<p style="color:{color}"><b>{say(_state(notification))}</b></p><h2>{say(notification.title)}</h2>'
        f"{lines}<table>{facts}</table><p>{links}</p></div></body></html>\n"
    )
