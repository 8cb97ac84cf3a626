"""Where toban listens, and who may ask."""

import ipaddress
from typing import Annotated, Self

from pydantic import AfterValidator, model_validator

from toban.core.section import Secret, Section, Size


def split(address: str) -> tuple[str, int]:
    """
    Read HOST:PORT; an IPv6 address stands in brackets.

    Raises ``ValueError`` when it is something else.
    """
    host, _, port = address.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        host = ""
    if not host or not port.isdecimal() or int(port) > 65535:
        raise ValueError(f"{address!r} is no HOST:PORT: write it like 127.0.0.1:9119 or [::]:9119")
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


class WebSettings(Section):
    """toban's own pages and APIs."""

    listen: Annotated[str, AfterValidator(_address)] = "127.0.0.1:9119"
    """HOST:PORT. On an address that other machines reach, a token is needed."""

    token: Secret | None = None
    """What other machines must show, as `Authorization: Bearer …`; `/health` alone answers without."""

    metrics: Annotated[str, AfterValidator(_address)] | None = None
    """HOST:PORT where `/metrics` alone answers, to everybody: for a Prometheus that shows no token, like Fly's. Whoever
    reaches it reads the shop's numbers."""

    body_limit: Size = 4 * 2**20
    """How long a body may be that is pushed (OTLP, events), inflated."""

    @model_validator(mode="after")
    def _guarded(self) -> Self:
        host, _ = split(self.listen)
        if not is_loopback(host) and not (self.token and self.token.get_secret_value()):
            raise ValueError(
                f"listening on {self.listen} lets other machines in: set web.token, or listen on 127.0.0.1"
            )
        return self
