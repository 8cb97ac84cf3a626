"""The collector `tls`: the certificate of a server."""

import asyncio
import ssl
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator

from toban.collect.collector import Collector, ScrapeResult
from toban.core.config_types import Address, Duration
from toban.core.errors import CollectError
from toban.core.http_client import NAME_NOT_RESOLVED, NO_CONNECTION, NO_HANDSHAKE, client_context, error_reason
from toban.core.samples import gauge

EXPIRY: Final = gauge(
    "probe_ssl_earliest_cert_expiry",
    "When the first certificate of the chain expires, since the epoch: days left are (this - time()) / 86400.",
)
TRUSTED: Final = gauge("tls_certificate_trusted", "Whether this machine trusts the certificate (1) or not (0).")
NAME_MATCHES: Final = gauge(
    "tls_certificate_name_matches", "Whether the certificate is for the host name (1) or not (0)."
)
INFO: Final = gauge("tls_certificate_info", "The issuer of the certificate; always 1.", labels=("issuer",))

MISMATCH: Final = (62, 64)
"""OpenSSL's codes for a name or an address that the certificate is not for (X509_V_ERR_HOSTNAME_MISMATCH, IP_…)."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate: when the first of its chain expires, its issuer, and the names and addresses it is for."""

    expires: datetime
    issuer: str
    names: frozenset[str]

    def is_for(self, host: str) -> bool:
        """Return whether it is for a name, also by a wildcard in place of the first label, or for an address."""
        host = host.lower()
        return host in self.names or f"*.{host.partition('.')[2]}" in self.names


def _https(address: str) -> str:
    if not address.startswith("https://"):
        raise ValueError(f"{address!r} has no certificate: write it like https://shop.example/")
    return address


class Tls(Collector):
    """
    Check a server's certificate: when it expires, who issued it, whether it is for the host name.

    The target is down when a browser would reject the certificate.
    """

    kind: Literal["tls"] = "tls"

    url: Annotated[Address, AfterValidator(_https)]
    """Address of the server, like https://shop.example/."""

    interval: Duration = timedelta(minutes=2)

    timeout: Duration = timedelta(seconds=10)
    """Timeout of the TLS handshake."""

    @property
    def host(self) -> str:
        """The host name."""
        return urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        """The port."""
        return urlsplit(self.url).port or 443

    @property
    def default_instance(self) -> str:
        """Host and port."""
        parts = urlsplit(self.url)
        return parts.netloc if parts.port else f"{parts.netloc}:443"

    async def collect(self, tools: object) -> ScrapeResult:
        """Do a TLS handshake as a browser would; where that fails, another one to read the certificate."""
        handshakes = _Handshakes(self.host, self.port)
        try:
            async with asyncio.timeout(self.timeout.total_seconds()):
                certificate, rejection, trusted = await handshakes.check()
        except (OSError, UnicodeError) as error:
            reason = handshakes.stage if isinstance(error, TimeoutError) else error_reason(error)
            if handshakes.stage == NO_HANDSHAKE and isinstance(error, ConnectionError):
                reason = f"in the TLS handshake: {reason}"
            raise CollectError(f"tls {self.name}: {self.default_instance}: {reason}") from error
        samples = [
            EXPIRY.sample(certificate.expires.timestamp()),
            NAME_MATCHES.sample(not rejection or certificate.is_for(self.host)),
            TRUSTED.sample(trusted),
            INFO.sample(1, issuer=certificate.issuer),
        ]
        return ScrapeResult(samples, error=rejection)


class _Handshakes:
    """TLS handshakes with one server; ``stage`` is what a timeout means at this moment."""

    def __init__(self, host: str, port: int) -> None:
        self.stage = NAME_NOT_RESOLVED
        self._host = host
        self._port = port

    async def check(self) -> tuple[Certificate, str, bool]:
        """Return the certificate, why a browser would reject it, and whether this machine trusts its issuer."""
        strict = await client_context()
        # As browsers: only subject alternative names count.
        strict.hostname_checks_common_name = False
        try:
            return _certificate(await self._handshake(strict), verified=True), "", True
        except ssl.SSLCertVerificationError as error:
            rejection = error
        # The standard library returns nothing of a certificate that it rejects: read it unverified. Nothing is sent.
        unverified = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        unverified.check_hostname, unverified.verify_mode = False, ssl.CERT_NONE
        certificate = _certificate(await self._handshake(unverified), verified=False)
        trusted = False
        if rejection.verify_code in MISMATCH:
            # OpenSSL reports a wrong name before it checks dates and signatures: check those alone.
            strict.check_hostname = False
            with suppress(ssl.SSLCertVerificationError):
                await self._handshake(strict)
                trusted = True
        return certificate, rejection.verify_message.removesuffix("."), trusted

    async def _handshake(self, context: ssl.SSLContext) -> ssl.SSLObject:
        self.stage = NAME_NOT_RESOLVED
        await asyncio.get_running_loop().getaddrinfo(self._host, self._port)
        self.stage = NO_CONNECTION
        _, writer = await asyncio.open_connection(self._host, self._port)
        try:
            self.stage = NO_HANDSHAKE
            await writer.start_tls(context, server_hostname=self._host)
            session: ssl.SSLObject = writer.get_extra_info("ssl_object")
            return session
        finally:
            # Not wait_closed: some servers never respond to close_notify.
            writer.transport.abort()


def _certificate(session: ssl.SSLObject, *, verified: bool) -> Certificate:
    """
    Return the server's certificate, with the first expiry of its chain.

    A verified chain counts without its root, which expires with the machine's list of roots; of another one everything
    counts that was sent.
    """
    # The standard library has the chain since 3.10, and publishes it since 3.13, but there without its dates.
    inner = session._sslobj  # type: ignore[attr-defined]  # noqa: SLF001  # see above
    chain = inner.get_verified_chain()[:-1] if verified else ()
    chain = [one.get_info() for one in chain or inner.get_unverified_chain()]
    expires = min(ssl.cert_time_to_seconds(one["notAfter"]) for one in chain)
    issuer = {name: value for part in chain[0]["issuer"] for name, value in part}
    alternative = chain[0].get("subjectAltName", ())
    # An address written as a DNS name does not count.
    names = {value.lower() for kind, value in alternative if kind == "DNS" and not _is_address(value)}
    names |= {str(ip_address(value)) for kind, value in alternative if kind == "IP Address"}
    expires_at = datetime.fromtimestamp(expires, UTC)
    return Certificate(expires_at, issuer.get("organizationName") or issuer.get("commonName", ""), frozenset(names))


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
