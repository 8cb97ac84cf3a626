"""The status page as customers and operators use it."""

import re

import pytest

from tests.program import toban

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
    refused = program.run("status-page", "publish", "x", "y", "--component", "Lamps")
    assert (refused.returncode, "unknown component 'Lamps'" in refused.stderr) == (1, True)
    assert program.run("status-page", "update", post, "resolved", "It works.").returncode == 0
    assert program.get("/status-page")[0] == 401


def test_there_is_no_status_page_unless_it_is_enabled(tmp_path):
    with toban(tmp_path / "data") as program:
        program.until("is on duty")
        assert program.get("/status")[0] == 404
        refused = program.run("status-page", "publish", "x", "y")
        assert "set `status_page.enabled: true` in toban.yaml" in refused.stderr
