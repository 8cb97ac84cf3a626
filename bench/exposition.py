"""
How long a page takes to read: by toban the first time and again, and by prometheus-client.

``python bench/exposition.py [SERIES ...]`` prints milliseconds, the median of seven, and what the memory holds.
"""

import sys
import time
import tracemalloc
from collections.abc import Callable
from functools import partial
from statistics import median

from prometheus_client.parser import text_string_to_metric_families

from toban.collect.collectors.scrape.exposition_batches import PageReader
from toban.exposition.parser import PageParser

TARGET = {"job": "shop", "instance": "127.0.0.1:9100"}


def page(series: int, turn: int) -> str:
    """A page as an application has it: ten families, a few labels each."""
    lines = []
    for family in range(10):
        name = f"shop_requests_{family}_total"
        lines += [f"# HELP {name} Requests that were answered.", f"# TYPE {name} counter"]
        for number in range(series // 10):
            labels = f'method="GET",status="{200 + number % 5}",path="/products/{number}"'
            lines.append(f"{name}{{{labels}}} {number * 1.5 + turn}")
    return "\n".join([*lines, ""])


def milliseconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1000


def theirs(text: str) -> int:
    return sum(len(family.samples) for family in text_string_to_metric_families(text))


def measure(series: int) -> None:
    pages = [page(series, turn) for turn in range(8)]
    warm = PageParser(series)
    warm.read(pages[0])
    scraped = PageReader(TARGET, series)
    layout = scraped.read(pages[0], 0).batches[0].layout
    figures: dict[str, list[float]] = {}
    for text in pages[1:]:  # everybody in each round, so that a slow moment of the machine meets all
        works: dict[str, Callable[[], object]] = {
            "toban, cold": partial(PageParser(series).read, text),
            "toban, warm": partial(warm.read, text),
            "as a batch, cold": partial(PageReader(TARGET, series).read, text, 0),
            "as a batch, warm": partial(scraped.read, text, 0),
            "prometheus-client": partial(theirs, text),
        }
        for name, work in works.items():
            figures.setdefault(name, []).append(milliseconds(work))
    assert scraped.read(pages[0], 0).batches[0].layout is layout, "the layout is used again"

    other = median(figures["prometheus-client"])
    print(f"{series} series, {len(pages[0]) / 1000:.0f} kB")
    for name, taken in figures.items():
        print(f"  {name:18} {median(taken):8.1f} ms   {other / median(taken):6.1f} times as fast")
    tracemalloc.start()
    kept = PageReader(TARGET, series)
    kept.read(pages[0], 0)
    held, most = tracemalloc.get_traced_memory()
    tracemalloc.reset_peak()
    kept.read(pages[1], 0)
    print(f"  memory             {held / 1e6:8.1f} MB held, {most / 1e6:.1f} MB at most while cold,", end="")
    print(f" {tracemalloc.get_traced_memory()[1] / 1e6:.1f} MB while warm")
    tracemalloc.stop()


if __name__ == "__main__":
    for many in [int(word) for word in sys.argv[1:]] or [2_000, 10_000]:
        measure(many)
