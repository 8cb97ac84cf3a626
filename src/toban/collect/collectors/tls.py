"""One certificate."""

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from toban.collect.collector import Collector, Look
from toban.collect.tools import Tools
from toban.core.errors import CollectError
from toban.core.samples import gauge
from toban.core.section import Address, Duration

DAYS_LEFT: Final = gauge("tls_certificate_days_left", "Days until the certificate ends; below nought once it has.")
TRUSTED: Final = gauge("tls_certificate_trusted", "Whether this machine trusts the certificate (1) or not (0).")
NAME_MATCHES: Final = gauge("tls_certificate_name_matches", "Whether it is for the name that was asked (1) or not (0).")
INFO: Final = gauge("tls_certificate_info", "Who issued the certificate; always 1.")

MISMATCH: Final = (62, 64)
"""OpenSSL's codes for a name or an address that the certificate is not for (X509_V_ERR_HOSTNAME_MISMATCH, IP_…)."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """What is read of a certificate."""

    ends: datetime
    issuer: str


class Tls(Collector):
    """
    Look at a certificate: how many days it has left, who issued it, whether it is for that name.

    It is down when a browser would refuse it.
    """

    kind: Literal["tls"] = "tls"

    url: Address
    """Where the certificate is shown, like https://shop.example/."""

    every: Duration = timedelta(minutes=2)

    timeout: Duration = timedelta(seconds=10)
    """How long the greeting may take."""

    @property
    def looks_at(self) -> str:
        """Host and port."""
        parts = urlsplit(self.url)
        return f"{parts.hostname}:{parts.port or 443}"

    async def collect(self, tools: Tools) -> Look:
        """Greet the server as a browser would; where that fails, once more to see what it shows."""
        refused: ssl.SSLCertVerificationError | None = None
        try:
            async with asyncio.timeout(self.timeout.total_seconds()):
                try:
                    certificate = _plain(await self._greet(ssl.create_default_context()))
                except ssl.SSLCertVerificationError as error:
                    refused = error
                    certificate = _decoded(await self._greet(_trusting()))
        except TimeoutError as error:
            raise CollectError(f"tls {self.name}: {self.looks_at}: no answer in time") from error
        except OSError as error:
            raise CollectError(f"tls {self.name}: {self.looks_at}: {error}") from error
        mismatch = refused is not None and refused.verify_code in MISMATCH
        left = (certificate.ends - tools.clock.now()) / timedelta(days=1)
        samples = [
            DAYS_LEFT.sample(left),
            NAME_MATCHES.sample(not mismatch),
            TRUSTED.sample(refused is None or mismatch),
            INFO.sample(1, issuer=certificate.issuer),
        ]
        return Look(samples, trouble=refused.verify_message if refused else "")

    async def _greet(self, context: ssl.SSLContext) -> ssl.SSLObject:
        parts = urlsplit(self.url)
        _, writer = await asyncio.open_connection(parts.hostname, parts.port or 443, ssl=context)
        try:
            shown: ssl.SSLObject = writer.get_extra_info("ssl_object")
            return shown
        finally:
            # Not wait_closed: some servers never answer the farewell.
            writer.transport.abort()


def _trusting() -> ssl.SSLContext:
    """Return a context that looks without believing: nothing is sent over it."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _plain(shown: ssl.SSLObject) -> Certificate:
    found: Mapping[str, Any] = shown.getpeercert() or {}
    ends = datetime.fromtimestamp(ssl.cert_time_to_seconds(found["notAfter"]), UTC)
    issuer = {name: value for part in found["issuer"] for name, value in part}
    return Certificate(ends, issuer.get("organizationName") or issuer.get("commonName", ""))


def _decoded(shown: ssl.SSLObject) -> Certificate:
    # The standard library tells nothing of a certificate that it does not trust; this is rarely needed, and heavy.
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    certificate = x509.load_der_x509_certificate(shown.getpeercert(binary_form=True) or b"")
    names = [
        *certificate.issuer.get_attributes_for_oid(NameOID.ORGANIZATION_NAME),
        *certificate.issuer.get_attributes_for_oid(NameOID.COMMON_NAME),
    ]
    return Certificate(certificate.not_valid_after_utc, str(names[0].value) if names else "")
