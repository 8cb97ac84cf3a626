"""Requests over HTTP: bodies of limited size, time limits, redirects, and readable reasons of errors."""

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

NAME_NOT_RESOLVED: Final = "its name was not resolved in time"
NO_CONNECTION: Final = "no connection in time"
NO_HANDSHAKE: Final = "accepts connections but does not answer the TLS handshake"
NO_RESPONSE: Final = "accepts connections but does not answer: it hangs"
RESPONSE_NOT_COMPLETE: Final = "the response did not end in time"
"""The reasons of a timeout, by how far the request came."""

TLS_REASONS: Final[Mapping[str, str]] = {
    "WRONG_VERSION_NUMBER": "wrong version number: the server does not speak TLS",
    "UNEXPECTED_EOF_WHILE_READING": "the server closed the connection too early",
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "the server refuses the handshake: no common version or cipher, or it wants a"
    " certificate of the client",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "the server wants a certificate of the client",
    "TLSV1_ALERT_PROTOCOL_VERSION": "the server does not speak this version of TLS",
    "TLSV1_UNRECOGNIZED_NAME": "the server knows no host of that name",
}
"""OpenSSL's reasons as readable text."""

CLIENT_MESSAGES: Final = (
    (re.compile("Receive buffer too long"), "the headers of its response have more than 100 kB"),
    (
        re.compile(r"Server disconnected without sending a response\."),
        "the server closed the connection without a response",
    ),
    (
        re.compile(r"Request URL has an unsupported protocol '(\w+)://'\."),
        r"it redirects to \1:, which is not HTTP",
    ),
    (re.compile(r"InformationalResponse status_code should .* not (\d+)"), r"its status \1 is no HTTP status"),
    (re.compile(r"""bytearray\(b(['"])(.*)\1\)"""), r"'\2'"),
)
"""What the HTTP client says of an invalid response, and the same as readable text."""

GZIP_WBITS: Final = 16 + zlib.MAX_WBITS
CHUNK_BYTES: Final = 2**16
"""Bytes that are decompressed at once."""

MAX_REDIRECTS: Final = 10

CROSS_ORIGIN_HEADERS: Final = frozenset({"accept", "accept-encoding", "connection", "user-agent"})
"""Headers that are sent to another host."""


async def client_context() -> ssl.SSLContext:
    """Return a TLS context that verifies servers; reading the machine's authorities takes 50 ms and more."""
    return await asyncio.to_thread(ssl.create_default_context)


async def decompressed_chunks(response: httpx2.Response) -> AsyncIterator[bytes]:
    """
    Yield the chunks of a streamed body, decompressed.

    Raises ``httpx2.HTTPError``, also where gzip ends too early: the client takes that for the end of the body.
    """
    if response.headers.get("content-encoding", "").strip().lower() not in {"gzip", "x-gzip"}:
        async for chunk in response.aiter_bytes():
            yield chunk
        return
    decompressor, began = zlib.decompressobj(GZIP_WBITS), False
    async for raw in response.aiter_raw():
        rest = raw
        while rest:
            if decompressor.eof:  # another gzip member follows
                decompressor = zlib.decompressobj(GZIP_WBITS)
            try:
                chunk = decompressor.decompress(rest, CHUNK_BYTES)
            except zlib.error as error:
                raise httpx2.DecodingError(f"the body is not gzip: {error}", request=response.request) from error
            began = True
            yield chunk
            rest = decompressor.unconsumed_tail or decompressor.unused_data.lstrip(b"\0")
    if began and not decompressor.eof:
        raise httpx2.DecodingError("the body is cut off: its gzip does not end", request=response.request)


async def read_body(response: httpx2.Response, most: int) -> bytes:
    """
    Return the body of a streamed response.

    Raises ``ResponseTooLargeError`` as soon as it has more than ``most`` bytes, decompressed, and ``httpx2.HTTPError``.
    """
    body = bytearray()
    async for chunk in decompressed_chunks(response):
        body += chunk
        if len(body) > most:
            raise ResponseTooLargeError(f"the response has more than {most} bytes")
    return bytes(body)


async def read_body_start(response: httpx2.Response, most: int) -> bytes:
    """
    Return the first ``most`` bytes of the body of a streamed response; the rest is not read.

    Raises ``httpx2.HTTPError``.
    """
    body = bytearray()
    async for chunk in decompressed_chunks(response):
        body += chunk
        if len(body) >= most:
            break
    return bytes(body[:most])


class RequestTimeoutError(TimeoutError):
    """A request timed out; the message says how far it came."""


class RequestProgress:
    """How far a request has come: the reason of a timeout."""

    def __init__(self, seconds: float) -> None:
        self.stage = NO_CONNECTION
        # The client gives up connecting first: cut off from outside in a TLS handshake, it would leave its socket open.
        self.timeout = httpx2.Timeout(seconds, connect=seconds * 0.9)

    async def trace(self, event: str, info: Mapping[str, Any]) -> None:
        """Record an event of the client: the extension `trace` of a request."""
        phase, _, status = event.rpartition(".")
        if ".connect_" in phase:
            self.stage = NO_RESPONSE if status == "complete" else NO_CONNECTION
        elif phase.endswith("start_tls"):
            self.stage = NO_RESPONSE if status == "complete" else NO_HANDSHAKE
        elif phase.endswith("send_request_headers"):
            self.stage = NO_RESPONSE
        elif phase.endswith("receive_response_headers") and status == "complete":
            self.stage = RESPONSE_NOT_COMPLETE


