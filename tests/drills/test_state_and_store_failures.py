"""Failures of state and store while the whole program runs: it continues, reports them and recovers."""

import os
import re
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest
import yaml

from tests.needs import need
from tests.page_server import Page, serve_page
from tests.program import Program, eventually, toban
from tests.webhook_receiver import WebhookReceiver

OFTEN = """
collect:
  - {kind: toban, interval: 1s}
  - {kind: host, interval: 1s}
"""
FULL = "4m"
"""How large the disk is that gets full."""

BOUND = ["setpriv", "--bounding-set", "-dac_override"] if os.geteuid() == 0 else []
"""What makes files that are read-only so for root too."""


@contextmanager
def on_duty(data: Path, under: Sequence[str] = ()) -> Iterator[Program]:
    (data.parent / "toban.yaml").write_text(OFTEN)
    with toban(data, under=under) as program:
        program.until("is on duty")
        yield program


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of four megabytes, to be filled."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={FULL}", "tmpfs", str(place)], capture_output=True, text=True, check=False
    )
    need("a small file system of one's own", None if mounted.returncode else place)
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def scrape_count(program: Program) -> float:
    """Return how often toban has looked at its machine, by the page that needs neither state nor store."""
    found = re.search(
        r'^toban_job_runs_total\{[^}]*name="collect host"\} (\S+)', program.get("/metrics")[1], re.MULTILINE
    )
    return float(found[1]) if found else 0.0


def unhealthy(program: Program, part: str, words: str) -> None:
    """Wait until every face says what the matter is, while looking and answering go on."""

    def in_status() -> bool:
        code, found = program.status()
        [reason] = [it["message"] for it in found["services"] if it["name"] == part]
        return code == 1 and found["state"] == "unhealthy" and words in reason

    def shown() -> bool:
        code, said = program.get("/-/healthy")
        return code == 503 and any(line.startswith(f"[-] {part}:") and words in line for line in said.splitlines())

    eventually(shown, bool)
    eventually(in_status, bool)
    eventually(lambda: words in program.run("status").stdout, bool)
    eventually(lambda: [line for line in program.logged if words in line and '"level":"warning"' in line])
    goes_on(program)


def goes_on(program: Program) -> None:
    """Wait for two looks more, and for numbers newer than now."""
    before = eventually(lambda: scrape_count(program))
    # On a busy machine the first look may have been cut off.
    [newest] = eventually(lambda: program.query("timestamp(system_cpu_usage_percent)"))
    eventually(lambda: scrape_count(program), lambda found: found >= before + 2)
    eventually(
        lambda: program.value("timestamp(system_cpu_usage_percent)"), lambda found: found > float(newest["value"][1])
    )
    # On a busy machine an evaluation of the checks may end before it comes to this one.
    eventually(lambda: program.health()[1]["storage"], lambda status: status in {"up", "down"})


def recovered(program: Program) -> None:
    """Wait until nothing is the matter any more, and it has said so."""
    eventually(lambda: [line for line in program.logged if "recovered" in line])
    eventually(lambda: program.get("/-/healthy"), lambda found: found[0] == 200)
    goes_on(program)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a database as another program might."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield
        other.execute("ROLLBACK")


def starts(data: Path) -> list[str]:
    """Return what the journal says of toban's runs."""
    with closing(sqlite3.connect(f"file:{data}/toban.db?mode=ro", uri=True)) as database:
        return [what for (what,) in database.execute("SELECT action FROM audit_log WHERE actor = 'toban' ORDER BY id")]


def writable(path: Path) -> None:
    """Let a database be written again; SQLite gave its companions the rights of the file."""
    for file in path.parent.glob(f"{path.name}*"):
        file.chmod(0o600)


def test_state_is_locked(tmp_path):
    """
    Another program holds the file: said within a round of state's, and over within one.
    """
    with on_duty(tmp_path / "data") as program:
        with locked(tmp_path / "data" / "toban.db"):
            unhealthy(program, "state", "toban.db: database is locked")
        recovered(program)
        assert program.stop() == 0
    assert starts(tmp_path / "data") == ["started", "stopped"]


def test_state_is_deleted(tmp_path):
    """
    What toban still holds is written anew, with everything in it; nothing was ever the matter.
    """
    with on_duty(tmp_path / "data") as program:
        (tmp_path / "data" / "toban.db").unlink()
        program.until("state file deleted, restored from the open connection")
        eventually((tmp_path / "data" / "toban.db").exists, bool)
        assert starts(tmp_path / "data") == ["started"]
        goes_on(program)
        assert program.get("/-/healthy")[0] == 200
        assert program.stop() == 0
    assert starts(tmp_path / "data") == ["started", "stopped"]


def test_state_is_read_only(tmp_path):
    """
    Toban starts and works without it, and with it as soon as it may write.
    """
    with on_duty(tmp_path / "data") as program:
        assert program.stop() == 0
    path = tmp_path / "data" / "toban.db"
    path.chmod(0o400)
    with on_duty(tmp_path / "data", under=BOUND) as program:
        unhealthy(program, "state", "toban.db: attempt to write a readonly database")
        writable(path)
        recovered(program)
        assert program.stop() == 0


def test_the_store_is_locked(tmp_path):
    """
    They are kept in memory and answered from there; afterwards they are on disk, without a gap.
    """
    with on_duty(tmp_path / "data") as program:
        with locked(tmp_path / "data" / "tsdb" / "head.db"):
            unhealthy(program, "tsdb", "writing head.db: database is locked")
            held = program.query("system_cpu_usage_percent[10m]")[0]["values"]
        recovered(program)
        assert program.stop() == 0
    with on_duty(tmp_path / "data") as program:
        there = program.query("system_cpu_usage_percent[10m]")[0]["values"]
        assert all(sample in there for sample in held)


