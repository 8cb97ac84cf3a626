"""The addresses that toban listens on."""

import pytest

from toban.core.errors import SettingsError
from toban.web.http_server import address_of, network


def test_an_address_that_another_program_has_is_an_error_before_either_serves():
    with network("127.0.0.1:0") as first:
        taken = address_of(first).removeprefix("http://")
        with pytest.raises(SettingsError, match="is another program using it"), network(taken):
            pass
    with network(taken) as again:
        assert address_of(again).endswith(taken)
