"""One name in the DNS."""

import asyncio
import socket
from collections.abc import Iterable
from typing import Final, Literal

from toban.collect.collector import Collector
from toban.collect.tools import CollectorTools
from toban.core.config_types import Host
from toban.core.errors import CollectError
from toban.core.http_client import error_reason
from toban.core.samples import Sample, gauge

ADDRESSES: Final = gauge("dns_addresses", "Addresses that the name stands for.")
SECONDS: Final = gauge("dns_lookup_seconds", "How long it took to find them.", "seconds")


class Dns(Collector):
    """Look a name up, and count the addresses it stands for."""

    kind: Literal["dns"] = "dns"

    host: Host
    """The name, like shop.example."""

    @property
    def default_instance(self) -> str:
        """The name."""
        return self.host

    async def collect(self, tools: CollectorTools) -> Iterable[Sample]:
        """Ask as any program on this machine would."""
        began = tools.clock.monotonic()
        try:
            found = await asyncio.get_running_loop().getaddrinfo(self.host, None, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise CollectError(f"dns {self.name}: {self.host}: {error_reason(error)}") from error
        seconds = tools.clock.monotonic() - began
        return [ADDRESSES.sample(len({address for *_, address in found})), SECONDS.sample(seconds)]