@pytest.mark.parametrize("gone", ["tsdb/head.db", "tsdb"])
def test_the_store_is_deleted(tmp_path, gone):
    """
    What memory has is written anew.
    """
    with on_duty(tmp_path / "data") as program:
        held = eventually(lambda: program.query("system_memory_size_bytes[10m]"))[0]["values"]
        path = tmp_path / "data" / gone
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        program.until("head file removed, rebuilding it from memory")
        eventually((tmp_path / "data" / "tsdb" / "head.db").exists, bool)
        goes_on(program)
        eventually(lambda: program.get("/-/healthy"), lambda found: found[0] == 200)
        assert program.stop() == 0
    with on_duty(tmp_path / "data") as program:
        there = program.query("system_memory_size_bytes[10m]")[0]["values"]
        assert all(sample in there for sample in held)


def test_the_store_is_damaged(tmp_path):
    """
    What can't be read is put aside and counted, and looking goes on.
    """
    data = tmp_path / "data"
    with toban(data) as program:
        program.until("is on duty")
    (head,) = (data / "tsdb").glob("head.db")
    head.write_bytes(b"no database" * 1000)
    with toban(data) as program:
        program.until("is on duty")
        assert program.json("/api/v1/status/runtimeinfo")["data"]["corruptionCount"] == 1
        assert eventually(lambda: program.value('up{job="host"}')) == 1


def test_the_store_is_read_only(tmp_path):
    """
    Toban starts and works without them, and with them as soon as it may write.
    """
    with on_duty(tmp_path / "data") as program:
        assert program.stop() == 0
    path = tmp_path / "data" / "tsdb" / "head.db"
    path.chmod(0o400)
    with on_duty(tmp_path / "data", under=BOUND) as program:
        unhealthy(program, "tsdb", "readonly database")
        writable(path)
        recovered(program)
        assert program.stop() == 0


def memory_samples(program: Program) -> list[list[object]]:
    """Return the times and values of a series that the host collector appends each second."""
    [series] = program.query("system_memory_size_bytes[10m]")
    return series["values"]


def test_a_full_disk(small_disk):
    """
    Numbers are kept in memory, and on disk again when there is room; nothing that was there before is lost.
    """
    data = small_disk / "data"
    with on_duty(data) as program:
        held = eventually(lambda: memory_samples(program))
        fill(small_disk)
        unhealthy(program, "tsdb", "full")
        held += eventually(lambda: memory_samples(program))
        (small_disk / "filling").unlink()
        recovered(program)
        assert program.stop() == 0
    with on_duty(data) as program:
        eventually(lambda: memory_samples(program), lambda stored: all(sample in stored for sample in held))
    assert starts(data) == ["started", "stopped", "started"]


def test_alerts_are_notified_while_the_disk_is_full(small_disk, tmp_path):
    """
    Numbers, alerts and messages go on from memory; what was told then is not told again when there is room.
    """
    rule = {"alert": "shop_away", "expr": 'up{job="vendure"} == 0', "labels": {"severity": "critical"}}
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "mine", "rules": [rule]}]}))
    with serve_page(Page("{}")) as page, closing(WebhookReceiver()) as hook:
        settings = yaml.safe_load(OFTEN) | {
            "alerting": {"rules": [str(tmp_path / "rules.yaml")], "shipped": False, "evaluation_interval": "1s"},
            "channels": {"hook": {"kind": "webhook", "url": hook.url}},
            "notify": {"group_wait": "1s", "group_interval": "1s", "flapping": {"settle": "1s"}},
        }
        settings["collect"] += [{"kind": "http", "name": "vendure", "url": page.url, "interval": "1s"}]
        (tmp_path / "toban.yaml").write_text(yaml.safe_dump(settings))
        with toban(small_disk / "data", "--config", str(tmp_path / "toban.yaml")) as program:
            program.until("is on duty")
            eventually(lambda: program.query('up{job="vendure"} == 1'))
            fill(small_disk)
            eventually(lambda: "full" in program.get("/-/healthy")[1])
            page.status = 503
            eventually(lambda: hook.kinds("shop_away"), lambda found: found == ["firing"])
            page.status = 200
            eventually(lambda: hook.kinds("shop_away"), lambda found: found == ["firing", "resolved"])
            (small_disk / "filling").unlink()
            eventually(lambda: program.get("/-/healthy")[0] == 200)
            page.status = 503
            eventually(lambda: len(hook.kinds("shop_away")) >= 3)
            assert hook.kinds("shop_away") == ["firing", "resolved", "firing"]


def test_a_start_on_a_full_disk(small_disk):
    """
    Where not even the files can be opened, toban ends and says why; with room, everything is there.
    """
    data = small_disk / "data"
    with on_duty(data) as program:
        held = eventually(lambda: program.query("system_memory_size_bytes[10m]"))[0]["values"]
        assert program.stop() == 0
    fill(small_disk)
    with toban(data) as program:
        assert program.process.wait(60) == 1
        program.until("tsdb: opening")
    (small_disk / "filling").unlink()
    with on_duty(data) as program:
        there = program.query("system_memory_size_bytes[10m]")[0]["values"]
        assert all(sample in there for sample in held)
        assert program.stop() == 0


def fill(disk: Path) -> None:
    """Leave no room, not for a page."""
    with (disk / "filling").open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))
