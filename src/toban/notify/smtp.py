"""
An SMTP session, as RFC 5321 describes it.

Each step has its own timeout (section 4.5.3.2); only the reply after the message decides whether it is accepted. A 5xx
reply is permanent, a 4xx reply temporary; errors quote the server's words.
"""

import asyncio
import base64
import re
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from email import policy
from email.message import EmailMessage
from types import TracebackType
from typing import Final, Literal, Self

import aiosmtplib
from aiosmtplib.errors import (
    SMTPAuthenticationError,
    SMTPException,
    SMTPHeloError,
    SMTPRecipientRefused,
    SMTPResponseException,
    SMTPServerDisconnected,
)
from aiosmtplib.protocol import normalize_message_line_endings

from toban.core.errors import DeliveryError
from toban.core.http_client import error_reason
from toban.core.text_limits import safe_text
from toban.notify.delivery_attempt import DeliveryAttempt, RecipientRefusal

MAIL_POLICY: Final = policy.SMTP.clone(cte_type="7bit")
"""Serialization of mails that servers without 8BITMIME accept, too."""

QUIT_SECONDS: Final = 2.0
"""Timeout of QUIT: whatever the server replies to it, the message is sent."""

CLOSING: Final = 421
"""The server closes the session."""

UNSUPPORTED: Final = frozenset({500, 501, 502, 503, 504})
"""Replies to an AUTH method that was offered and does not exist: they say nothing about the password."""


@dataclass(frozen=True, slots=True)
class Server:
    """A mail server, and how to connect to it."""

    host: str
    port: int
    tls: Literal["starttls", "tls", "none"]
    context: ssl.SSLContext
    username: str
    password: str
    timeout: timedelta
    """For connecting, and for the reply to each command."""
    confirmation: timedelta
    """For the reply after the message."""


