"""Log files that real winston writes and real logrotate rotates."""

import random
import shutil
import subprocess
from collections import Counter

import pytest

from tests.needs import need
from tests.unit.logs.tail.tailing import TOKEN, Tailing
from tests.winston import start_winston
from toban.core.log_line import LogLevel


@pytest.mark.parametrize("kill", [False, True], ids=["running", "killed"])
def test_each_line_that_winston_writes_is_stored_once(tmp_path, kill):
    """
    While it rotates by size, by itself and with `winston-daily-rotate-file`.
    """
    tail = Tailing(tmp_path)
    process = start_winston(tmp_path, 1_200)
    looks = 0
    try:
        while not _has_ended(process):
            tail.look()
            tail.now += 1
            looks += 1
            if kill and looks % 5 == 0:
                tail.read_and_kill()
    finally:
        process.kill()
        process.wait()
    tail.settle()
    tail.reader.close()
    assert process.returncode == 0
    files = [path for path in tmp_path.iterdir() if path.suffix == ".log"]
    assert len(files) > 6
    written = Counter(token for path in files for token in TOKEN.findall(path.read_text("utf-8")))
    # Of 2,400: it leaves out the message of an error that is logged alone, and under load its own files lose lines.
    assert 1_100 <= len(written) <= 2_200
    assert tail.store.tokens() == written
    assert tail.counts["repeated"] == tail.counts["replaced"] == 0
    _lines_are_as_winston_wrote_them(tail)


def _has_ended(process):
    try:
        process.wait(0.01)
    except subprocess.TimeoutExpired:
        return False
    return True


def _lines_are_as_winston_wrote_them(tail):
    lines = tail.store.lines
    assert "rotated" in {line.service for line in lines} <= {"rotated", "sized"}
    assert {(line.environment, line.instance) for line in lines} == {("test", "here")}
    assert {line.level for line in lines} == set(LogLevel)
    assert max(abs((line.at - tail.clock).total_seconds()) for line in lines) < tail.now + 600
    assert "yesterday" in {line.facts.get("timestamp") for line in lines}
    assert {line.trace_id for line in lines} == {"", "0af7651916cd43dd8448eb211c80319c"}
    assert any("\n    at " in line.trace for line in lines)
    assert any(line.message == "日本語 \ufffd" for line in lines)
    assert not any("\x1b" in line.message for line in lines)


CONFIGURATION = """
{folder}/*.log {{
    rotate 3
    {how}
    missingok
    nomail
}}
"""
WAYS = {
    "create": "create",
    "create and compress": "create\n    compress",
    "copytruncate": "copytruncate",
    "delaycompress": "create\n    compress\n    delaycompress",
}


@pytest.mark.parametrize("how", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("pattern", ["*.log", "*.log*"])
def test_each_line_is_stored_once_while_logrotate_rotates(tmp_path, how, pattern):
    """
    The program goes on with the file that it has open, until it is told to open its file again.
    """
    logrotate = need("logrotate", shutil.which("logrotate") or shutil.which("logrotate", path="/usr/sbin"))
    folder = tmp_path / "logs"
    folder.mkdir()
    configuration = tmp_path / "logrotate.conf"
    configuration.write_text(CONFIGURATION.format(folder=folder, how=how))
    configuration.chmod(0o600)
    command = [logrotate, "--force", "--state", tmp_path / "state", configuration]
    tail = Tailing(folder, pattern, format="plain")
    chance = random.Random(how + pattern)
    written = []

    def write(file, count):
        for _ in range(count):
            written.append(f"<{len(written)}>")
            file.write(f"{written[-1]} {'x' * chance.randrange(200)}\n")
        file.flush()

    for _ in range(8):
        file = (folder / "app.log").open("a")
        write(file, chance.randrange(1, 50))
        tail.looks()
        write(file, chance.randrange(1, 50))
        if how == "copytruncate" and pattern == "*.log":
            tail.now += 1
            tail.looks()  # what nobody copies for toban must have been read
        subprocess.run(command, check=True, capture_output=True)
        write(file, chance.randrange(1, 50))
        if chance.random() < 0.5 and "compress" not in how:
            tail.kill()
        tail.now += 5
        tail.looks()
        file.close()
    tail.settle()
    tail.reader.close()
    assert tail.store.tokens() == Counter(written)
