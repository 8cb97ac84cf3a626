"""E-mail, by SMTP."""

import hashlib
import html
import ssl
from collections.abc import Mapping
from email import policy
from email.message import EmailMessage
from email.utils import format_datetime
from pathlib import Path
from typing import Final, Literal, Self

import aiosmtplib
import structlog
from aiosmtplib.errors import (
    SMTPAuthenticationError,
    SMTPDataError,
    SMTPException,
    SMTPHeloError,
    SMTPNotSupported,
    SMTPRecipientsRefused,
    SMTPResponseException,
    SMTPSenderRefused,
)
from pydantic import model_validator

from toban.core.errors import DeliveryError
from toban.core.network import reason
from toban.core.section import Secret, Text
from toban.notify.channel import Channel, Handle, Proof, Receiver, Sealed, Tools
from toban.notify.notification import Notification
from toban.notify.plain import is_web, one_line, shortened, without
from toban.notify.wording import words

log = structlog.get_logger("toban.notify")

LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_SUBJECT: Final = 180


class Email(Channel):
    """
    Send mail: text and HTML, and each thread one conversation.

    A server that offers no STARTTLS is refused rather than spoken to in the clear, and certificates are verified.
    """

    kind: Literal["email"] = "email"

    host: Text
    """The mail server."""

    port: int = 587
    """Its port: 587 for STARTTLS, 465 for TLS."""

    tls: Literal["starttls", "tls", "none"] = "starttls"
    """How the line is encrypted; `none` only for a server on this machine."""

    ca: Path | None = None
    """A file with the certificates to trust, beside those of the system."""

    username: Text = ""
    """The account to log in with; nothing for a server that asks for none."""

    password: Secret | None = None
    """Its password."""

    sender: Text
    """Whom the mails are from: `toban <alerts@example.com>`."""

    to: tuple[Text, ...]
    """Who gets them."""

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
                raise ValueError(f"{address!r} is no mail address: write it like toban <alerts@example.com>")
        return self

    async def send(self, notification: Notification, handle: Handle, tools: Tools) -> Handle:
        """
        Send it to whoever has not got it yet.

        Who is refused for good is remembered and passed over; who is refused for now gets the same message later, and
        nobody twice.
        """
        had = set(handle.get("reached", ())) if handle.get("key") == notification.key else set()
        refused: dict[str, str] = dict(handle.get("refused", {}))
        left = [address for address in self.to if address not in had]
        message = dressed(notification, self.sender, self.to, tools.environment)
        try:
            async with _Connected(self) as client:
                failed = await _sent(client, message, self.sender, left)
        except DeliveryError:
            raise
        except (SMTPException, OSError, ValueError) as error:
            raise self._trouble(error) from error
        for address, (code, words_) in failed.items():
            refused[address] = f"{code} {words_}"
            log.warning("a recipient was refused", channel=self.name, to=address, code=code, says=words_[:200])
        for address in set(left) - set(failed):
            refused.pop(address, None)
        if failed and len(failed) == len(left) and not had:
            permanent = all(code >= 500 for code, _ in failed.values())
            raise DeliveryError(f"{self.name}: no recipient was accepted: {_told(failed)}", permanent=permanent)
        return {"key": notification.key, "reached": sorted((had | set(left)) - set(failed)), "refused": refused}

    def _trouble(self, error: Exception) -> DeliveryError:
        secret = self.password.get_secret_value() if self.password else ""
        if isinstance(error, SMTPAuthenticationError):
            # Trying again would lock the account.
            said = f"the server does not accept the user and password ({error.code})"
            return DeliveryError(f"{self.name}: {said}", permanent=error.code >= 500)
        if isinstance(error, SMTPNotSupported) or "extension not supported" in str(error):
            return DeliveryError(f"{self.name}: the server offers no {self.tls.upper()}", permanent=True)
        if isinstance(error, ssl.SSLError):
            return DeliveryError(f"{self.name}: {reason(error)}")
        if isinstance(error, SMTPResponseException):
            final = isinstance(error, SMTPSenderRefused | SMTPDataError | SMTPHeloError)
            told = without(shortened(one_line(error.message), 200), [secret])
            return DeliveryError(f"{self.name}: {error.code} {told}", permanent=final and error.code >= 500)
        return DeliveryError(f"{self.name}: {without(shortened(one_line(reason(error)), 200), [secret])}")

    async def prove(self, tools: Tools) -> Proof:
        """Connect, encrypt, and log in."""
        try:
            async with _Connected(self) as client:
                await client.noop()
        except (SMTPException, OSError, ValueError) as error:
            return Proof(ok=False, says=str(self._trouble(error)))
        how = "logged in at" if self.username else "connected to"
        return Proof(ok=True, says=f"{how} {self.host}; whether it takes mail to all recipients shows when one is sent")

    def receiver(self, sealed: Sealed) -> Receiver:
        """Return it as `email_configs`."""
        parts: dict[str, object] = {
            "to": ", ".join(self.to),
            "from": self.sender,
            "smarthost": f"{self.host}:{self.port}",
            "require_tls": self.tls == "starttls",
            "headers": {"subject": "[{{ .Status }}] {{ .CommonAnnotations.summary }}"},
        }
        if self.username and self.password:
            parts |= {"auth_username": self.username, "auth_password_file": sealed(self.name, self.password)}
        if self.ca:
            parts["tls_config"] = {"ca_file": str(self.ca)}
        lost = "TLS from the first byte, which Alertmanager speaks at port 465 alone"
        return Receiver("email_configs", parts, lost if self.tls == "tls" and self.port != 465 else "")


