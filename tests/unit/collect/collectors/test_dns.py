"""One name in the DNS."""

import pytest

from toban.collect.collectors.dns import Dns
from toban.core.errors import CollectError


async def test_the_addresses_of_a_name_are_counted(tools):
    """
    `localhost` is known on every machine.
    """
    addresses, seconds = await Dns(host="localhost").collect(tools)

    assert addresses.value >= 1
    assert seconds.family.unit == "seconds"


async def test_a_name_that_does_not_resolve_is_down(tools):
    """
    The message names it. This one fails before anybody is asked: its part is longer than 63 signs.
    """
    with pytest.raises(CollectError, match=r"dns dns: x{64}: "):
        await Dns(host="x" * 64).collect(tools)
