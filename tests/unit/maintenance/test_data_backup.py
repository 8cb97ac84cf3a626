"""Backups of toban's own data folder: complete or not there, verified before anything is touched."""

import json
import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from toban.core.data_folder import lock_data_folder
from toban.core.errors import TobanError
from toban.maintenance.data_backup import back_up
from toban.maintenance.data_restore import UNFINISHED, restore

SEALED = (".block", ".lines")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    for name in ("tsdb", "logs", "maintenance"):
        (folder / name).mkdir(parents=True)
    with closing(sqlite3.connect(folder / "toban.db")) as state:
        state.execute("pragma journal_mode = wal")
        state.execute("create table x (n integer)")
        state.execute("insert into x values (42)")
        state.commit()
    (folder / "tsdb" / "1.block").write_bytes(b"samples" * 1000)
    (folder / "logs" / "1.lines").write_bytes(b"lines" * 1000)
    (folder / "alerts.jsonl").write_text("{}\n")
    for name in ("toban.sock", "toban.lock", "tsdb/lock", "tsdb/2.block.tmp", "tsdb/head.db-wal", "notes.txt"):
        (folder / name).write_text("")
    (folder / "maintenance" / "scratch").write_text("")
    return folder


def contents(folder: Path) -> list[str]:
    return sorted(str(it.relative_to(folder)) for it in folder.rglob("*") if it.is_file())


def test_a_backup_has_all_data_and_nothing_of_the_running_process(data: Path, tmp_path: Path):
    settings = tmp_path / "toban.yaml"
    settings.write_text("web: {}\n")
    manifest = back_up(data, tmp_path / "backup", settings, SEALED)
    expected = ["data/alerts.jsonl", "data/logs/1.lines", "data/toban.db", "data/tsdb/1.block", "settings/toban.yaml"]
    assert [it.path for it in manifest.files] == expected
    assert contents(tmp_path / "backup") == sorted([*expected, "manifest.json"])
    assert (tmp_path / "backup/data/tsdb/1.block").stat().st_ino == (data / "tsdb/1.block").stat().st_ino
    assert stat.S_IMODE((tmp_path / "backup").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "backup/settings/toban.yaml").stat().st_mode) == 0o600


def test_what_is_committed_and_not_checkpointed_is_in_the_backup(data: Path, tmp_path: Path):
    with closing(sqlite3.connect(data / "toban.db")) as writer:
        writer.execute("insert into x values (43)")
        writer.commit()
        writer.execute("insert into x values (44)")  # never committed
        back_up(data, tmp_path / "backup", None, SEALED)
    with closing(sqlite3.connect(tmp_path / "backup/data/toban.db")) as copy:
        assert copy.execute("select n from x order by n").fetchall() == [(42,), (43,)]


def test_a_restore_brings_back_the_same_files(data: Path, tmp_path: Path):
    back_up(data, tmp_path / "backup", None, SEALED)
    restore(tmp_path / "backup", tmp_path / "new")
    assert contents(tmp_path / "new") == ["alerts.jsonl", "logs/1.lines", "toban.db", "tsdb/1.block"]
    restored = tmp_path / "new/tsdb/1.block"
    assert restored.read_bytes() == b"samples" * 1000
    assert restored.stat().st_ino != (tmp_path / "backup/data/tsdb/1.block").stat().st_ino