class _Connected:
    """A conversation with a mail server, as long as the block lasts."""

    def __init__(self, channel: Email) -> None:
        context = ssl.create_default_context()
        if channel.ca:
            context.load_verify_locations(channel.ca)
        self._channel = channel
        self._client = aiosmtplib.SMTP(
            hostname=channel.host,
            port=channel.port,
            use_tls=channel.tls == "tls",
            start_tls=channel.tls == "starttls",
            tls_context=context,
            timeout=channel.timeout.total_seconds(),
            # Asking the system for its own name can take long.
            local_hostname="toban.invalid",
        )

    async def __aenter__(self) -> aiosmtplib.SMTP:
        await self._client.connect()
        if self._channel.username:
            password = self._channel.password.get_secret_value() if self._channel.password else ""
            await self._client.login(self._channel.username, password)
        return self._client

    async def __aexit__(self, *_: object) -> None:
        try:
            if self._client.is_connected:
                await self._client.quit()
        except SMTPException:
            self._client.close()  # what was to be sent is sent; how the server says good-bye is its affair


async def _sent(
    client: aiosmtplib.SMTP, message: EmailMessage, sender: str, to: list[str]
) -> Mapping[str, tuple[int, str]]:
    """Send to some recipients and return those who were refused, with the server's words."""
    try:
        answers, _ = await client.send_message(message, sender=_bare(sender), recipients=[_bare(it) for it in to])
        failed = {address: (answer.code, answer.message) for address, answer in answers.items()}
    except SMTPRecipientsRefused as error:
        failed = {it.recipient: (it.code, it.message) for it in error.recipients}
    by_address = {_bare(it): it for it in to}
    return {by_address.get(address, address): (code, said) for address, (code, said) in failed.items()}


def _bare(address: str) -> str:
    """Return the address alone: `Ann <ann@example.com>` is ann@example.com."""
    return address.rpartition("<")[2].rstrip("> ")


def _told(failed: Mapping[str, tuple[int, str]]) -> str:
    return shortened("; ".join(f"{address}: {code} {one_line(said)}" for address, (code, said) in failed.items()), 300)


def dressed(notification: Notification, sender: str, to: tuple[str, ...], environment: str) -> EmailMessage:
    """Return a message as a mail: the subject stays the same over its thread, the state is its first line."""
    domain = _bare(sender).rpartition("@")[2] or "toban.invalid"
    root = f"<toban-{_mark(notification.thread)}@{domain}>"
    own = root if notification.number == 0 else f"<toban-{_mark(notification.key)}@{domain}>"
    message = EmailMessage(policy=policy.SMTP.clone(cte_type="7bit"))
    message["Subject"] = shortened(f"[{environment}] {one_line(notification.title)}", _SUBJECT)
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
    message.add_alternative(_html(notification), subtype="html")
    return message


def _mark(text: str) -> str:
    """Return what may stand in a Message-ID, for a name that may be anything."""
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def _state(notification: Notification) -> str:
    say = words(notification.language)
    return f"{say[f'kind-{notification.kind.value}']} ({notification.severity.upper()})"


def _text(notification: Notification) -> str:
    facts = [f"{fact.name}: {fact.value}" for fact in notification.facts]
    links = [f"{link.text}: {link.href}" for link in notification.links]
    parts = [[f"{_state(notification)}: {notification.title}"], list(notification.lines), facts, links]
    return "\n\n".join("\n".join(part) for part in parts if part) + "\n"


COLORS: Final = {"critical": "#c00000", "warning": "#b36b00", "info": "#2e7d32"}


def _html(notification: Notification) -> str:
    say = html.escape
    color = COLORS["info"] if notification.over else COLORS.get(notification.severity, COLORS["warning"])
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
