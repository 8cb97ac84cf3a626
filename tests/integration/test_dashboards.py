"""Dashboards and queries in the browser, as a running toban serves them."""

import base64
import gzip
import hashlib
import json
import re
import tomllib
import urllib.error
import urllib.parse
import urllib.request
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.program import Program, eventually, toban
from toban.dashboards.board_loader import shipped_boards

OWN = """
name: sales
title: "<img src=x onerror=alert(1)>"
panels:
  - {title: '"><script>alert(1)</script>', queries: [{expr: up, legend: "{{job}}"}]}
  - {title: Broken, queries: [{expr: "up + on (nothing) group_left () up"}]}
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("dashboards")
    (folder / "sales.yaml").write_text(OWN)
    (folder / "toban.yaml").write_text("dashboards: {boards: [sales.yaml]}\ncollect: [{kind: host, interval: 1s}]\n")
    with toban(folder / "data", "--config", str(folder / "toban.yaml")) as running:
        running.until("is on duty")
        eventually(lambda: running.query("system_memory_size_bytes"))
        yield running


def fetch(program: Program, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    request = urllib.request.Request(program.url + path, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            return response.status, {name.lower(): it for name, it in response.headers.items()}, response.read()
    except urllib.error.HTTPError as error:
        return error.code, {name.lower(): it for name, it in error.headers.items()}, error.read()


class Elements(HTMLParser):
    """Collects the elements of a page, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def page(program: Program, path: str, **headers: str) -> Elements:
    status, _, body = fetch(program, path, **headers)
    assert status == 200, path
    return Elements(body.decode())


def scripts(shown: Elements) -> set[str]:
    """Return the names of a page's scripts."""
    sources = [attributes.get("src") or "" for tag, attributes in shown.found if tag == "script"]
    return {source.rpartition("/")[2].partition(".")[0] for source in sources}


def test_all_boards_are_listed_in_the_readers_language(program):
    """
    With links to each.
    """
    listed = page(program, "/dashboards", **{"accept-language": "ja"})
    links = {attributes.get("href") for tag, attributes in listed.found if tag == "a"}
    assert links >= {f"/dashboards/{board.name}" for board in shipped_boards()} | {"/dashboards/sales"}
    assert "販売" in listed.text


@pytest.mark.parametrize("board", shipped_boards(), ids=lambda it: it.name)
def test_every_board_has_a_place_for_each_panel(program, board):
    """
    Which the script fills.
    """
    shown = page(program, f"/dashboards/{board.name}")
    panels = [attributes for tag, attributes in shown.found if "data-panel" in attributes]
    assert [it["data-panel"] for it in panels] == [str(place) for place, _ in enumerate(board.all_panels)]
    for panel in board.all_panels:
        assert panel.title in shown.text


def test_without_a_script_a_board_is_shown_as_tables(program):
    """
    With values and their units; what is not there is said so.
    """
    tables = "/dashboards/hosts?view=table&from=now-5m"
    shown = eventually(
        lambda: page(program, tables), lambda it: "GiB" in it.text or ("Swap" in it.text and " %" in it.text)
    )
    assert re.search(r"\d (GiB|%|B/s|KiB/s)", shown.text)
    assert "Nothing in this range" in shown.text
    assert not [it for _, it in shown.found if re.search(r"board|uPlot", it.get("src") or "")]
    assert not {"board", "explore"} & scripts(shown)
    charts = page(program, "/dashboards/hosts")
    assert [attributes for tag, attributes in charts.found if (attributes.get("href") or "").startswith("?from=now-6h")]


def test_a_range_that_is_none_is_said_on_the_page(program):
    """
    With an example.
    """
    assert "write it like now-6h" in page(program, "/dashboards/hosts?view=table&from=yesterday").text


def test_a_board_on_a_wall_is_followed_by_the_next_one(program):
    """
    After the last comes the first; a time that is none is said.
    """
    [wall] = [it for _, it in page(program, "/dashboards/worker?kiosk&rotate=90s").found if "data-kiosk" in it]
    assert (wall["data-rotate"], wall["data-next"]) == ("90", "/dashboards/api")
    [board] = [it for _, it in page(program, "/dashboards/worker").found if it.get("id") == "board"]
    assert "data-kiosk" not in board
    assert "rotate: " in page(program, "/dashboards/worker?kiosk&rotate=soon").text


def test_what_a_board_says_is_text_and_never_html(program):
    """
    Also what is in the address; a panel that can't be queried says why.
    """
    for path in (
        "/dashboards",
        "/dashboards/sales",
        "/dashboards/sales?view=table",
        "/dashboards/sales?from=%22%3E%3Cscript%3E&to=%3Cimg%3E&refresh=%22%3E%3Cscript%3E",
    ):
        shown = page(program, path)
        assert "img" not in {tag for tag, _ in shown.found}
        scripts = [attributes for tag, attributes in shown.found if tag == "script"]
        assert all((it.get("src") or "").startswith("/static/") for it in scripts)
        assert not [it for _, attributes in shown.found for it in attributes if it.startswith("on") or it == "style"]
    assert "<img src=x onerror=alert(1)>" in page(program, "/dashboards/sales").text


