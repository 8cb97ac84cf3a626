"""Discovery of the environment by `toban init`."""

import pytest
import yaml

from tests.fake_fly import FakeFly
from tests.fakes import FakeClock
from toban.cli import discovery
from toban.cli.commands.init import written
from toban.settings import build_settings

OPEN = {
    ("shop.internal", 3000),
    ("shop-worker.internal", 3020),
    ("shop-db.internal", 5432),
}
HERE = {"FLY_APP_NAME": "shop-toban", "FLY_REGION": "fra"}


@pytest.fixture(autouse=True)
def network(monkeypatch):
    """Let machines of a private network accept connections."""

    async def reached(host, port):
        return (host, port) in OPEN

    monkeypatch.setattr(discovery, "is_reachable", reached)


@pytest.fixture
async def fly():
    async with FakeFly(FakeClock()) as it:
        for app in ("shop", "shop-worker", "shop-db", "shop-toban"):
            it.add(app, app)
        yield it


async def test_nothing_is_discovered_outside_fly():
    """
    No variable of Fly's, no question to anybody.
    """
    assert await discovery.discover({}) is None


@pytest.mark.parametrize("token", ["", FakeFly.token, "FlyV1 fm2_of_somebody_else"])
async def test_apps_on_fly_are_discovered(fly, token):
    """
    By the token all of the organisation; without one, or with one that may not, those that are called alike.
    """
    found = await discovery.discover({**HERE, "FLY_API_TOKEN": token, "FLY_FLAPS_BASE_URL": fly.api})
    assert found.proposed == {
        "shop_api": "http://shop.internal:3000/shop-api",
        "worker": "http://shop-worker.internal:3020/health",
    }
    assert "PostgreSQL listens at shop-db.internal:5432." in found.messages
    if token == fly.token:
        assert found.known["fly_org"] == "shop-gmbh"
        assert found.known["fly_apps"] == ["shop", "shop-db", "shop-worker"]
    else:
        assert found.known == {}
        assert any("fly tokens create readonly" in sentence for sentence in found.messages)
    assert not token or token not in str(found)


async def test_the_proposed_configuration_is_valid(fly):
    """
    With the token's variable, not the token.
    """
    here = await discovery.discover({**HERE, "FLY_API_TOKEN": fly.token, "FLY_FLAPS_BASE_URL": fly.api})
    text = written(here.proposed, here)
    assert "fm2_" not in text
    settings = build_settings(yaml.safe_load(text), {"FLY_API_TOKEN": fly.token, "TOBAN_TOKEN": "t"}, "the file")
    assert settings.shop.fly_apps == ("shop", "shop-db", "shop-worker")
    assert settings.web.listen == "[::]:9119"
