"""One name in the DNS."""

import asyncio
import socket
from collections.abc import Iterable
from typing import Final, Literal

from toban.collect.collector import Collector
from toban.collect.tools import Tools
from toban.core.config_types import Host
from toban.core.errors import CollectError
from toban.core.http_client import reason
from toban.core.samples import Sample, gauge

ADDRESSES: Final = gauge("dns_addresses", "Addresses that the name stands for.")
SECONDS: Final = gauge("dns_lookup_seconds", "How long it took to find them.", "seconds")


class Dns(Collector):
    """Look a name up, and count the addresses it stands for."""

    kind: Literal["dns"] = "dns"

    host: Host
    """The name, like shop.example."""

    @property
    def looks_at(self) -> str:
        """The name."""
        return self.host

    async def collect(self, tools: Tools) -> Iterable[Sample]:
        """Ask as any program on this machine would."""
        began = tools.clock.monotonic()
        try:
            found = await asyncio.get_running_loop().getaddrinfo(self.host, None, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise CollectError(f"dns {self.name}: {self.host}: {reason(error)}") from error
        seconds = tools.clock.monotonic() - began
        return [ADDRESSES.sample(len({address for *_, address in found})), SECONDS.sample(seconds)]
