"""
A real Vendure shop for tests: installed and populated once on a machine, cloned for each start.

```python
with receiving() as receiver, run_vendure(ShopVariant(telemetry="enriched"), receiver.url) as shop:
    ground_truth = await place_orders(shop, seed=1, orders=50)
```

A start takes some five seconds and 400 MB: tests of a file should share a shop, and one worker runs them all. The
first of all takes a minute more, so a test that starts one is marked ``SLOW``. The shops of a worker have databases of
their own in one PostgreSQL.
"""

import atexit
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import cache

import httpx2
import pytest

from tests import servers
from tests.needs import need
from toban.demo import shop_processes
from toban.demo.customers import open_shop, run_visits
from toban.demo.ground_truth import GroundTruth
from toban.demo.servers import Postgres, Server, wheel_valkey
from toban.demo.shop_processes import ShopProcesses, ShopVariant
from toban.demo.traffic_model import BUSY, CustomerHabits, plan_visits
from toban.shop.postgres_programs import wheel_postgres

__all__ = ["SLOW", "ShopProcesses", "ShopVariant", "api_key", "place_orders", "run_vendure"]

SLOW = pytest.mark.timeout(600)
"""For `pytestmark`: time for the first install."""


def run_vendure(
    variant: ShopVariant = ShopVariant(),  # noqa: B008  # it is frozen
    telemetry: str = "http://127.0.0.1:9",
    *,
    postgresql: Postgres | None = None,
    redis: Server | None = None,
    **environment: str,
) -> AbstractContextManager[ShopProcesses]:
    """Run a variant of the shop; its telemetry goes to a URL, by default an unused one."""
    need("Node.js", shutil.which("node"))
    need("npm", shutil.which("npm"))
    need("PostgreSQL 18", wheel_postgres())
    need("valkey-server", wheel_valkey())
    return _run_shop(variant, telemetry, postgresql, redis, environment)


@contextmanager
def _run_shop(
    variant: ShopVariant,
    telemetry: str,
    postgresql: Postgres | None,
    redis: Server | None,
    environment: Mapping[str, str],
) -> Iterator[ShopProcesses]:
    server = postgresql or _postgres()
    with shop_processes.run_shop(variant, telemetry, postgresql=server, redis=redis, **environment) as shop:  # type: ignore[arg-type]  # none is `say`
        yield shop


@cache
def _postgres() -> Postgres:
    """Return the PostgreSQL of this worker's shops. It ends with the tests; a test that kills it starts it again."""
    place = ExitStack()
    atexit.register(place.close)
    return place.enter_context(servers.postgres())


async def place_orders(shop: ShopProcesses, seed: int, orders: int = 50, habits: CustomerHabits = BUSY) -> GroundTruth:
    """Run visits until so many orders are placed, and return the ground truth."""
    async with open_shop(shop.shop_api, knows_status=shop.variant.customer_status) as client:
        return await run_visits(client, plan_visits(seed, orders, habits))


async def api_key(http: httpx2.AsyncClient, shop: ShopProcesses, permissions: Sequence[str] = ()) -> str:
    """Make a key for the Admin API, as its staff would: of the role of the shop's owner, or one with permissions."""
    login = 'mutation { login(username: "superadmin", password: "superadmin") { __typename } }'
    answered = await http.post(shop.admin_api, json={"query": login})
    headers = {"authorization": f"Bearer {answered.headers['vendure-auth-token']}"}
    role = "1"
    if permissions:
        named = f'code: "limited-{len(permissions)}", description: "", permissions: [{", ".join(permissions)}]'
        create = f"mutation {{ createRole(input: {{ {named} }}) {{ id }} }}"
        created = await http.post(shop.admin_api, json={"query": create}, headers=headers)
        role = created.json()["data"]["createRole"]["id"]
    make = """mutation ($role: ID!) {
      createApiKey(input: {roleIds: [$role], translations: [{languageCode: en, name: "toban"}]}) {
        ... on CreateApiKeyResult { apiKey } } }"""
    made = await http.post(shop.admin_api, json={"query": make, "variables": {"role": role}}, headers=headers)
    return str(made.json()["data"]["createApiKey"]["apiKey"])
