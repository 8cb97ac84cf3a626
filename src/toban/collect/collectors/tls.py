"""One certificate."""

import asyncio
import ssl
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, PrivateAttr

from toban.collect.collector import Collector, ScrapeResult
from toban.collect.tools import CollectorTools
from toban.core.config_types import Address, Duration
from toban.core.errors import CollectError
from toban.core.http_client import NO_CONNECTION, NO_HANDSHAKE, NO_NAME, error_reason
from toban.core.samples import gauge

EXPIRY: Final = gauge(
    "probe_ssl_earliest_cert_expiry",
    "When the first certificate of the chain ends, since the epoch: days left are (this - time()) / 86400.",
)
TRUSTED: Final = gauge("tls_certificate_trusted", "Whether this machine trusts the certificate (1) or not (0).")
NAME_MATCHES: Final = gauge("tls_certificate_name_matches", "Whether it is for the name that was asked (1) or not (0).")
INFO: Final = gauge("tls_certificate_info", "Who issued the certificate; always 1.")

MISMATCH: Final = (62, 64)
"""OpenSSL's codes for a name or an address that the certificate is not for (X509_V_ERR_HOSTNAME_MISMATCH, IP_…)."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """What is read of a certificate: the first end of its chain, who issued it, the names and addresses it is for."""

    ends: datetime
    issuer: str
    names: frozenset[str]

    def is_for(self, host: str) -> bool:
        """Tell whether it is for a name, with a wildcard in place of the first part, or for an address."""
        host = host.lower()
        return host in self.names or f"*.{host.partition('.')[2]}" in self.names


def _https(address: str) -> str:
    if not address.startswith("https://"):
        raise ValueError(f"{address!r} shows no certificate: write it like https://shop.example/")
    return address


class Tls(Collector):
    """
    Look at a certificate: how many days it has left, who issued it, whether it is for that name.

    It is down when a browser would refuse it.
    """

    kind: Literal["tls"] = "tls"

    url: Annotated[Address, AfterValidator(_https)]
    """Where the certificate is shown, like https://shop.example/."""

    interval: Duration = timedelta(minutes=2)

    timeout: Duration = timedelta(seconds=10)
    """How long the greeting may take."""

    _stage: str = PrivateAttr(NO_NAME)
    """What is said when time is up: how far the greeting has come."""

    @property
    def default_instance(self) -> str:
        """Host and port."""
        parts = urlsplit(self.url)
        return parts.netloc if parts.port else f"{parts.netloc}:443"

    async def collect(self, tools: CollectorTools) -> ScrapeResult:
        """Greet the server as a browser would; where that fails, once more to see what it shows."""
        try:
            async with asyncio.timeout(self.timeout.total_seconds()):
                certificate, trouble, trusted = await self._looked()
        except (OSError, UnicodeError) as error:
            said = self._stage if isinstance(error, TimeoutError) else error_reason(error)
            if self._stage == NO_HANDSHAKE and isinstance(error, ConnectionError):
                said = f"in the TLS handshake: {said}"
            raise CollectError(f"tls {self.name}: {self.default_instance}: {said}") from error
        samples = [
            EXPIRY.sample(certificate.ends.timestamp()),
            NAME_MATCHES.sample(not trouble or certificate.is_for(self._host)),
            TRUSTED.sample(trusted),
            INFO.sample(1, issuer=certificate.issuer),
        ]
        return ScrapeResult(samples, error=trouble)

    async def _looked(self) -> tuple[Certificate, str, bool]:
        """Return the certificate, why a browser would refuse it, and whether this machine trusts its issuer."""
        strict = ssl.create_default_context()
        strict.hostname_checks_common_name = (
            False  # as browsers: names that are no subject's alternative count for none
        )
        try:
            return _certificate(await self._greet(strict), believed=True), "", True
        except ssl.SSLCertVerificationError as error:
            refused = error
        # The standard library shows nothing of what it does not trust: look without believing. Nothing is sent.
        blind = ssl.create_default_context()
        blind.check_hostname, blind.verify_mode = False, ssl.CERT_NONE
        certificate = _certificate(await self._greet(blind), believed=False)
        trusted = False
        if refused.verify_code in MISMATCH:
            # OpenSSL tells a wrong name before it looks at dates and signatures: ask for those alone.
            strict.check_hostname = False
            with suppress(ssl.SSLCertVerificationError):
                await self._greet(strict)
                trusted = True
        return certificate, refused.verify_message.removesuffix("."), trusted

    @property
    def _host(self) -> str:
        return urlsplit(self.url).hostname or ""

    async def _greet(self, context: ssl.SSLContext) -> ssl.SSLObject:
        port = urlsplit(self.url).port or 443
        self._stage = NO_NAME
        await asyncio.get_running_loop().getaddrinfo(self._host, port)
        self._stage = NO_CONNECTION
        _, writer = await asyncio.open_connection(self._host, port)
        try:
            self._stage = NO_HANDSHAKE
            await writer.start_tls(context, server_hostname=self._host)
            shown: ssl.SSLObject = writer.get_extra_info("ssl_object")
            return shown
        finally:
            # Not wait_closed: some servers never answer the farewell.
            writer.transport.abort()


def _certificate(shown: ssl.SSLObject, *, believed: bool) -> Certificate:
    """
    Return what is told of the certificate, and the first end of the chain that it hangs on.

    Of a chain that this machine trusts that is the one it was trusted by, without its anchor, which ends with the
    machine's list; of another one all that was sent.
    """
    # The standard library has had the chain since 3.10, and shows it since 3.13, but there without its dates.
    inside = shown._sslobj  # type: ignore[attr-defined]  # noqa: SLF001  # see above
    chain = inside.get_verified_chain()[:-1] if believed else ()
    chain = [one.get_info() for one in chain or inside.get_unverified_chain()]
    ends = min(ssl.cert_time_to_seconds(one["notAfter"]) for one in chain)
    issuer = {name: value for part in chain[0]["issuer"] for name, value in part}
    told = chain[0].get("subjectAltName", ())
    # An address that stands there as a name counts for none.
    names = {value.lower() for kind, value in told if kind == "DNS" and not _is_address(value)}
    names |= {str(ip_address(value)) for kind, value in told if kind == "IP Address"}
    ends_at = datetime.fromtimestamp(ends, UTC)
    return Certificate(ends_at, issuer.get("organizationName") or issuer.get("commonName", ""), frozenset(names))


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
