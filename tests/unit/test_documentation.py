"""Documentation says what is there today."""

import re
from pathlib import Path

import pytest
from tools import reference

from toban.settings import plugin_registries

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", re.findall(r"`((?:src|tests)/\S+\.py)`", README))
def test_the_readme_shows_files_as_they_are(path):
    """
    The collector that it shows is a real one.
    """
    assert (ROOT / path).read_text(encoding="utf-8").strip() in README


def test_the_readme_names_every_command():
    """
    And none that is not there.
    """
    named = set(re.findall(r"`toban (\w+)[^`]*`", README))
    there = {path.stem for path in (ROOT / "src/toban/cli/commands").glob("[a-z]*.py")}

    assert named >= there
    assert named <= there


@pytest.mark.parametrize("page", ["metrics", "settings", "sources"])
def test_the_reference_is_what_the_code_says(page):
    """
    `make reference` writes it anew.
    """
    written = (ROOT / "docs" / "reference" / f"{page}.md").read_text(encoding="utf-8")
    assert written == getattr(reference, page)()


def test_every_number_says_what_it_tells():
    """
    A help text that is missing is missing on `/metrics` too.
    """
    assert [family.name for _, family in reference.declared_families() if not family.help] == []


@pytest.mark.parametrize(
    "page", ["README.md", "CHANGELOG.md", *(f"docs/{p.name}" for p in (ROOT / "docs").glob("*.md"))]
)
def test_what_a_page_points_to_is_there(page):
    """
    Files and folders that it names in backquotes, or links to.
    """
    text = (ROOT / page).read_text(encoding="utf-8")
    for path in re.findall(r"`((?:docs|src|tests|bench)/[\w./-]*)`", text) + re.findall(r"\]\(([\w./-]+)\)", text):
        assert (ROOT / path).exists() or (ROOT / page).parent.joinpath(path).exists(), path


TRIED = (ROOT / "docs" / "TRIED.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("section", plugin_registries())
def test_each_plugin_says_what_it_was_tried_against(section):
    """
    In a row of its own: with the real thing, a stand-in, or not at all.
    """
    registry = plugin_registries()[section]
    text = TRIED.partition(f"## {registry.noun.capitalize()}s\n")[2].partition("\n## ")[0]
    rows = re.findall(r"(?m)^\| (\w+) \| (real|stand-in|not at all) \| .+ \| `(\S+)` \|$", text)
    assert sorted(kind for kind, *_ in rows) == registry.names()
    for kind, how, test in rows:
        text = (ROOT / test).read_text(encoding="utf-8")
        assert kind in text.lower()
        assert how != "stand-in" or f"fake_{kind}" in text


SNIPPETS = [
    pytest.param(code, id=f"{page.name} {number}")
    for page in sorted((ROOT / "docs").glob("*.md"))
    for number, code in enumerate(re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL))
    if "print(" in code
]


@pytest.mark.parametrize("code", SNIPPETS)
def test_what_a_snippet_prints_is_what_stands_below_it(code, capsys):
    """
    As a comment.
    """
    exec(code, {})
    expected = [line.removeprefix("# ") for line in code.splitlines() if line.startswith("# ")]
    assert capsys.readouterr().out.splitlines() == expected
