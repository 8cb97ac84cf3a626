"""What the network brings: an answer that is not longer than it may be, or why there is none in words that help."""

import asyncio
import ipaddress
import os
import re
import socket
import ssl
import zlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, TypeAlias

import httpx2

from toban.core.errors import ResponseTooLargeError

NO_NAME: Final = "its name was not resolved in time"
NO_CONNECTION: Final = "no connection in time"
NO_HANDSHAKE: Final = "accepts connections but does not answer the TLS handshake"
HANGS: Final = "accepts connections but does not answer: it hangs"
NO_END: Final = "the answer did not end in time"
"""What is said when time is up, by how far it came."""

TLS: Final[Mapping[str, str]] = {
    "WRONG_VERSION_NUMBER": "wrong version number: what listens there does not speak TLS",
    "UNEXPECTED_EOF_WHILE_READING": "the server ended the connection too early",
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "the server refuses the handshake: it shares no version or cipher, or wants a"
    " certificate of the client",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "the server wants a certificate of the client",
    "TLSV1_ALERT_PROTOCOL_VERSION": "the server does not speak this version of TLS",
    "TLSV1_UNRECOGNIZED_NAME": "the server knows no host of that name",
}
"""OpenSSL's reasons in words that help."""

HTTP: Final = (
    (re.compile("Receive buffer too long"), "the head of its answer has more than 100 kB"),
    (
        re.compile(r"Server disconnected without sending a response\."),
        "the server ended the connection unanswered",
    ),
    (
        re.compile(r"Request URL has an unsupported protocol '(\w+)://'\."),
        r"it leads to \1:, which is not of the web",
    ),
    (re.compile(r"InformationalResponse status_code should .* not (\d+)"), r"its status \1 is none of HTTP's"),
    (re.compile(r"""bytearray\(b(['"])(.*)\1\)"""), r"'\2'"),
)
"""What the client says of an answer that is not in order, and the same in words that help."""

GZIP: Final = 16 + zlib.MAX_WBITS
PIECE: Final = 2**16
"""Bytes that are unpacked at once."""

REDIRECTS: Final = 10

HARMLESS: Final = frozenset({"accept", "accept-encoding", "connection", "user-agent"})
"""Headers that another host may see."""


async def client_context() -> ssl.SSLContext:
    """Return what a TLS client verifies servers with; reading a machine's authorities takes 50 ms and more."""
    return await asyncio.to_thread(ssl.create_default_context)


async def decompressed_pieces(response: httpx2.Response) -> AsyncIterator[bytes]:
    """
    Return the pieces of a body that is streamed, unpacked.

    Raises ``httpx2.HTTPError``, also where gzip ends too early: the client takes that for the end of the body.
    """
    if response.headers.get("content-encoding", "").strip().lower() not in {"gzip", "x-gzip"}:
        async for piece in response.aiter_bytes():
            yield piece
        return
    unpacking, began = zlib.decompressobj(GZIP), False
    async for packed in response.aiter_raw():
        left = packed
        while left:
            if unpacking.eof:  # another one follows
                unpacking = zlib.decompressobj(GZIP)
            try:
                piece = unpacking.decompress(left, PIECE)
            except zlib.error as error:
                raise httpx2.DecodingError(f"the body is no gzip: {error}", request=response.request) from error
            began = True
            yield piece
            left = unpacking.unconsumed_tail or unpacking.unused_data.lstrip(b"\0")
    if began and not unpacking.eof:
        raise httpx2.DecodingError("the body is cut off: its gzip does not end", request=response.request)


async def read_body(response: httpx2.Response, most: int) -> bytes:
    """
    Return the body of an answer that is streamed.

    Raises ``ResponseTooLargeError`` as soon as it has more than ``most`` bytes, inflated, and ``httpx2.HTTPError``.
    """
    body = bytearray()
    async for piece in decompressed_pieces(response):
        body += piece
        if len(body) > most:
            raise ResponseTooLargeError(f"the response has more than {most} bytes")
    return bytes(body)


async def beginning(response: httpx2.Response, most: int) -> bytes:
    """
    Return the first bytes of the body of an answer that is streamed; the rest is not read.

    Raises ``httpx2.HTTPError``.
    """
    body = bytearray()
    async for piece in decompressed_pieces(response):
        body += piece
        if len(body) >= most:
            break
    return bytes(body[:most])


class RequestTimeoutError(TimeoutError):
    """There was no answer in time; the message says how far it came."""


class RequestProgress:
    """How far a request has come: what is said of it when time is up."""

    def __init__(self, seconds: float) -> None:
        self.stage = NO_CONNECTION
        # The client gives up connecting first: cut off from outside in a TLS handshake, it would leave its socket open.
        self.timeout = httpx2.Timeout(seconds, connect=seconds * 0.9)

    async def trace(self, event: str, info: Mapping[str, Any]) -> None:
        """Take what the client tells of its progress: an extension of a request, `trace`."""
        what, _, how = event.rpartition(".")
        if ".connect_" in what:
            self.stage = HANGS if how == "complete" else NO_CONNECTION
        elif what.endswith("start_tls"):
            self.stage = HANGS if how == "complete" else NO_HANDSHAKE
        elif what.endswith("send_request_headers"):
            self.stage = HANGS
        elif what.endswith("receive_response_headers") and how == "complete":
            self.stage = NO_END


