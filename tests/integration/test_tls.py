"""The tls collector against real TLS servers with certificates of an authority that was made for the test."""

import asyncio
import ipaddress
import ssl
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.integration.scraping import collector_tools, scrape
from tests.scripted_server import respond_with, scripted_server, silent_port
from tests.servers import free_port
from toban.collect.collectors.tls import Tls
from toban.core.errors import CollectError

NOW = datetime.now(UTC).replace(microsecond=0)
DAY = timedelta(days=1)


def subject(organization, name):
    return x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization), x509.NameAttribute(NameOID.COMMON_NAME, name)]
    )


class Authority:
    """A certificate authority that nobody knows, or one beneath another."""

    def __init__(self, above: "Authority | None" = None, ends: datetime = NOW + 10 * DAY) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = subject("Throw-away Trust", "test" if above is None else "beneath")
        self.above = above
        of = above or self
        self.certificate = (
            of._builder(self.name, self.key, ends)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(x509.KeyUsage(False, False, False, False, False, True, True, False, False), critical=True)
            .sign(of.key, hashes.SHA256())
        )

    def _builder(self, name, key, ends):
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(NOW - 100 * DAY)
            .not_valid_after(ends)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
        )

    def server(self, folder, *names, ends, alternative=True, as_names=False):
        """Return what a server needs that shows a certificate for these names and addresses (or all as names)."""
        key = ec.generate_private_key(ec.SECP256R1())
        found = [
            x509.IPAddress(ipaddress.ip_address(name))
            if (name[0].isdigit() or ":" in name) and not as_names
            else x509.DNSName(name)
            for name in names
        ]
        certificate = self._builder(subject("Shop", names[0]), key, ends).add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False
        )
        if alternative:
            certificate = certificate.add_extension(x509.SubjectAlternativeName(found), critical=False)
        certificate = certificate.sign(self.key, hashes.SHA256())
        file = folder / "server.pem"
        file.write_bytes(
            certificate.public_bytes(serialization.Encoding.PEM)
            + (self.certificate.public_bytes(serialization.Encoding.PEM) if self.above else b"")
            + key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        return context


@pytest.fixture
def authority(tmp_path, monkeypatch):
    """An authority that this machine trusts, as long as the test lasts: the way OpenSSL is told."""
    made = Authority()
    file = tmp_path / "authority.pem"
    file.write_bytes(made.certificate.public_bytes(serialization.Encoding.PEM))
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    return made


async def scrape_server(context, host="127.0.0.1"):
    async with scripted_server(respond_with(), host, context) as server, collector_tools() as tools:
        place = f"[{host}]" if ":" in host else host
        return await scrape(Tls(url=f"https://{place}:{server.port}/", timeout="5s"), tools)


def found(numbers):
    return (
        numbers.one("tls_certificate_trusted"),
        numbers.one("tls_certificate_name_matches"),
        numbers.one("probe_ssl_earliest_cert_expiry"),
        numbers.one("tls_certificate_info", issuer="Throw-away Trust"),
    )


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
async def test_expiry_and_issuer_of_a_certificate(authority, tmp_path, host):
    """
    For names and addresses alike.
    """
    ends = NOW + 5 * DAY
    numbers = await scrape_server(authority.server(tmp_path, "127.0.0.1", "::1", "localhost", ends=ends), host)

    assert numbers.error == ""
    assert found(numbers) == (1, 1, ends.timestamp(), 1)


@pytest.mark.parametrize(
    ("names", "days", "trusted", "matches", "error"),
    [
        (["127.0.0.1"], -3, 0, 1, "certificate has expired"),
        (["127.0.0.2", "shop.example"], 5, 1, 0, "IP address mismatch, certificate is not valid for '127.0.0.1'"),
        (["shop.example"], -3, 0, 0, "IP address mismatch, certificate is not valid for '127.0.0.1'"),
    ],
)
async def test_all_faults_of_a_certificate_are_reported(authority, tmp_path, names, days, trusted, matches, error):
    """
    Each of its faults has a number of its own: OpenSSL stops at the first.
    """
    ends = NOW + days * DAY
    numbers = await scrape_server(authority.server(tmp_path, *names, ends=ends))

    assert numbers.error == error
    assert found(numbers) == (trusted, matches, ends.timestamp(), 1)


@pytest.mark.parametrize(("names", "matches"), [(["localhost"], 1), (["shop.example"], 0)])
async def test_a_certificate_of_an_unknown_issuer_is_down(tmp_path, names, matches):
    """
    Its end, its issuer and its name are told all the same.
    """
    ends = NOW + 5 * DAY
    numbers = await scrape_server(Authority().server(tmp_path, *names, ends=ends), "localhost")

    assert "local issuer certificate" in numbers.error
    assert found(numbers) == (0, matches, ends.timestamp(), 1)


@pytest.mark.parametrize(("days", "error"), [(5, ""), (-1, "certificate has expired")])
async def test_the_earliest_expiry_of_the_chain_is_reported(authority, tmp_path, days, error):
    """
    The shop is refused when what signed its certificate ends, however long that one itself has left.
    """
    between = Authority(authority, NOW + days * DAY)
    numbers = await scrape_server(between.server(tmp_path, "127.0.0.1", ends=NOW + 9 * DAY))
    assert numbers.error == error
    assert numbers.one("probe_ssl_earliest_cert_expiry") == (NOW + days * DAY).timestamp()


async def test_a_certificate_with_a_common_name_only_is_rejected(authority, tmp_path):
    """
    As browsers do; other programs still let it pass.
    """
    numbers = await scrape_server(
        authority.server(tmp_path, "localhost", ends=NOW + 5 * DAY, alternative=False), "localhost"
    )
    assert "mismatch" in numbers.error.lower()
    assert numbers.one("tls_certificate_name_matches") == 0
    assert numbers.one("tls_certificate_trusted") == 1


async def test_an_ip_address_as_a_dns_name_does_not_match(authority, tmp_path):
    """
    As browsers see it.
    """
    numbers = await scrape_server(authority.server(tmp_path, "127.0.0.1", ends=NOW + 5 * DAY, as_names=True))
    assert "mismatch" in numbers.error
    assert numbers.one("tls_certificate_name_matches") == 0


async def test_a_server_without_tls_handshake_is_down():
    """
    It costs its own time limit, no more.
    """
    async with silent_port() as port, collector_tools() as tools:
        with pytest.raises(CollectError, match=f"tls shop: 127.0.0.1:{port}: accepts .* TLS handshake"):
            await scrape(Tls(name="shop", url=f"https://127.0.0.1:{port}/", timeout="500ms"), tools)


@asynccontextmanager
async def plain():
    """A server that greets first, and not in TLS."""

    async def greet(reader, writer):
        writer.write(b"220 mail.example ESMTP\r\n")
        writer.close()

    async with await asyncio.start_server(greet, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


async def test_a_server_without_tls_and_a_closed_port_have_readable_reasons():
    """
    In words, not in OpenSSL's line numbers.
    """
    async with collector_tools() as tools:
        with pytest.raises(CollectError, match="connection refused"):
            await scrape(Tls(url=f"https://127.0.0.1:{free_port()}/"), tools)
        async with plain() as port:
            with pytest.raises(CollectError, match="TLS: wrong version number"):
                await scrape(Tls(url=f"https://127.0.0.1:{port}/"), tools)