def explore(*queries: str, **more: str) -> str:
    return "/explore?" + urllib.parse.urlencode([*(("expr", query) for query in queries), *more.items()])


def test_without_a_script_queries_have_tables(program):
    """
    With units; an error is marked at its place, and costs the other queries nothing.
    """
    shown = page(program, explore("system_memory_size_bytes", "sum(\nrate(up))", "nope", view="table"))
    assert re.search(r"system_memory_size_bytes\{.*\d GiB", shown.text, re.DOTALL)
    assert "rate(up))\n^" in shown.text
    assert "expected type range vector" in shown.text
    assert "No series at this time" in shown.text
    assert not {"board", "explore"} & scripts(shown)
    fields = [attributes for tag, attributes in shown.found if tag == "textarea"]
    assert len(fields) == 4  # with room for one more


def test_an_address_keeps_queries_and_range(program):
    """
    As text, whatever it is.
    """
    hostile = '"><script>alert(1)</script></textarea><img src=x>'
    for view in ({}, {"view": "table"}):
        shown = page(program, explore("up", hostile, **{"from": "now-2h", "to": hostile}, **view))
        assert "img" not in {tag for tag, _ in shown.found}
        assert all((it.get("src") or "").startswith("/static/") for tag, it in shown.found if tag == "script")
        assert hostile in shown.text
        assert {"now-2h", hostile} <= {it.get("value") for tag, it in shown.found if tag == "input"}


def test_what_can_be_written_in_a_query_is_known_to_the_page(program):
    """
    All functions, operators and keywords of the engine.
    """
    [words] = [it["data-words"] for _, it in page(program, "/explore").found if "data-words" in it]
    known = json.loads(words or "")
    for function in ("rate", "histogram_quantile", "time", "scalar"):
        assert function in known["functions"]
    assert {"sum", "topk", "count_values"} <= set(known["aggregations"])
    assert {"by", "offset", "unless"} <= set(known["keywords"])


def test_a_page_runs_only_scripts_of_its_own(program):
    """
    Nothing from elsewhere, nothing inline; nobody puts it into a frame.
    """
    _, headers, _ = fetch(program, "/dashboards/api")
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"


def test_scripts_and_styles_may_be_kept_for_ever(program):
    """
    Their addresses change with their content; those that a script imports too. The first visit is small.
    """
    shown = page(program, "/dashboards/api")
    addresses = [it.get("href") or it.get("src") for tag, it in shown.found if tag in {"link", "script"}]
    size = 0
    while addresses:
        path = addresses.pop()
        assert path is not None
        status, headers, body = fetch(program, path, **{"accept-encoding": "gzip"})
        assert (status, headers["content-encoding"]) == (200, "gzip")
        assert "immutable" in headers["cache-control"]
        content = gzip.decompress(body)
        assert fetch(program, path)[2] == content
        addresses += re.findall(r'from "(/static/[^"]+)"', content.decode())
        size += len(body)
    assert size < 150_000


@pytest.mark.parametrize(
    "path",
    [
        "/static/vendor/vendor.toml",
        "/static/board.js",
        "/static/../pages/boards.py",
        "/static/..%2f..%2fsettings.py",
        "/static/%2e%2e/auth.py",
        "/dashboards/nope",
        "/dashboards/..%2f..%2fsettings",
        "/dashboards/",
    ],
)
def test_what_is_not_in_the_table_is_not_found(program, path):
    """
    Whatever the path looks like.
    """
    assert fetch(program, path)[0] == 404


def test_vendored_files_are_what_they_were_fetched_as():
    """
    By their hashes, with version and licence.
    """
    folder = Path(__file__).parents[2] / "src" / "toban" / "web" / "static" / "vendor"
    described = tomllib.loads((folder / "vendor.toml").read_text(encoding="utf-8"))
    names = {name for library in described.values() for name in library["files"]}
    assert names | {"vendor.toml"} == {path.name for path in folder.iterdir()}
    for library in described.values():
        assert library["version"]
        assert library["licence"]
        assert any(name.endswith("LICENSE") for name in library["files"])
        for name, file in library["files"].items():
            digest = hashlib.sha384((folder / name).read_bytes()).digest()
            assert file["hash"] == f"sha384-{base64.b64encode(digest).decode()}", name


def test_addresses_of_prometheus_page_lead_to_explore(program):
    """
    Alerts and templates link there; the expression stays what it is.
    """
    expression = 'up{job="a&b"} == 0'
    parameters = urllib.parse.urlencode({"g0.expr": expression, "g0.tab": 1, "g0.range_input": "6h", "g1.expr": "up"})
    shown = page(program, f"/graph?{parameters}")
    values = [it.get("value") for _, it in shown.found] + [shown.text]
    assert any(expression in (value or "") for value in values)
    assert "now-6h" in values
