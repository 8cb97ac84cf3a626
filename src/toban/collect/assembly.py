"""Assembles collection from its settings."""

from collections.abc import Iterable

from toban.collect import default_collectors
from toban.collect.collector import Collector
from toban.collect.service import CollectionService
from toban.collect.tools import CollectorTools
from toban.core.ports import SampleSink
from toban.shop.settings import ShopSettings


def open_collection(
    configured: Iterable[Collector],
    shop: ShopSettings,
    sink: SampleSink,
    tools: CollectorTools,
    before: CollectionService | None = None,
) -> CollectionService:
    """Return the service for configured targets and those that the shop has; it goes on with what ``before`` knows."""
    return CollectionService(default_collectors.with_defaults(configured, shop), sink, tools, before)