@asynccontextmanager
async def within(seconds: float) -> AsyncIterator[RequestProgress]:
    """Limit how long a request takes in all. Raises ``RequestTimeoutError``, which says how far it came."""
    progress = RequestProgress(seconds)
    try:
        async with asyncio.timeout(seconds):
            yield progress
    except (TimeoutError, httpx2.TimeoutException) as error:
        raise RequestTimeoutError(progress.stage) from error


async def describe_silence(host: str, port: int) -> str:
    """
    Say of a server that gave no answer in time whether it accepts a connection, for which it gets a second.

    A ``host`` that is a path is a Unix socket.
    """
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(1):
            family, address = int(socket.AF_UNIX), host
            if not host.startswith("/"):
                family, _, _, _, address = (await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM))[0]  # type: ignore[assignment]  # whatever the family wants
            with socket.socket(family) as asking:
                asking.setblocking(False)
                await loop.sock_connect(asking, address)
    except OSError:
        return NO_CONNECTION
    return HANGS


Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

METADATA: Final = frozenset(
    {
        ipaddress.ip_address("fd00:ec2::254"),  # AWS
        ipaddress.ip_address("fd20:ce::254"),  # Google Cloud
        ipaddress.ip_address("100.100.100.200"),  # Alibaba Cloud
        ipaddress.ip_address("192.0.0.192"),  # Oracle Cloud
    }
)
"""Where machines in a cloud learn their own keys, beside the link-local addresses."""

NAT64: Final = ipaddress.ip_network("64:ff9b::/96")


def is_of_the_machine(text: str) -> bool:
    """Tell whether an address is link-local or a cloud's metadata service: what concerns one machine alone."""
    try:
        found: Address = ipaddress.ip_address(text.strip("[]").partition("%")[0])
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour
        if found in NAT64:
            inner = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
        found = inner or found
    return found.is_link_local or found in METADATA


def _refuse_machine(address: str, request: httpx2.Request) -> None:
    """Raise ``httpx2.RequestError`` for an address to which no redirect may lead."""
    if is_of_the_machine(address):
        raise httpx2.RequestError(
            f"it leads to {request.url.host}"
            f"{'' if request.url.host == address.strip('[]') else f' at {address}'}, a link-local or metadata address, "
            "which no redirect may name",
            request=request,
        )


def _checking(request: httpx2.Request) -> None:
    """Have a request that follows a redirect look at the address that it is connected to, before it is sent."""
    tell = request.extensions.get("trace")

    async def trace(event: str, info: Mapping[str, Any]) -> None:
        if event == "connection.connect_tcp.complete":
            stream = info["return_value"]
            peer = stream.get_extra_info("server_addr")
            try:
                _refuse_machine(str(peer[0]) if peer else "", request)
            except httpx2.RequestError:
                await stream.aclose()
                raise
        if tell:
            await tell(event, info)

    request.extensions = {**request.extensions, "trace": trace}


@asynccontextmanager
async def follow_redirects(
    client: httpx2.AsyncClient, method: str, url: str, *, redirects: bool = True, **sent: Any
) -> AsyncIterator[httpx2.Response]:
    """
    Ask for a page and lend its answer as a stream, going on to where redirects lead unless they are not wanted.

    Another host, port or scheme is told nothing but which page is wanted: what was sent along, headers and body, was
    meant for the first. No redirect leads to a link-local address or a cloud's metadata service, by whatever name: who
    answers a probe could look there through toban. What an answer says beside its redirect is not read.
    Raises ``httpx2.HTTPError``.
    """
    request = client.build_request(method, url, **sent)
    extensions = request.extensions
    for _ in range(REDIRECTS + 1):
        response = await client.send(request, stream=True, follow_redirects=False)
        onward = response.next_request if redirects else None
        if onward is None:
            try:
                yield response
            finally:
                await response.aclose()
            return
        await response.aclose()
        if onward.url.origin != request.url.origin:
            if onward.method not in {"GET", "HEAD"}:
                raise httpx2.RequestError("it leads to another host, which must not get what was sent", request=request)
            kept = {name: value for name, value in onward.headers.items() if name in HARMLESS}
            onward = client.build_request(onward.method, onward.url, headers=kept, extensions=extensions)
            _refuse_machine(onward.url.host, onward)
            _checking(onward)
        request = onward
    raise httpx2.TooManyRedirects(f"more than {REDIRECTS} redirects", request=request)


def error_reason(error: BaseException) -> str:
    """
    Return what lies at the bottom of an error of the network.

    The client says "All connection attempts failed"; the system below it knows that the connection was refused.
    """
    if isinstance(error, RequestTimeoutError):
        return str(error)
    if isinstance(error, httpx2.ConnectTimeout | httpx2.PoolTimeout):
        return NO_CONNECTION
    if isinstance(error, httpx2.ReadTimeout):
        return HANGS
    if isinstance(error, TimeoutError | httpx2.TimeoutException):
        return "no answer in time"
    found, deepest = error, _words(error)
    while cause := found.__cause__ or found.__context__:
        found = cause
        if isinstance(found, OSError):
            deepest = _words(found) or deepest
    return deepest or type(error).__name__


def _words(error: BaseException) -> str:
    """Return what one error says, without numbers and places in somebody's source."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    if isinstance(error, ssl.SSLError) and error.reason:
        return f"TLS: {TLS.get(error.reason, error.reason.replace('_', ' ').lower())}"
    if isinstance(error, OSError) and error.errno and error.errno > 0:
        # asyncio puts the address there instead of the reason.
        return os.strerror(error.errno).lower()
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    if isinstance(error, ConnectionError) and not str(error):
        return "the server ended the connection"
    words = str(error)
    for said, better in HTTP:
        words = said.sub(better, words)
    return words