@asynccontextmanager
async def request_timeout(seconds: float) -> AsyncIterator[RequestProgress]:
    """Limit the duration of a request. Raises ``RequestTimeoutError``, which says how far it came."""
    progress = RequestProgress(seconds)
    try:
        async with asyncio.timeout(seconds):
            yield progress
    except (TimeoutError, httpx2.TimeoutException) as error:
        raise RequestTimeoutError(progress.stage) from error


async def timeout_reason(host: str, port: int) -> str:
    """
    Return why a request to a server timed out: whether the server accepts a connection within a second.

    A ``host`` that is a path is a Unix socket.
    """
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(1):
            family, address = int(socket.AF_UNIX), host
            if not host.startswith("/"):
                family, _, _, _, address = (await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM))[0]  # type: ignore[assignment]  # its form depends on the family
            with socket.socket(family) as probe:
                probe.setblocking(False)
                await loop.sock_connect(probe, address)
    except OSError:
        return NO_CONNECTION
    return NO_RESPONSE


Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

METADATA_ADDRESSES: Final = frozenset(
    {
        ipaddress.ip_address("fd00:ec2::254"),  # AWS
        ipaddress.ip_address("fd20:ce::254"),  # Google Cloud
        ipaddress.ip_address("100.100.100.200"),  # Alibaba Cloud
        ipaddress.ip_address("192.0.0.192"),  # Oracle Cloud
    }
)
"""The metadata services of clouds, which give machines their credentials, beside the link-local addresses."""

NAT64_PREFIX: Final = ipaddress.ip_network("64:ff9b::/96")


def is_internal_address(text: str) -> bool:
    """Return whether an address is link-local or a cloud's metadata service."""
    try:
        found: Address = ipaddress.ip_address(text.strip("[]").partition("%")[0])
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour
        if found in NAT64_PREFIX:
            inner = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
        found = inner or found
    return found.is_link_local or found in METADATA_ADDRESSES


def _refuse_internal(address: str, request: httpx2.Request) -> None:
    """Raise ``httpx2.RequestError`` for an address to which no redirect may lead."""
    if is_internal_address(address):
        raise httpx2.RequestError(
            f"it redirects to {request.url.host}"
            f"{'' if request.url.host == address.strip('[]') else f' at {address}'}, a link-local or metadata address: "
            "that is not allowed",
            request=request,
        )


def _check_peer(request: httpx2.Request) -> None:
    """Make a request that follows a redirect check the address that it is connected to, before it is sent."""
    outer_trace = request.extensions.get("trace")

    async def trace(event: str, info: Mapping[str, Any]) -> None:
        if event == "connection.connect_tcp.complete":
            stream = info["return_value"]
            peer = stream.get_extra_info("server_addr")
            try:
                _refuse_internal(str(peer[0]) if peer else "", request)
            except httpx2.RequestError:
                await stream.aclose()
                raise
        if outer_trace:
            await outer_trace(event, info)

    request.extensions = {**request.extensions, "trace": trace}


@asynccontextmanager
async def follow_redirects(
    client: httpx2.AsyncClient, method: str, url: str, *, redirects: bool = True, **sent: Any
) -> AsyncIterator[httpx2.Response]:
    """
    Send a request and yield its response as a stream, after following redirects unless ``redirects`` is false.

    Headers and body are meant for the first origin: another host, port or scheme gets only ``CROSS_ORIGIN_HEADERS``.
    A redirect to a link-local address or a cloud's metadata service is refused, by whatever name: whoever answers a
    probe could read there through toban. The body of a redirect is not read.
    Raises ``httpx2.HTTPError``.
    """
    request = client.build_request(method, url, **sent)
    extensions = request.extensions
    for _ in range(MAX_REDIRECTS + 1):
        response = await client.send(request, stream=True, follow_redirects=False)
        following = response.next_request if redirects else None
        if following is None:
            try:
                yield response
            finally:
                await response.aclose()
            return
        await response.aclose()
        if following.url.origin != request.url.origin:
            if following.method not in {"GET", "HEAD"}:
                raise httpx2.RequestError("it redirects to another host, which must not get the body", request=request)
            kept = {name: value for name, value in following.headers.items() if name in CROSS_ORIGIN_HEADERS}
            following = client.build_request(following.method, following.url, headers=kept, extensions=extensions)
            _refuse_internal(following.url.host, following)
            _check_peer(following)
        request = following
    raise httpx2.TooManyRedirects(f"more than {MAX_REDIRECTS} redirects", request=request)


def error_reason(error: BaseException) -> str:
    """
    Return the root cause of a network error.

    The client says "All connection attempts failed"; its cause says that the connection was refused.
    """
    if isinstance(error, RequestTimeoutError):
        return str(error)
    if isinstance(error, httpx2.ConnectTimeout | httpx2.PoolTimeout):
        return NO_CONNECTION
    if isinstance(error, httpx2.ReadTimeout):
        return NO_RESPONSE
    if isinstance(error, TimeoutError | httpx2.TimeoutException):
        return "no response in time"
    found, deepest = error, _message(error)
    while cause := found.__cause__ or found.__context__:
        found = cause
        if isinstance(found, OSError):
            deepest = _message(found) or deepest
    return deepest or type(error).__name__


def _message(error: BaseException) -> str:
    """Return the message of one error, without error numbers and places in source code."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    if isinstance(error, ssl.SSLError) and error.reason:
        return f"TLS: {TLS_REASONS.get(error.reason, error.reason.replace('_', ' ').lower())}"
    if isinstance(error, OSError) and error.errno and error.errno > 0:
        # asyncio puts the address there instead of the reason.
        return os.strerror(error.errno).lower()
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    if isinstance(error, ConnectionError) and not str(error):
        return "the server closed the connection"
    message = str(error)
    for pattern, readable in CLIENT_MESSAGES:
        message = pattern.sub(readable, message)
    return message
