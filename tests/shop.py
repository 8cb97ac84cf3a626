"""A small shop that can be broken piece by piece: real servers, and pages that say what they are told to."""

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass

from tests import servers
from tests.pages import Page, serving

WELL = json.dumps(
    {
        "data": {
            "products": {"totalItems": 1, "items": [{"name": "Lamp", "slug": "lamp"}]},
            "search": {"totalItems": 1, "items": [{"slug": "lamp"}]},
            "product": {"id": "1", "variants": [{"id": "1", "priceWithTax": 100}]},
        }
    }
)
UNWELL = '{"errors": [{"message": "database is gone", "path": ["search"]}], "data": null}'
"""What Vendure answers when it can't sell: with the status 200."""

OFTEN = """
collect:
  - {kind: toban, interval: 1s}
  - {kind: host, interval: 1s}
  - {kind: postgres, interval: 1s}
  - {kind: redis, interval: 1s}
  - {kind: http, name: storefront, url: "${STOREFRONT_URL}", interval: 1s}
  - {kind: shop_api, name: vendure, url: "${SHOP_API_URL}", interval: 1s}
"""
"""The targets that the environment names, looked at each second."""


@dataclass
class Shop:
    """A shop in pieces."""

    postgres: servers.Postgres
    bouncer: servers.Server
    redis: servers.Server
    api: Page
    storefront: Page

    @property
    def environment(self) -> dict[str, str]:
        """What its variables are to toban."""
        return {
            "DATABASE_URL": f"postgresql://postgres@127.0.0.1:{self.bouncer.port}/postgres",
            "REDIS_URL": f"redis://127.0.0.1:{self.redis.port}/0",
            "SHOP_API_URL": f"{self.api.url}/shop-api",
            "STOREFRONT_URL": f"{self.storefront.url}/",
        }


@contextmanager
def shop(redis: Callable[[], AbstractContextManager[servers.Server]] = servers.valkey) -> Iterator[Shop]:
    """Run a shop: PostgreSQL 18 behind PgBouncer in transaction mode, a Redis, a Shop API, a storefront."""
    with ExitStack() as stack:
        postgres = stack.enter_context(servers.postgres())
        # PgBouncer else waits 15 s before it tries a database again that was away.
        bouncer = stack.enter_context(servers.pgbouncer(postgres, server_login_retry="0.1"))
        yield Shop(
            postgres,
            bouncer,
            stack.enter_context(redis()),
            stack.enter_context(serving(Page(WELL))),
            stack.enter_context(serving(Page("<h1>Shop</h1>", media="text/html"))),
        )
