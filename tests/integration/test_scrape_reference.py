"""The same pages to a real Prometheus and to toban's scrape collector."""

import asyncio
import json
import shutil
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager

import httpx2

from tests import servers
from tests.integration.scraping import collector_tools, poll_until
from tests.needs import need
from tests.scripted_server import respond_with, scripted_server
from toban.collect.collectors.scrape.scrape import Scrape
from toban.core.errors import CollectError
from toban.core.labels import Labels

TEXT, OPENMETRICS = "text/plain; version=0.0.4", "application/openmetrics-text; version=1.0.0"

# Not among them: a series after blanks, which the format allows and promtool reads; Prometheus' server takes the blanks
# for a part of its name.
PAGES = {
    "text": (
        TEXT,
        "# HELP odd Odd things\\n of all sorts.\n# TYPE odd gauge\n"
        'odd{what="nothing",empty=""} 0\nodd{what="less"} -0\nodd{what="more"} +Inf\nodd{what="none"} nan\n'
        'odd{what="tiny"} 5e-324\nodd{what="exact"} 0.1\nodd{what="great"} 1.7976931348623157e308\n'
        'odd {what="apart" , } 1\nodd{what="tab"}\t2\nodd{what="close"}3\n'
        'odd{what="a\\\\b\\"c\\nd}é温"} 5\n# a comment of no meaning\n#another\n\n'
        'odd{job="their",instance="own",exported_job="older"} 6\n'
        'twice{a="1"} 1\ntwice{a="1"} 2\nlast 7',
    ),
    "openmetrics": (
        OPENMETRICS,
        '# TYPE orders counter\n# HELP orders Orders \\"placed\\".\n'
        'orders_total{channel="b2b"} 17 # {trace_id="x # {"} 1 1.5\norders_created{channel="b2b"} 1.5\n'
        "# TYPE took_seconds histogram\n# UNIT took_seconds seconds\n"
        'took_seconds_bucket{le="0.5"} 1\ntook_seconds_bucket{le="+Inf"} 2\n'
        "took_seconds_count 2\ntook_seconds_sum 1.75\n"
        '# TYPE build info\nbuild_info{version="3"} 1\n'
        '# TYPE state stateset\nstate{state="on"} 1\nstate{state="off"} 0\n# EOF\n',
    ),
}
PAGES["honored"] = (TEXT, 'other{job="their",instance="own"} 1\nother 2\n')
REFUSED = {
    "a cut page": (OPENMETRICS, "# TYPE orders counter\norders_total 17\n"),
    "two labels of one name": (TEXT, 'a{b="c",b="d"} 1\n'),
    "another number": (TEXT, "a 1\nb 1_0\n"),
    "a time in seconds": (TEXT, "a 1 1.5\n"),
    "no page": (TEXT, "<html>\n"),
    "words behind": (TEXT, "a 1 2 3\n"),
    "a number too great": (TEXT, "a 1e999\n"),
    "another end of line": (TEXT, "a 1\r\n"),
    "a comma too many": (TEXT, 'a{,b="c"} 1\n'),
}


@contextmanager
def prometheus(targets: dict[str, int]) -> Iterator[str]:
    """A Prometheus that scrapes each target once a second."""
    program = need("prometheus", shutil.which("prometheus"))
    jobs = [
        {
            "job_name": name,
            "honor_labels": name.endswith("honored"),
            "static_configs": [{"targets": [f"127.0.0.1:{port}"]}],
        }
        for name, port in targets.items()
    ]
    with servers.folder() as folder:
        settings = folder / "prometheus.json"
        settings.write_text(
            json.dumps({"global": {"scrape_interval": "1s", "scrape_timeout": "1s"}, "scrape_configs": jobs})
        )
        settings.chmod(0o644)
        port = servers.free_port()
        command = [
            str(program),
            f"--config.file={settings}",
            f"--storage.tsdb.path={folder}/data",
            f"--web.listen-address=127.0.0.1:{port}",
        ]
        with servers.running(servers.Server(port, folder, command)):
            yield f"http://127.0.0.1:{port}"


async def theirs(address: str, well: dict[str, bool], client: httpx2.AsyncClient) -> dict[str, str]:
    """Return all series that Prometheus has once its targets are as expected."""

    async def health() -> dict[str, str]:
        response = await client.get(f"{address}/api/v1/targets")
        found = response.json()["data"]["activeTargets"] if response.is_success else []  # it is still starting
        return {target["scrapePool"]: target["health"] for target in found}

    await poll_until(health, lambda found: found == {name: "up" if up else "down" for name, up in well.items()})
    found = (await client.get(f"{address}/api/v1/query", params={"query": '{__name__=~".+"}'})).json()["data"]["result"]
    return {
        str(Labels(series["metric"])): words(float(series["value"][1]))
        for series in found
        if series["metric"]["__name__"] != "up" and not series["metric"]["__name__"].startswith("scrape_")
    }


def words(value: float) -> str:
    """A value to the last bit."""
    return "NaN" if value != value else value.hex()


async def test_a_page_has_the_same_samples_as_in_prometheus():
    """
    The same series with the same values, and the same pages are refused.
    """
    async with AsyncExitStack() as stack:
        targets = {}
        for name, (media, page) in {**PAGES, **REFUSED}.items():
            server = await stack.enter_async_context(scripted_server(respond_with(page, content_type=media)))
            targets[name] = server.port
        tools = await stack.enter_async_context(collector_tools())
        ours, refused = {}, set()
        for name, port in targets.items():
            scrape = Scrape(name=name, url=f"http://127.0.0.1:{port}/metrics", honor_labels=name.endswith("honored"))
            try:
                look = await scrape.collect(tools)
            except CollectError:
                refused.add(name)
            else:
                for batch in look.batches:
                    ours |= zip(map(str, batch.layout.series), map(words, batch.values.tolist()), strict=True)
        # In a thread: while it starts, it already asks for the pages.
        address = await asyncio.to_thread(stack.enter_context, prometheus(targets))
        found = await theirs(address, {name: name in PAGES for name in targets}, tools.http)

    assert refused == set(REFUSED)
    assert ours == found
