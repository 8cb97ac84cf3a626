"""Where toban listens, and who may use it."""

import ipaddress
import re
from typing import Annotated, Literal

from pydantic import AfterValidator, SecretStr, field_validator

from toban.core.config_types import Secret, Section, Size
from toban.core.redaction import redact_url


def split(address: str) -> tuple[str, int]:
    """Read HOST:PORT, with an IPv6 address in brackets. Raises ``ValueError``."""
    host, _, port = address.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        host = ""
    if not host or not port.isdecimal() or int(port) > 65535:
        raise ValueError(f"{redact_url(address)!r} is not HOST:PORT: write it like 127.0.0.1:9119 or [::]:9119")
    return host, int(port)


def is_loopback(host: str) -> bool:
    """Tell whether only this machine reaches an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _address(value: str) -> str:
    split(value)
    return value


def _host(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._-]+|[0-9A-Fa-f:.]+", name):
        raise ValueError(
            f"{redact_url(name)!r} is not a host name: write it like toban.example.com, without scheme and port"
        )
    return name.lower()


def _network(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text, strict=False))
    except ValueError:
        raise ValueError(f"invalid address {redact_url(text)!r}: write it like 127.0.0.1 or 10.0.0.0/8") from None


class WebSettings(Section):
    """toban's own pages and APIs."""

    listen: Annotated[str, AfterValidator(_address)] = "127.0.0.1:9119"
    """HOST:PORT. On an address that other machines reach, a token or a user is required: before there is one, toban
    serves only the one-time link that makes the first admin."""

    hosts: tuple[Annotated[str, AfterValidator(_host)], ...] = ()
    """Names under which toban is reached, like toban.example.com: requests for other names are refused (421), so that
    no web page can reach toban through a browser. `localhost`, the host of `notify.address`, this machine's own name
    and addresses need no mention."""

    token: Secret | None = None
    """The token that programs send as `Authorization: Bearer …`; only `/health` and `/-/healthy` need none. It may do
    everything but change users and API tokens. Once it is set, it or a sign-in is required on this machine too.
    Commands use a socket in the data folder."""

    metrics: Annotated[str, AfterValidator(_address)] | None = None
    """HOST:PORT that serves `/metrics` alone, without a token: for a Prometheus that sends none, like Fly's. Whoever
    reaches it reads the shop's metrics."""

    trusted_proxies: tuple[Annotated[str, AfterValidator(_network)], ...] = ()
    """Addresses and networks of reverse proxies, like 127.0.0.1 or 10.0.0.0/8: a request from there has the client's
    address in `client_address_header`. The audit log shows it, and sign-in attempts are limited by it."""

    client_address_header: Literal["X-Forwarded-For", "Fly-Client-IP"] = "X-Forwarded-For"
    """The header in which a trusted proxy names the client."""

    body_limit: Size = 4 * 2**20
    """The largest body that is accepted (OTLP, events), decompressed."""

    @field_validator("token")
    @classmethod
    def _can_be_shown(cls, token: SecretStr | None) -> SecretStr | None:
        if token is not None and not re.fullmatch(r"[!-~]([ -~]*[!-~])?", token.get_secret_value()):
            raise ValueError(
                "it is empty, begins or ends with a space, or has a character that no header can carry (a line break?)"
            )
        return token
