"""
A mail server that speaks real SMTP: STARTTLS or TLS with a certificate of its own authority, log-in, and bad days.

    async with FakeSmtp(folder) as mail:
        mail.port, mail.ca, mail.user, mail.password   # what a channel is given
        mail.mails                                     # what was accepted: envelope and message
        mail.refuse["bob@example.com"] = "550 5.1.1 unknown"
        mail.next("451 4.3.0 try again", "drop")       # what the next two mails are answered, after DATA
"""

import asyncio
import ssl
import warnings
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from ipaddress import ip_address
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from aiosmtpd.smtp import SMTP, AuthResult
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass
class Mail:
    """One mail that was accepted."""

    sender: str
    to: list[str]
    message: EmailMessage


class FakeSmtp:
    """A mail server on a free port, while the block lasts."""

    user, password = "toban", "a secret of the mail server"

    def __init__(self, folder: Path, *, mode: str = "starttls", login: bool = True) -> None:
        self.mails: list[Mail] = []
        self.refuse: dict[str, str] = {}
        self.tries = 0
        self._answers: deque[str] = deque()
        self._open: list[SMTP] = []
        context, self.ca = _certificate(folder)
        self._tls = context if mode == "tls" else None
        self._options: dict[str, Any] = {"hostname": "127.0.0.1"}
        if mode == "starttls":
            self._options |= {"tls_context": context, "require_starttls": True}
        if login:
            secure = mode == "starttls"
            self._options |= {"auth_required": True, "authenticator": self._check, "auth_require_tls": secure}
        self._server: asyncio.Server | None = None

    @property
    def port(self) -> int:
        """Where it listens."""
        assert self._server
        return int(self._server.sockets[0].getsockname()[1])

    def next(self, *answers: str) -> None:
        """Let the coming mails be answered so; ``drop`` ends the connection instead, after the mail was taken."""
        self._answers.extend(answers)

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._conversation, "127.0.0.1", 0, ssl=self._tls)
        return self

    def _conversation(self) -> SMTP:
        with warnings.catch_warnings():
            # It does not know that the line is encrypted from its start, and warns that passwords were not.
            warnings.simplefilter("ignore")
            self._open.append(SMTP(self, loop=asyncio.get_running_loop(), **self._options))
        return self._open[-1]

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server
        self._server.close()
        for one in self._open:
            if one.transport:
                one.transport.abort()
            if one._handler_coroutine:
                await asyncio.wait([one._handler_coroutine])
        await self._server.wait_closed()

    def _check(self, server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        well = data.login == self.user.encode() and data.password == self.password.encode()
        return AuthResult(success=well, handled=False)

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:  # noqa: N802
        if address in self.refuse:
            return self.refuse[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        self.tries += 1
        answer = self._answers.popleft() if self._answers else "250 2.0.0 queued as 1"
        if answer.startswith("250") or answer == "drop":
            message = message_from_bytes(envelope.content, policy=policy.default)
            self.mails.append(Mail(envelope.mail_from, list(envelope.rcpt_tos), message))
        if answer == "drop":
            server.transport.abort()
        return answer


def _certificate(folder: Path) -> tuple[ssl.SSLContext, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file, ca = folder / "mail.pem", folder / "ca.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = made.public_bytes(serialization.Encoding.PEM)
    file.write_bytes(private + public)
    ca.write_bytes(public)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context, ca
