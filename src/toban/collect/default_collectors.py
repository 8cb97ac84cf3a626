"""Collectors that run without being configured."""

import os
import re
from collections.abc import Iterable

from toban.collect.collector import COLLECTORS, Collector
from toban.shop.settings import ShopSettings


def with_defaults(configured: Iterable[Collector], shop: ShopSettings) -> list[Collector]:
    """
    Return all collectors: for this machine, toban itself, and every part of the shop that is set.

    A configured collector of the same name replaces a default one.
    """
    by_name = {collector.name: collector for collector in [*_defaults(shop), *configured]}
    return list(by_name.values())


def _defaults(shop: ShopSettings) -> Iterable[Collector]:
    yield _collector("toban")
    yield _collector("host")
    yield _collector("telemetry")
    yield _collector("events")
    if shop.database:
        yield _collector("postgres")
        yield _collector("vendure_db")
    if shop.redis:
        yield _collector("redis")
        yield _collector("bullmq")
    if shop.shop_api:
        yield _collector("shop_api", name="vendure", url=shop.shop_api, shop_check=shop.check)
    if shop.worker:
        yield _collector("http", name="worker", url=shop.worker)
    if shop.storefront:
        match = {"match": re.escape(shop.check.storefront)} if shop.check.storefront else {}
        yield _collector("http", name="storefront", url=shop.storefront, **match)
    if shop.fly_token and (shop.fly_apps or shop.fly_org or os.environ.get("FLY_APP_NAME")):
        yield _collector("fly", token=shop.fly_token, org=shop.fly_org, apps=shop.fly_apps)
    for url in dict.fromkeys(filter(None, (shop.storefront, shop.shop_api))):
        if url.startswith("https://"):
            yield _collector("tls", name="tls" if url == shop.storefront else "tls-shop-api", url=url)


def _collector(kind: str, **fields: object) -> Collector:
    return COLLECTORS.load(kind).model_validate({"kind": kind, **fields})
