"""Installation of the shop."""

import os
import stat
from pathlib import Path

import pytest

from toban.demo import install
from toban.demo.install import cache_folder, fingerprint, install_shop
from toban.demo.servers import DemoError


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine that has no programs but those that a test puts here."""
    place = tmp_path / "bin"
    place.mkdir()
    monkeypatch.setenv("PATH", str(place))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(install, "POLL_INTERVAL", 0.01)
    return place


def put(program: Path, script: str) -> None:
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)


def test_missing_node_is_an_error_with_the_remedy(programs):
    """
    Before anything is installed or started.
    """
    with pytest.raises(DemoError, match=r"needs Node\.js 20 or newer, with npm .*: no node was found"):
        install_shop()
    put(programs / "node", "echo v20.1.0")
    with pytest.raises(DemoError, match="no npm was found"):
        install_shop()
    put(programs / "npm", "exit 0")
    put(programs / "node", "echo v18.19.0")
    with pytest.raises(DemoError, match=r"node is v18\.19\.0"):
        install_shop()
    assert not cache_folder(os.environ).exists()


def test_a_failed_install_leaves_nothing_and_can_be_repeated(programs):
    """
    The words of npm are told. What one left that was killed is put away, and a second start finds all in place.
    """
    cache = cache_folder(os.environ)
    put(programs / "node", "echo v22.0.0")
    put(programs / "npm", "[ $1 = view ] || { echo 'disk is full' >&2; exit 1; }")
    with pytest.raises(DemoError, match="npm install failed: disk is full"):
        install_shop()
    assert [it.name for it in cache.iterdir()] == ["store.lock"]

    (cache / "installing-of-one-that-was-killed").mkdir()
    put(programs / "npm", "[ $1 = view ] || echo $* > asked")
    heard: list[str] = []
    place = install_shop(heard.append)
    assert (place / "asked").read_text().split()[:2] == ["install", "--no-save"]
    assert sorted(it.name for it in cache.iterdir()) == sorted(["store.lock", place.name])
    assert heard
    assert heard[1].startswith("Installing the shop (once): 0 of ")

    put(programs / "npm", "exit 1")
    assert install_shop() == place


def test_a_missing_network_is_reported_soon(programs):
    """
    With npm's own reason, and nothing is left.
    """
    put(programs / "node", "echo v22.0.0")
    put(
        programs / "npm",
        "echo 'npm error code ENOTFOUND\nnpm error request to https://a.example failed, reason: ENOTFOUND' >&2; exit 1",
    )

    with pytest.raises(DemoError, match=r"the npm registry does not answer \(request to https.*ENOTFOUND\): the shop"):
        install_shop()
    assert [it.name for it in cache_folder(os.environ).iterdir()] == ["store.lock"]


def test_the_fingerprint_depends_on_the_files_contents(tmp_path):
    """
    Another lock file is another folder.
    """
    file = tmp_path / "file"
    file.write_text("one")
    first = fingerprint(file)
    file.write_text("two")

    assert first != fingerprint(file)
