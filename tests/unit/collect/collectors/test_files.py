"""The collector `files`, for folders."""

import os
import time

import pytest

from toban.collect.collectors.files.files import Files, measure_folder
from toban.core.errors import CollectError


async def scrape_once(path, tools):
    return {sample.family.name: sample.value for sample in (await Files(path=path).collect(tools)).samples}


async def test_a_folder_is_summed_recursively(tmp_path, tools):
    """
    Links are not followed: a circle of them would never end.
    """
    (tmp_path / "a").mkdir()
    (tmp_path / "one").write_bytes(b"12345")
    (tmp_path / "a" / "two").write_bytes(b"123")
    (tmp_path / "a" / "circle").symlink_to(tmp_path)
    os.utime(tmp_path / "one", (7, 7))
    os.utime(tmp_path / "a" / "two", (9, 9))

    assert await scrape_once(tmp_path, tools) == {
        "folder_size_bytes": 8,
        "folder_files": 2,
        "folder_newest_timestamp_seconds": 9,
    }


@pytest.mark.parametrize("made", [(), (7, 9)])
async def test_a_backup_folder_has_the_time_of_the_newest_file(made, tmp_path, tools):
    """
    And how old it may be; without any, the newest is as old as can be.
    """
    for at in made:
        (tmp_path / str(at)).touch()
        os.utime(tmp_path / str(at), (at, at))

    values = {it.family.name: it.value for it in (await Files(path=tmp_path, backup="26h").collect(tools)).samples}

    assert values["backup_newest_timestamp_seconds"] == max(made, default=0)
    assert values["backup_age_limit_seconds"] == 26 * 3600


async def test_an_empty_folder_has_no_newest_timestamp(tmp_path, tools):
    """
    Nought would be 1970.
    """
    assert await scrape_once(tmp_path, tools) == {"folder_size_bytes": 0, "folder_files": 0}


async def test_a_missing_folder_is_down(tmp_path, tools):
    """
    The message names it.
    """
    with pytest.raises(CollectError, match=r"files files: .*nope: No such file"):
        await scrape_once(tmp_path / "nope", tools)


def test_a_large_folder_times_out_with_the_remedy(tmp_path):
    """
    With the remedy.
    """
    (tmp_path / "one").touch()
    with pytest.raises(TimeoutError, match="raise `interval`"):
        measure_folder(tmp_path, time.monotonic() - 1)


def test_files_removed_during_the_scrape_are_skipped(tmp_path, monkeypatch):
    """
    A shop's cache changes while it is counted.
    """
    (tmp_path / "gone").mkdir()
    (tmp_path / "one").write_bytes(b"12345")
    scandir = os.scandir

    def late(folder):
        if folder != str(tmp_path):
            (tmp_path / "gone").rmdir()
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", late)
    assert measure_folder(tmp_path, time.monotonic() + 60).count == 1
    assert not (tmp_path / "gone").exists()
