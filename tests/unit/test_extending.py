"""The pages of `docs/extend/` can be followed step by step."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
PAGES = sorted((ROOT / "docs" / "extend").glob("*.md"))
BLOCK = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def project(tmp_path):
    """Copy what the pages add files to."""
    ignored = shutil.ignore_patterns("__pycache__", "browser", "contracts", "drills", "integration")
    for name in ("src", "tests"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_files_of_a_page_pass_their_tests(page, project):
    """
    A module and its test: its commands pass.
    """
    blocks = BLOCK.findall(page.read_text(encoding="utf-8"))
    files = {name: text for _, name, text in blocks if name}
    (commands,) = (text for language, _, text in blocks if language == "sh")
    assert [name.partition("/")[0] for name in files] == ["src", "tests"]
    for language, name, text in blocks:
        path = project / name
        if language == "diff":
            subprocess.run(["git", "apply", "-"], input=text, text=True, cwd=project, check=True)
        elif name:
            assert not path.exists()
            path.write_text(text, encoding="utf-8")
    for line in commands.splitlines():
        program, *words = shlex.split(line)
        done = subprocess.run(
            [BIN / Path(program).name, *words],
            cwd=project,
            env={**os.environ, "PYTHONPATH": str(project / "src"), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_code_of_a_page_passes_the_linter(page, project):
    """
    Formatted as everything else.
    """
    paths = []
    for language, name, text in BLOCK.findall(page.read_text(encoding="utf-8")):
        if language == "python" and name:
            (project / name).write_text(text, encoding="utf-8")
            paths.append(name)
    for words in (["format", "--check"], ["check"]):
        done = subprocess.run([BIN / "ruff", *words, "--no-cache", *paths], cwd=project, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
