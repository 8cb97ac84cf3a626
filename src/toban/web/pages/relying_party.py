"""For whom a browser keeps passkeys, under the address at which it shows a page."""

import ipaddress
from typing import Final
from urllib.parse import urlsplit

from starlette.requests import Request

from toban.access.passkeys import RelyingParty
from toban.web.auth import parse_authority

LOCALHOST: Final = "localhost"
"""The only name under which browsers use passkeys without https."""


def relying_party(request: Request, address: str) -> RelyingParty | None:
    """
    Return for whom passkeys are, None where browsers have none: that takes https, or localhost, and a name.

    ``address`` is the URL at which people reach toban.
    """
    authority = request.headers.get("host", "").lower()
    host, _ = parse_authority(authority)
    public = urlsplit(address)
    if public.scheme == "https" and host and host == public.hostname and not _is_ip(host):
        port = f":{public.port}" if public.port not in {None, 443} else ""
        return RelyingParty(host, f"https://{host}{port}")
    if host == LOCALHOST:
        return RelyingParty(host, f"{request.url.scheme}://{authority}")
    return None


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
