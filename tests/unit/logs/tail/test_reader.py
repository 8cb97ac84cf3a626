"""What files may hold, and what may be done to them."""

import errno
import os
import random
import time
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.logs.tail.tailing import Tailing
from toban.logs.tail import reader
from toban.logs.tail.found_files import SkipReason, service_of
from toban.logs.tail.lines import MAX_LINE, split_lines
from toban.logs.tail.position import PREFIX
from toban.logs.tail.reader import FIND_INTERVAL, FORGET_AFTER, MAX_OPEN
from toban.logs.tail.tailed_file import HOLD


@pytest.fixture
def tail(tmp_path):
    tail = Tailing(tmp_path, format="plain")
    yield tail
    tail.reader.close()


def test_a_line_is_read_when_it_is_complete(tail):
    tail.write("a.log", "one\ntw")
    tail.looks()
    assert tail.store.messages == ["one"]
    tail.write("a.log", "o\nthree\r\n\n")
    tail.looks()
    assert tail.store.messages == ["one", "two", "three"]


def test_a_last_line_without_line_break_is_read_after_a_while(tail):
    """
    Its rest is not repeated, and an empty one is none.
    """
    tail.write("a.log", "one")
    tail.looks()
    tail.now += HOLD - 0.1
    tail.looks()
    assert tail.store.messages == []
    tail.now += 0.1
    tail.looks()
    assert tail.store.messages == ["one"]
    tail.kill()
    tail.write("a.log", " more\n")
    tail.settle()
    tail.write("a.log", "two")
    tail.settle()
    tail.write("a.log", "\n")
    tail.settle()
    assert tail.store.messages == ["one", " more", "two"]


def test_an_error_waits_for_its_stack_trace(tmp_path):
    tail = Tailing(tmp_path)
    tail.write("a.log", "error 1/1/26, 7:00 AM - [Orders] boom\nError: boom\n    at a\n")
    tail.looks()
    assert tail.store.lines == []
    tail.write("a.log", "    at b\n")
    tail.settle()
    (line,) = tail.store.lines
    assert (line.message, line.context, line.trace) == ("boom", "Orders", "Error: boom\n    at a\n    at b")
    tail.reader.close()


def test_what_a_line_does_not_say_is_from_the_settings(tmp_path):
    """
    By default the service is named by the file, the instance by the machine.
    """
    tail = Tailing(tmp_path, environment="production")
    tail.write("server-2026-01-31.log", '{"message":"a","service":"own"}\nb\n')
    tail.settle()
    assert [(line.service, line.environment, line.instance) for line in tail.store.lines] == [
        ("own", "production", "here"),
        ("server", "production", "here"),
    ]
    tail.reader.close()


def test_a_line_without_a_time_has_that_of_the_file(tail):
    """
    Also years later: the file was written last when its last line was.
    """
    tail.write("a.log", "one\n")
    written = time.time() - 86_400
    os.utime(tail.path("a.log"), (written, written))
    tail.settle()
    assert abs(tail.store.lines[0].at.timestamp() - written) < 1


@pytest.mark.parametrize(
    ("path", "service"),
    [
        ("/a/server.log", "server"),
        ("/a/server.log.1", "server"),
        ("/a/server1.log", "server"),
        ("/a/app-2026-01-31.log", "app"),
        ("/a/app-20260131.1.log", "app"),
        ("/a/2026-01-31.log", "2026-01-31"),
        ("/a/.hidden", "hidden"),
    ],
)
def test_the_service_is_named_by_the_file(path, service):
    assert service_of(path) == service