class SmtpSession:
    """
    A session that is open for mail as long as the block lasts.

    Everything raises ``DeliveryError``, whose text begins with ``name``.
    """

    def __init__(self, name: str, server: Server) -> None:
        self._name = name
        self._server = server
        # Without its own timeout: `asyncio.wait_for`, which it uses, may swallow a cancel on Python 3.11.
        self._client = aiosmtplib.SMTP(
            hostname=server.host,
            port=server.port,
            use_tls=server.tls == "tls",
            start_tls=False,
            tls_context=server.context,
            timeout=None,
            # Looking up the own host name can take long.
            local_hostname="toban.invalid",
        )

    async def __aenter__(self) -> Self:
        try:
            async with self._step("connecting"):
                await self._client.connect()
            await self._hello()
            if self._server.tls == "starttls":
                await self._encrypt()
            if self._server.username:
                await self._log_in()
        except BaseException:
            self._abort()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None and self._client.is_connected:
                # Whatever the server replies: the message is sent.
                with suppress(SMTPException, OSError):
                    async with asyncio.timeout(QUIT_SECONDS):
                        await self._client.quit()
        finally:
            self._abort()

    @property
    def takes_utf8(self) -> bool:
        """Whether the server accepts addresses beyond ASCII."""
        return self._client.supports_extension("smtputf8")

    async def send(
        self, sender: str, recipients: Sequence[str], message: EmailMessage, attempt: DeliveryAttempt
    ) -> None:
        """
        Send a message to some recipients; ``attempt`` records who gets it.

        Raises ``DeliveryError`` when nobody does.
        """
        addresses = {recipient: envelope(recipient) for recipient in recipients}
        by = envelope(sender)
        beyond = [recipient for recipient, address in addresses.items() if not address.isascii()]
        utf8 = self.takes_utf8 and bool(beyond or not by.isascii())
        if not self.takes_utf8:
            for recipient in beyond:
                attempt.refused[recipient] = RecipientRefusal(
                    "the server accepts no address beyond ASCII (no SMTPUTF8)", True
                )
                del addresses[recipient]
        data = _dot_stuffed(message.as_bytes(policy=MAIL_POLICY.clone(utf8=utf8)))
        options = [*(["SMTPUTF8"] if utf8 else []), *self._size(data)]
        encoding = "utf-8" if utf8 else "ascii"
        if addresses:
            async with self._step("MAIL"):
                await self._client.mail(by, options=options, encoding=encoding)
        for recipient, address in addresses.items():
            async with self._step("RCPT"):
                await self._recipient(recipient, address, encoding, attempt)
        if len(attempt.refused) == len(recipients):
            refusals = attempt.refused.items()
            words = "; ".join(f"{recipient}: {refusal.message}" for recipient, refusal in refusals)
            permanent = all(refusal.permanent for _, refusal in refusals)
            raise DeliveryError(f"{self._name}: no recipient was accepted: {words}", permanent=permanent)
        await self._data(data, attempt)
        attempt.accepted.update(set(recipients) - set(attempt.refused))

    async def _recipient(self, recipient: str, address: str, encoding: str, attempt: DeliveryAttempt) -> None:
        try:
            await self._client.rcpt(address, encoding=encoding)
        except SMTPRecipientRefused as error:
            if error.code == CLOSING:
                raise
            attempt.refused[recipient] = RecipientRefusal(self._reply_text(error), error.code >= 500)

    async def _data(self, data: bytes, attempt: DeliveryAttempt) -> None:
        async with self._step("DATA"):
            reply = await self._client.execute_command(b"DATA")
            if reply.code != 354:
                raise SMTPResponseException(reply.code, reply.message)
        async with self._step("the message", self._server.confirmation):
            if (protocol := self._client.protocol) is None:
                raise SMTPServerDisconnected("Connection lost")
            protocol.write(data)
            attempt.unanswered = True
            try:
                reply = await protocol.read_response()
            except BaseException:
                # What was not sent completely can't have been accepted.
                attempt.unanswered = not self._unsent()
                raise
            attempt.unanswered = False
            if not 200 <= reply.code < 300:
                raise SMTPResponseException(reply.code, reply.message)

    def _unsent(self) -> int:
        """Return how many bytes still wait to be sent."""
        transport = self._client.transport
        return transport.get_write_buffer_size() if isinstance(transport, asyncio.WriteTransport) else 0

    def _size(self, data: bytes) -> list[str]:
        """Return the SIZE parameter, where the server supports it (RFC 1870)."""
        return [f"SIZE={len(data)}"] if self._client.supports_extension("size") else []

    async def _hello(self) -> None:
        async with self._step("EHLO"):
            try:
                await self._client.ehlo()
            except SMTPHeloError as error:
                if error.code < 500:
                    raise
                await self._client.helo()

    async def _encrypt(self) -> None:
        if not self._client.supports_extension("starttls"):
            raise DeliveryError(f"{self._name}: the server offers no STARTTLS", permanent=True)
        async with self._step("STARTTLS"):
            await self._client.starttls()
        await self._hello()

    async def _log_in(self) -> None:
        """Log in once: each attempt with a wrong password counts at the server, and may lock the account."""
        user, password = self._server.username, self._server.password
        # The connection is encrypted or local, so methods that let the server store only a hash come first.
        methods = {
            "plain": self._client.auth_plain,
            "login": self._client.auth_login,
            "cram-md5": self._client.auth_crammd5,
        }
        offered = self._client.server_auth_methods
        unsupported: SMTPAuthenticationError | None = None
        for method in filter(offered.__contains__, methods):
            try:
                async with self._step("AUTH"):
                    await methods[method](user, password)
            except _LogInError as error:
                if error.reply.code not in UNSUPPORTED:
                    raise
                unsupported = error.reply
            else:
                return
        if unsupported:
            raise self._log_in_error(unsupported)
        there = f"it offers {', '.join(offered).upper()}" if offered else "it offers none"
        raise DeliveryError(f"{self._name}: the server offers no supported AUTH method: {there}", permanent=True)

    @asynccontextmanager
    async def _step(self, step: str, limit: timedelta | None = None) -> AsyncIterator[None]:
        """Limit the duration of a step, and turn its errors into ``DeliveryError``."""
        limit = limit or self._server.timeout
        try:
            async with asyncio.timeout(limit.total_seconds()):
                yield
        except TimeoutError as error:
            raise DeliveryError(f"{self._name}: {step}: no reply within {limit.total_seconds():.0f} s") from error
        except SMTPAuthenticationError as error:
            raise self._log_in_error(error) from error
        except SMTPResponseException as error:
            raise DeliveryError(f"{self._name}: {self._reply_text(error)}", permanent=error.code >= 500) from error
        except (SMTPException, OSError, ValueError) as error:
            raise DeliveryError(f"{self._name}: {step}: {safe_text(error_reason(error), self._secrets())}") from error

    def _log_in_error(self, error: SMTPAuthenticationError) -> "_LogInError":
        can = "does not accept" if error.code >= 500 else "can't check"
        return _LogInError(f"{self._name}: the server {can} the user and password ({self._reply_text(error)})", error)

    def _reply_text(self, error: SMTPResponseException | SMTPRecipientRefused) -> str:
        """Return the server's reply as text."""
        code = f"{error.code} " if error.code > 0 else ""
        # Each line of a reply repeats the enhanced status code (RFC 2034).
        words = re.sub(r"\n\d\.\d+\.\d+(?=\s)", " ", error.message)
        return f"{code}{safe_text(words, self._secrets())}"

    def _secrets(self) -> list[str]:
        """Return the password, also as it is encoded in AUTH."""
        user, password = self._server.username.encode(), self._server.password.encode()
        if not password:
            return []
        written = (password, b"\0" + user + b"\0" + password)
        return [self._server.password, *(base64.b64encode(it).decode() for it in written)]

    def _abort(self) -> None:
        """Close the connection at once: a server that no longer reads would keep it open."""
        transport = self._client.transport
        self._client.close()
        if isinstance(transport, asyncio.WriteTransport):
            transport.abort()


class _LogInError(DeliveryError):
    """The server rejected the log-in."""

    def __init__(self, message: str, reply: SMTPAuthenticationError) -> None:
        super().__init__(message, permanent=reply.code >= 500)
        self.reply = reply


def envelope(address: str) -> str:
    """Return an address for the envelope: `Ann <ann@example.com>` is ann@example.com, its domain in ASCII."""
    local, _, domain = address.rpartition("<")[2].rstrip("> ").rpartition("@")
    with suppress(UnicodeError):
        domain = domain.encode("idna").decode()
    return f"{local}@{domain}"


def _dot_stuffed(message: bytes) -> bytes:
    """Return a message as DATA sends it: CRLF, dots doubled at the start of lines, and the final dot."""
    return re.sub(rb"(?m)^\.", b"..", normalize_message_line_endings(message)) + b".\r\n"
