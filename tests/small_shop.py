"""A small shop whose parts a test can break: real servers, and pages with given responses."""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from tests import servers
from tests.page_server import Page, serve_page

CATALOGUE = json.dumps(
    {
        "data": {
            "products": {"totalItems": 1, "items": [{"name": "Lamp", "slug": "lamp"}]},
            "search": {"totalItems": 1, "items": [{"slug": "lamp"}]},
            "product": {"id": "1", "variants": [{"id": "1", "priceWithTax": 100}]},
        }
    }
)
DATABASE_ERROR = '{"errors": [{"message": "database is gone", "path": ["search"]}], "data": null}'
"""Vendure's response while its database is down, with status 200."""

COLLECT_EACH_SECOND = """
collect:
  - {kind: toban, interval: 1s}
  - {kind: host, interval: 1s}
  - {kind: postgres, interval: 1s}
  - {kind: redis, interval: 1s}
  - {kind: http, name: storefront, url: "${STOREFRONT_URL}", interval: 1s}
  - {kind: shop_api, name: vendure, url: "${SHOP_API_URL}", interval: 1s}
"""
"""The targets that the environment names, scraped each second."""


def write_fast_rules(folder: Path) -> None:
    """Write the shipped rules into a folder, with a `for` of seconds instead of minutes."""
    for name in ("vendure.yaml", "infrastructure.yaml"):
        text = files("toban.alerting").joinpath("rules", name).read_text(encoding="utf-8")
        (folder / name).write_text(re.sub(r"for: \d+[ms]\n", "for: 3s\n", text))


@dataclass
class Shop:
    """The parts of a shop."""

    postgres: servers.Postgres
    bouncer: servers.Server
    redis: servers.Server
    api: Page
    storefront: Page

    @property
    def environment(self) -> dict[str, str]:
        """The variables by which toban finds it."""
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
        # By default PgBouncer waits 15 s before it connects again to a database that was down.
        bouncer = stack.enter_context(servers.pgbouncer(postgres, server_login_retry="0.1"))
        yield Shop(
            postgres,
            bouncer,
            stack.enter_context(redis()),
            stack.enter_context(serve_page(Page(CATALOGUE))),
            stack.enter_context(serve_page(Page("<h1>Shop</h1>", media="text/html"))),
        )
