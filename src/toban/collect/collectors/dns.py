"""The collector `dns`: the addresses of a host name."""

import asyncio
import socket
from collections.abc import Iterable
from typing import Final, Literal

from toban.collect.collector import Collector
from toban.collect.tools import HasClock
from toban.core.config_types import Host
from toban.core.errors import CollectError
from toban.core.http_client import error_reason
from toban.core.samples import Sample, gauge

ADDRESSES: Final = gauge("dns_addresses", "Addresses that the host name resolves to.")
LOOKUP_SECONDS: Final = gauge("dns_lookup_seconds", "Duration of the DNS lookup.", "seconds")


class Dns(Collector):
    """Resolve a host name and count its addresses."""

    kind: Literal["dns"] = "dns"

    host: Host
    """Host name to resolve, like shop.example."""

    @property
    def default_instance(self) -> str:
        """The host name."""
        return self.host

    async def collect(self, tools: HasClock) -> Iterable[Sample]:
        """
        Resolve through the system's resolver.

        Raises ``CollectError`` when the name does not resolve.
        """
        started = tools.clock.monotonic()
        try:
            found = await asyncio.get_running_loop().getaddrinfo(self.host, None, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise CollectError(f"dns {self.name}: {self.host}: {error_reason(error)}") from error
        seconds = tools.clock.monotonic() - started
        return [ADDRESSES.sample(len({address for *_, address in found})), LOOKUP_SECONDS.sample(seconds)]
