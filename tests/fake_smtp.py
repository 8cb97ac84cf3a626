"""
A fake mail server with real SMTP: STARTTLS or TLS with a certificate of its own authority, sign-in, faults on demand.

    async with FakeSmtp(folder) as mail:
        mail.port, mail.ca, mail.user, mail.password   # what a channel is given
        mail.mails                                     # what was accepted: envelope and message
        mail.refuse["bob@example.com"] = "550 5.1.1 unknown"
        mail.next("451 4.3.0 try again", "drop")       # the replies to the next two mails, after DATA
"""

import asyncio
import ssl
import warnings
from base64 import b64encode
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
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

    def next(self, *responses: str) -> None:
        """Let the coming mails be answered so; ``drop`` ends the connection instead, after the mail was taken."""
        self._answers.extend(responses)

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
        response = self._answers.popleft() if self._answers else "250 2.0.0 queued as 1"
        if response.startswith("250") or response == "drop":
            message = message_from_bytes(envelope.content, policy=policy.default)
            self.mails.append(Mail(envelope.mail_from, list(envelope.rcpt_tos), message))
        if response == "drop":
            server.transport.abort()
        return response


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


WELL = {
    "HELO": "250 mx.example",
    "AUTH": "235 2.7.0 ok",
    "PASSWORD": "235 2.7.0 ok",
    "MAIL": "250 2.1.0 ok",
    "RCPT": "250 2.1.5 ok",
    "DATA": "354 go ahead",
    "QUIT": "221 2.0.0 bye",
}


class ScriptedSmtp:
    """
    A mail server that does as a test says, and is strict with what it is told.

        async with ScriptedSmtp({"RCPT bob@example.com": ["452 4.5.3 too many", "250 ok"], ".": ["hang"]}) as mail:
            mail.port, mail.mails, mail.commands

    A step's replies are given one a time, in their order, over all conversations; when there are none left it is
    answered well. Steps: GREETING, EHLO, AUTH, PASSWORD (s3cr3t, after AUTH LOGIN), MAIL, RCPT with its address, DATA,
    `.` (after the message) and QUIT.
    `hang` answers when `go_on` is set, `close` ends the connection, `trickle` sends a reply that never ends. What is
    against the protocol is noted in `mistakes`; leaving the block with one there fails.
    """

    def __init__(self, script: Mapping[str, Sequence[str]] | None = None, *extensions: str) -> None:
        self.script = {step: deque(replies) for step, replies in (script or {}).items()}
        self.extensions = extensions or ("8BITMIME", "SIZE 35882577")
        self.mails: list[Mail] = []
        self.commands: list[str] = []
        self.mistakes: list[str] = []
        self.go_on = asyncio.Event()
        self._taken = asyncio.Condition()
        self._busy: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.sockets[0].getsockname()[1])

    def count(self, command: str) -> int:
        """Return how often a command was given."""
        return sum(each.startswith(command) for each in self.commands)

    def received(self, recipient: str) -> list[str]:
        """Return the states of the mails that one recipient got: the first word of each."""
        return [_first_word(mail.message) for mail in self.mails if recipient in mail.to]

    async def until(self, and_so: Callable[[], bool]) -> None:
        """Wait until something is so that a command or a mail makes so."""
        async with self._taken:
            await self._taken.wait_for(and_so)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for task in self._busy:
            task.cancel()
        if self._busy:
            await asyncio.wait(self._busy)
        assert error or not self.mistakes, self.mistakes

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._busy.add(task)
        try:
            with suppress(ConnectionError, asyncio.CancelledError, _Closed):
                await self._talk(reader, writer)
        finally:
            self._busy.discard(task)
            writer.transport.abort()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sender, to = "", list[str]()
        await self._say(writer, "GREETING", "220 mx.example ESMTP")
        while line := await reader.readline():
            command = self._line(line)
            verb = "PASSWORD" if command == b64encode(b"s3cr3t").decode() else command.split()[0].upper()
            address = command.partition("<")[2].partition(">")[0]
            await self._note(command)
            step = f"RCPT {address}" if verb == "RCPT" else verb
            reply = await self._say(writer, step, self._ehlo() if verb == "EHLO" else WELL.get(verb, "500 5.5.2 what?"))
            if verb == "MAIL":
                sender, to = address, []
                if not command.isascii() and "SMTPUTF8" not in command:
                    self.mistakes.append(f"{command}: without SMTPUTF8")
            elif verb == "RCPT" and reply.startswith("250"):
                to.append(address)
            elif verb == "DATA" and reply.startswith("354"):
                if not to:
                    self.mistakes.append("DATA without a recipient")
                message = message_from_bytes(await self._message(reader), policy=policy.default)
                await self._note(".", Mail(sender, list(to), message))
                await self._say(writer, ".", "250 2.0.0 queued as 1")
            elif verb == "QUIT":
                return

    def _ehlo(self) -> str:
        offers = ["mx.example", *self.extensions]
        return "".join(f"250-{it}\r\n" for it in offers[:-1]) + f"250 {offers[-1]}"

    def _line(self, line: bytes) -> str:
        if not line.endswith(b"\r\n"):
            self.mistakes.append(f"{line!r}: does not end with CRLF")
        return line.decode().strip() or "?"

    async def _message(self, reader: asyncio.StreamReader) -> bytes:
        lines = []
        while (line := await reader.readline()) != b".\r\n":
            if not line:
                raise _Closed
            if (
                len(line) > 1000
                or not line.endswith(b"\r\n")
                or (not line.isascii() and "8BITMIME" not in self.extensions)
            ):
                self.mistakes.append(f"{line[:60]!r}: too long, not CRLF, or beyond ASCII")
            lines.append(line.removeprefix(b"."))
        return b"".join(lines)

    async def _note(self, command: str, mail: Mail | None = None) -> None:
        async with self._taken:
            self.commands.append(command)
            if mail:
                self.mails.append(mail)
            self._taken.notify_all()

    async def _say(self, writer: asyncio.StreamWriter, step: str, well: str) -> str:
        replies = self.script.get(step)
        reply = replies.popleft() if replies else well
        if reply == "close":
            raise _Closed
        if reply == "trickle":
            while True:
                writer.write(b"250-and\r\n" if self.commands else b"220-and\r\n")
                await writer.drain()
                await asyncio.sleep(0.01)
        if reply == "hang":
            await self.go_on.wait()
            reply = well
        writer.write(f"{reply}\r\n".encode())
        await writer.drain()
        return reply


class _Closed(Exception):  # noqa: N818  # it is no error: the test wants it so
    """The connection ends here."""


def _first_word(message: EmailMessage) -> str:
    text = next(part.get_content() for part in message.walk() if part.get_content_type() == "text/plain")
    return str(text).split(maxsplit=1)[0].lower()