def test_blocks_that_are_replaced_during_the_backup_are_taken_in_their_new_form(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    link = os.link

    def compacts(source: Path, target: Path) -> None:
        if source.name == "1.block" and source.exists():
            source.rename(source.with_name("1-2.block"))
        link(source, target)

    monkeypatch.setattr(os, "link", compacts)
    manifest = back_up(data, tmp_path / "backup", None, SEALED)
    assert [it.path for it in manifest.files if ".block" in it.path] == ["data/tsdb/1-2.block"]


def test_where_files_can_not_be_linked_they_are_copied(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def other_disk(source: Path, target: Path) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", other_disk)
    back_up(data, tmp_path / "backup", None, SEALED)
    assert (tmp_path / "backup/data/logs/1.lines").read_bytes() == b"lines" * 1000


KILLED = """
import sys, threading
from pathlib import Path
from toban.maintenance import {module}
def stop(*_, **__):
    print("in the middle", flush=True)
    threading.Event().wait()
{module}.{function} = stop
{call}
"""


def kill_in_the_middle(module: str, function: str, call: str) -> None:
    code = KILLED.format(module=module, function=function, call=call)
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "in the middle\n"
        process.send_signal(signal.SIGKILL)


@pytest.mark.parametrize("function", ["_copy_databases", "_link_sealed", "_write_manifest"])
def test_a_killed_backup_is_not_there_and_the_next_one_removes_its_rest(data: Path, tmp_path: Path, function: str):
    folder = tmp_path / "backup"
    call = f"data_backup.back_up(Path({str(data)!r}), Path({str(folder)!r}), None, {SEALED!r})"
    kill_in_the_middle("data_backup", function, call)
    assert not folder.exists()
    assert len(list(tmp_path.glob(".backup.unfinished-*"))) == 1
    back_up(data, folder, None, SEALED)
    assert list(tmp_path.glob(".backup.unfinished-*")) == []
    restore(folder, tmp_path / "new")
    with closing(sqlite3.connect(tmp_path / "new/toban.db")) as copy:
        assert copy.execute("select n from x").fetchall() == [(42,)]


@pytest.mark.parametrize("function", ["copy_file", "_move", "shutil.rmtree"])
def test_a_killed_restore_is_begun_anew(data: Path, tmp_path: Path, function: str):
    back_up(data, tmp_path / "backup", None, SEALED)
    new = tmp_path / "new"
    call = f"data_restore.restore(Path({str(tmp_path / 'backup')!r}), Path({str(new)!r}))"
    kill_in_the_middle("data_restore", function, call)
    assert (new / UNFINISHED).exists()
    restore(tmp_path / "backup", new)
    assert contents(new) == ["alerts.jsonl", "logs/1.lines", "toban.db", "tsdb/1.block"]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("data/toban.db", cut, "data/toban.db is damaged: nothing was restored: use another backup"),
        ("data/tsdb/1.block", flip, "data/tsdb/1.block is damaged: nothing was restored: use another backup"),
        ("data/logs/1.lines", Path.unlink, "data/logs/1.lines is missing: nothing was restored: use another backup"),
        ("manifest.json", Path.unlink, "is no backup of toban, or was not finished: manifest.json is missing"),
        ("manifest.json", lambda it: it.write_text("[]"), "manifest.json is damaged: use another backup"),
    ],
)
def test_a_damaged_backup_restores_nothing(
    data: Path, tmp_path: Path, name: str, change: Callable[[Path], object], said: str
):
    back_up(data, tmp_path / "backup", None, SEALED)
    change(tmp_path / "backup" / name)
    with pytest.raises(TobanError, match=said):
        restore(tmp_path / "backup", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_manifest_can_not_name_a_file_outside_of_its_backup(data: Path, tmp_path: Path):
    back_up(data, tmp_path / "backup", None, SEALED)
    path = tmp_path / "backup/manifest.json"
    for name in ("data/../../x", "/etc/passwd"):
        body = json.loads(path.read_text())
        body["files"][0]["path"] = name
        path.write_text(json.dumps(body))
        with pytest.raises(TobanError, match=r"manifest\.json is damaged"):
            restore(tmp_path / "backup", tmp_path / "new")


def test_nothing_is_restored_over_a_running_toban_or_other_files(data: Path, tmp_path: Path):
    back_up(data, tmp_path / "backup", None, SEALED)
    with (
        lock_data_folder(tmp_path / "running"),
        pytest.raises(TobanError, match="toban runs there: stop it, or restore into another folder: --data"),
    ):
        restore(tmp_path / "backup", tmp_path / "running")
    with pytest.raises(
        TobanError, match=r"is not empty \(alerts.jsonl, logs, maintenance\), and nothing is overwritten"
    ):
        restore(tmp_path / "backup", data)


def test_a_backup_needs_a_new_folder_outside_of_the_data_folder(data: Path, tmp_path: Path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("")
    with pytest.raises(TobanError, match="exists and is not empty: name a new folder for each backup"):
        back_up(data, tmp_path / "full", None, SEALED)
    with pytest.raises(TobanError, match="is in the data folder itself"):
        back_up(data, data / "backup", None, SEALED)
    with pytest.raises(TobanError, match="there is no data folder of toban: name it with --data"):
        back_up(tmp_path / "nowhere", tmp_path / "backup", None, SEALED)
    (tmp_path / "empty").mkdir()
    assert back_up(data, tmp_path / "empty", None, SEALED).files


def test_a_full_disk_is_said_and_leaves_nothing(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", str(tmp_path / "backup"))

    monkeypatch.setattr(shutil, "copyfileobj", full)
    with pytest.raises(TobanError, match="backup: No space left on device"):
        back_up(data, tmp_path / "backup", None, SEALED)
    assert sorted(it.name for it in tmp_path.iterdir()) == ["data"]
