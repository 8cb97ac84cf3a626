"""The status page as customers and operators use it."""

import json
import re
from datetime import datetime
from xml.etree import ElementTree as ET

import pytest

from tests.program import toban

ATOM = "{http://www.w3.org/2005/Atom}"
CONFIGURATION = """
web: {token: hush}
status_page: {enabled: true, title: "Lamps & more", components: [Shop, Payment]}
"""


@pytest.fixture
def program(tmp_path):
    (tmp_path / "toban.yaml").write_text(CONFIGURATION)
    with toban(tmp_path / "data") as program:
        program.until("is on duty")
        yield program


def test_operators_publish_and_customers_read(program):
    """
    Without signing in, in the reader's language; hostile text is text, and nothing of toban's own is there.
    """
    status, page = program.get("/status")
    assert (status, "Everything works" in page) == (200, True)
    published = program.run(
        "status-page", "publish", "Payment <b>fails</b>", "We look into it.", "--component", "Payment"
    )
    assert published.returncode == 0, published.stderr
    post = published.stdout.split()[0]
    shown = program.run("status-page", "show")
    assert "Payment <b>fails</b>" in shown.stdout

    # What was rendered a moment ago is served again; another language was not.
    page = program.get("/status", **{"Accept-Language": "ja"})[1]
    assert "Payment &lt;b&gt;fails&lt;/b&gt;" in page
    assert "問題が発生しています" in page
    assert not re.search(r"<nav|<script|toban<", page)
    history = program.run("status-page", "show", "--json")
    days = json.loads(history.stdout)["history"]["Payment"]["days"]
    assert (len(days), sum(it["disturbed_seconds"] for it in days[:-2])) == (90, 0)
    refused = program.run("status-page", "publish", "x", "y", "--component", "Lamps")
    assert (refused.returncode, "unknown component 'Lamps'" in refused.stderr) == (1, True)
    assert program.run("status-page", "update", post, "resolved", "It works.").returncode == 0
    assert program.get("/status-page")[0] == 401


def test_a_feed_reader_gets_the_posts(program):
    """
    As well-formed Atom, whatever was written; an entry changes with each message.
    """
    text = "We look into it. ]]> &amp; <script>\x1b[31m \ufffe"
    post = program.run("status-page", "publish", "Payment <b>fails</b> & more", text, "--component", "Payment")
    status, feed = program.get("/status.atom", **{"Accept-Language": "ja"})
    root = ET.fromstring(feed)
    entry = root.find(f"{ATOM}entry")
    assert (status, root.find(f"{ATOM}title").text) == (200, "Lamps & more")
    assert entry.find(f"{ATOM}id").text == f"urn:uuid:{post.stdout.split()[0]}"
    assert entry.find(f"{ATOM}title").text == "Payment <b>fails</b> & more (調査中)"
    assert entry.find(f"{ATOM}category").get("term") == "Payment"
    assert "]]> &amp; <script>" in entry.find(f"{ATOM}content").text
    for name in ("published", "updated"):
        assert datetime.fromisoformat(entry.find(f"{ATOM}{name}").text).tzinfo
    links = {it.get("rel"): it.get("href") for it in root.findall(f"{ATOM}link")}
    assert links == {"self": f"{program.url}/status.atom", "alternate": f"{program.url}/status"}
    program.run("status-page", "update", post.stdout.split()[0], "resolved", "It works.")
    entry = ET.fromstring(program.get("/status.atom")[1]).find(f"{ATOM}entry")
    assert entry.find(f"{ATOM}title").text.endswith("(resolved)")
    assert "resolved: It works." in entry.find(f"{ATOM}content").text


def test_there_is_no_status_page_unless_it_is_enabled(tmp_path):
    with toban(tmp_path / "data") as program:
        program.until("is on duty")
        assert [program.get(path)[0] for path in ("/status", "/status.atom")] == [404, 404]
        refused = program.run("status-page", "publish", "x", "y")
        assert "set `status_page.enabled: true` in toban.yaml" in refused.stderr
