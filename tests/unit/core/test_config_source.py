"""The configuration file, replaced as a whole."""

import os

import pytest

from toban.core.config_source import ConfigSource
from toban.core.errors import SettingsError


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "toban.yaml"
    path.write_text("a: 1\n")
    return path


def test_it_is_replaced_with_its_mode_and_nothing_is_left_beside_it(file):
    file.chmod(0o640)
    source = ConfigSource.of(file, "a: 1\n")
    source.check_writable()
    source.replace(source.text(), "a: 2\n")
    assert file.read_text() == "a: 2\n" and file.stat().st_mode & 0o777 == 0o640
    assert list(file.parent.iterdir()) == [file]


def test_a_link_stays_a_link(file, tmp_path):
    link = tmp_path / "link.yaml"
    link.symlink_to(file)
    ConfigSource.of(link, "a: 1\n").replace("a: 1\n", "a: 2\n")
    assert link.is_symlink() and file.read_text() == "a: 2\n"


def test_ends_of_lines_stay(file):
    file.write_bytes(b"a: 1\r\nb: 2\r\n")
    source = ConfigSource.of(file, "a: 1\nb: 2\n")
    source.replace(source.text(), "a: 1\nb: 3\n")
    assert file.read_bytes() == b"a: 1\r\nb: 3\r\n"


def test_a_file_that_has_changed_since_is_refused(file):
    source = ConfigSource.of(file, "a: 1\n")
    file.write_text("a: 5\n")
    with pytest.raises(SettingsError, match=r"toban.yaml has changed since toban read it"):
        source.text()
    with pytest.raises(SettingsError, match="has changed meanwhile"):
        source.replace("a: 1\n", "a: 2\n")
    assert file.read_text() == "a: 5\n"
    file.unlink()
    with pytest.raises(SettingsError, match="can't be read"):
        source.text()


def test_a_file_that_can_not_be_written_is_said(file, monkeypatch):
    """
    As on a file system that is mounted read-only, and where a container mounts the file alone.
    """
    source = ConfigSource.of(file, "a: 1\n")
    with monkeypatch.context() as patch:
        patch.setattr(os, "access", lambda path, mode: False)
        with pytest.raises(SettingsError, match="can't be written here: copy the lines into it"):
            source.check_writable()

    def busy(self, target):
        raise OSError(16, "Device or resource busy")

    monkeypatch.setattr("pathlib.Path.replace", busy)
    with pytest.raises(SettingsError, match="can't be written: Device or resource busy"):
        source.replace("a: 1\n", "a: 2\n")
    assert file.read_text() == "a: 1\n" and list(file.parent.iterdir()) == [file]