def test_a_line_that_is_too_long_is_cut_and_counted(tail):
    """
    Never in the middle of a character; the rest is skipped, also after a restart.
    """
    long = "ä" * (MAX_LINE // 2 - 1) + "x" + "ö" * 100
    tail.write("a.log", f"one\n{long}")
    tail.looks()
    assert [len(message) for message in tail.store.messages] == [3, MAX_LINE // 2]
    tail.kill()
    tail.write("a.log", "still the same line\ntwo\n")
    tail.write("a.log", f"{long}{long}\nthree\n")
    tail.settle()
    assert [message[:10] for message in tail.store.messages] == ["one", "ä" * 10, "two", "ä" * 10, "three"]
    assert (tail.counts["cut"], tail.counts["replaced"]) == (2, 0)


@pytest.mark.parametrize(
    ("data", "messages", "replaced"),
    [
        (b"caf\xe9\nok\n", ["caf\ufffd", "ok"], 1),
        (b"\0\0\0one\n", ["one"], 0),
        (b"o\0ne\n\0\0", ["one"], 0),
        ("zwei\n".encode("utf-16-le"), ["zwei"], 0),
        (b"\xef\xbb\xbfone\n", ["one"], 0),
        (b"\x1b[31mred\x1b[39m\n", ["red"], 0),
        (b"\r\n\n  \n", [], 0),
    ],
    ids=["Latin-1", "zeros at the head", "zeros", "UTF-16", "byte order mark", "colours", "empty"],
)
def test_bytes_that_are_no_text(tail, data, messages, replaced):
    tail.write("a.log", data)
    tail.settle()
    assert tail.store.messages == messages
    assert tail.counts["replaced"] == replaced


def test_zeros_of_a_sparse_file_are_skipped(tail):
    """
    A program that does not append goes on at its old offset after the file was truncated.
    """
    tail.write("a.log", "one\n")
    tail.settle()
    with tail.path("a.log").open("r+b") as file:
        file.seek(5 * MAX_LINE)
        os.ftruncate(file.fileno(), 0)
        file.write(b"two\n")
    tail.settle()
    assert tail.store.messages == ["one", "two"]
    assert tail.counts["cut"] == 0


def test_an_edited_file_is_read_again_and_its_lines_are_counted(tail):
    """
    It has its head still: perhaps it was not truncated.
    """
    tail.write("a.log", "".join(f"line {number}\n" for number in range(300)))
    tail.settle()
    data = tail.path("a.log").read_bytes()
    with tail.path("a.log").open("r+b") as file:
        file.write(data[:-9] + b"LINE 299\nmore\n")
    tail.settle()
    assert len(tail.store.lines) == 601
    assert tail.counts["repeated"] == 300


def test_a_damaged_cursor_repeats_lines_and_counts_them(tail):
    tail.write("a.log", "one\n")
    tail.settle()
    (name,) = (name for name in tail.store.values if ":" in name and "pattern" not in name)
    tail.store.values[name] = "damaged"
    tail.kill()
    tail.write("a.log", "two\n")
    tail.settle()
    assert tail.store.messages == ["one", "one", "two"]
    assert tail.counts["repeated"] == 2


def test_another_device_number_repeats_nothing(tail):
    """
    They change with the order in which disks are found.
    """
    tail.write("a.log", "one\n" * 1000)
    tail.settle()
    tail.store.values = {
        f"{PREFIX}1{name.removeprefix(PREFIX)}" if "pattern" not in name else name: value
        for name, value in tail.store.values.items()
    }
    tail.kill()
    tail.write("a.log", "two\n")
    tail.settle()
    assert tail.store.messages == ["one"] * 1000 + ["two"]


def test_a_file_that_goes_on_in_a_copy_is_read_there(tmp_path):
    """
    A copy is not read while it is no more than that.
    """
    tail = Tailing(tmp_path, format="plain")
    tail.write("a.log", "one\n")
    tail.settle()
    tail.write("a-copy.log", "one\n")
    tail.settle()
    assert tail.reader.skipped.reasons == {str(tail.path("a-copy.log")): SkipReason.COPY}
    tail.write("a-copy.log", "two\n")
    tail.settle()
    assert tail.store.messages == ["one", "two"]
    tail.reader.close()


def test_a_copy_of_what_was_not_read_before_it_was_truncated_is_read(tmp_path):
    """
    Although more was read of the same file before it was truncated the last time.
    """
    tail = Tailing(tmp_path, "*.log*", format="plain")
    tail.write("a.log", "old\n" * 100)
    tail.settle()
    os.truncate(tail.path("a.log"), 0)
    tail.settle()
    tail.write("a.log", "new")
    tail.write("a.log.1", "new")
    tail.now += FIND_INTERVAL
    tail.looks()
    assert tail.reader.skipped.reasons == {str(tail.path("a.log.1")): SkipReason.COPY}
    os.truncate(tail.path("a.log"), 0)
    tail.settle()
    assert tail.store.messages == ["old"] * 100 + ["new"]
    tail.reader.close()


def test_what_is_no_file_is_named_and_skipped(tail):
    """
    Links are followed, and a file is read once by whatever names it has.
    """
    os.mkfifo(tail.path("fifo.log"))
    tail.path("folder.log").mkdir()
    tail.path("loop.log").symlink_to("loop.log")
    tail.path("nowhere.log").symlink_to("nothing")
    tail.path("device.log").symlink_to("/dev/zero")
    tail.write("a.log", "one\n")
    tail.path("b.log").symlink_to("a.log")
    os.link(tail.path("a.log"), tail.path("c.log"))
    tail.settle()
    assert tail.store.messages == ["one"]
    assert {path.rpartition("/")[2]: reason for path, reason in tail.reader.skipped.reasons.items()} == {
        "fifo.log": SkipReason.NOT_REGULAR,
        "folder.log": SkipReason.NOT_REGULAR,
        "device.log": SkipReason.NOT_REGULAR,
        "loop.log": SkipReason.UNREADABLE,
    }
    assert list(tail.reader.skipped.errors) == [str(tail.path("loop.log"))]


def test_a_file_whose_disk_fails_is_named_and_read_later(tail, monkeypatch):
    """
    The others are read.
    """
    tail.write("a.log", "one\n")
    tail.settle()
    real = os.pread

    def fail(file, size, offset):
        if os.fstat(file).st_ino == broken:
            raise OSError(errno.EIO, "Input/output error")
        return real(file, size, offset)

    broken = tail.path("a.log").stat().st_ino
    with monkeypatch.context() as patched:
        patched.setattr(os, "pread", fail)
        tail.write("a.log", "two\n")
        tail.write("b.log", "three\n")
        tail.settle()
        assert tail.store.messages == ["one", "three"]
        assert tail.reader.skipped.errors == {str(tail.path("a.log")): "Input/output error"}
    tail.settle()
    assert tail.store.messages == ["one", "three", "two"]
    assert tail.reader.skipped.errors == {}


def test_folders_of_any_depth(tmp_path):
    """
    Links between folders lead in no circle; compressed and hidden files are left out.
    """
    tail = Tailing(tmp_path, "**/*.log*", format="plain")
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    (deep / "loop").symlink_to(tmp_path)
    for path in (tmp_path / "one.log", deep / "two.log", deep / "three.log.gz", deep / ".four.log", deep / "five.txt"):
        path.write_text(f"{path.name}\n")
    tail.settle()
    assert sorted(tail.store.messages) == ["one.log", "two.log"]
    tail.reader.close()


@pytest.mark.parametrize(
    ("pattern", "exclude", "found"),
    [
        ("app.log", [], ["app.log"]),
        ("*/app.log", [], ["x/app.log"]),
        ("**/app.log", [], ["app.log", "x/app.log", "x/y/app.log"]),
        ("**", ["*/y/*", ".*"], ["app.log", "x/app.log", "x/b.txt"]),
        ("[xz]/*.txt", [], ["x/b.txt"]),
        ("x/?.txt", ["*.txt"], []),
    ],
)
def test_patterns(tmp_path, pattern, exclude, found):
    for name in ("app.log", "x/app.log", "x/b.txt", "x/y/app.log", ".hidden"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"{name}\n")
    tail = Tailing(tmp_path, pattern, exclude=exclude, format="plain")
    tail.settle()
    assert sorted(tail.store.messages) == found
    tail.reader.close()


def test_old_files_are_left_out_until_they_are_written_to(tail):
    tail.write("a.log", "one\n")
    os.utime(tail.path("a.log"), (0, time.time() - 8 * 86_400))
    tail.settle()
    assert (tail.store.messages, tail.reader.skipped.reasons) == ([], {str(tail.path("a.log")): SkipReason.OLD})
    tail.write("a.log", "two\n")
    tail.settle()
    assert tail.store.messages == ["one", "two"]


def test_reading_from_the_end_leaves_out_what_was_there_at_the_first_start(tmp_path):
    """
    Files that appear later are read whole, also after a restart.
    """
    tail = Tailing(tmp_path, format="plain", read_from="end")
    tail.write("a.log", "old\nha")
    tail.looks()
    tail.kill()
    tail.write("a.log", "lf\nnew\n")
    tail.write("b.log", "whole\n")
    tail.settle()
    assert sorted(tail.store.messages) == ["half", "new", "whole"]
    tail.reader.close()


def test_thousands_of_files_need_few_descriptors(tail):
    """
    Each is read, and seen again when something is written to it.
    """
    for number in range(1_000):
        tail.write(f"{number}.log", f"{number}\n")
    tail.settle()
    assert len(tail.store.lines) == tail.reader.files == 1_000
    folder = str(tail.folder)
    opened = [link for link in map(_target, os.scandir("/proc/self/fd")) if link.startswith(folder)]
    assert 0 < len(opened) <= MAX_OPEN
    for number in random.Random(1).sample(range(1_000), 50):
        tail.write(f"{number}.log", "again\n")
    tail.settle()
    assert tail.store.messages.count("again") == 50


def _target(entry):
    try:
        return str(Path(entry.path).readlink())
    except OSError:
        return ""


def test_no_more_files_are_read_than_the_limit(tail, monkeypatch):
    monkeypatch.setattr(reader, "MAX_FILES", 3)
    for number in range(5):
        tail.write(f"{number}.log", f"{number}\n")
    tail.settle()
    assert len(tail.store.lines) == 3
    assert list(tail.reader.skipped.reasons.values()) == [SkipReason.TOO_MANY] * 2


def test_a_large_file_is_read_in_batches(tail):
    """
    Another file has its turn between them.
    """
    tail.write("a.log", "".join(f"{number} {'x' * 100}\n" for number in range(20_000)))
    tail.write("b.log", "one\n")
    sizes, has_more = [], True
    while has_more:
        before = len(tail.store.lines)
        has_more = tail.look()
        sizes.append(len(tail.store.lines) - before)
    assert sum(sizes) == 20_001
    assert max(sizes) < 3_500
    assert "one" in tail.store.messages[: sum(sizes[:3])]


def test_cursors_of_files_that_are_gone_are_deleted_after_a_while(tail):
    """
    Those of other patterns too; those of files that are there stay.
    """
    tail.write("a.log", "one\n")
    tail.write("b.log", "two\n")
    tail.settle()
    tail.path("a.log").unlink()
    tail.now += 100
    tail.settle()
    tail.now += 10
    tail.settle()
    assert len(tail.store.values) == 3
    tail.now += FORGET_AFTER + 1
    tail.settle()
    assert [name.startswith(f"{PREFIX}pattern/") for name in sorted(tail.store.values)] == [False, True]
    tail.settings = []
    tail.kill()
    tail.now += timedelta(days=8).total_seconds()
    tail.settle()
    assert [name.startswith(f"{PREFIX}pattern/") for name in tail.store.values] == [True]


@given(
    st.lists(st.sampled_from([b"a", b"\n", b"\r\n", b"\0", "ä".encode(), b"\xff", b" "]), max_size=40),
    st.integers(0, 40),
)
def test_lines_are_the_same_wherever_bytes_are_cut(pieces, at):
    """
    A line whose break is missing is read with the next bytes.
    """
    data = b"".join(pieces)

    def texts(*parts):
        start, rest, found = 0, b"", []
        for part in parts:
            rest += part
            split = split_lines(rest, start, in_cut_line=False, final=False)
            found += [line.text for line in split.lines]
            rest, start = rest[split.end - start :], split.end
        return [text for text in found if text.strip()]

    assert texts(data) == texts(data[:at], data[at:])
