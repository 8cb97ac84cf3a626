"""Whatever is typed, a person reads a line and never a traceback."""

import io
import os
import random
from pathlib import Path

import pytest

from toban.cli import client, program
from toban.cli.commands import status
from toban.cli.error_reporting import REPORT
from toban.cli.program import run
from toban.core.errors import CollectError, SettingsError

COMMANDS = {
    "up": ["--listen FILE", ""],
    "check": ["--config BAD", "--config FILE"],
    "demo": ["--break nothing", "--after x", "--visitors FILE"],
    "init": ["--yes --output FILE", "--output FILE", "--force --output BAD", "--yes"],
    "schema": [""],
    "status": [""],
    "why": ["FILE", ""],
    "query": ["FILE", "up --range 6h", "up --range FILE"],
    "logs": ["FILE", "--limit FILE", "--level debug"],
    "import": ["FILE", ""],
    "rules check": ["FILE", "FILE FILE", "FILE --config FILE"],
    "rules test": ["FILE", "FILE FILE"],
    "export prometheus": ["FILE", "FILE --config FILE", "FILE --force"],
    "export alertmanager": ["FILE", "FILE --config FILE"],
    "export openmetrics": ["FILE", "FILE --last 1h", "FILE --match x"],
    "alerts": [""],
    "alerts ack": ["FILE", ""],
    "alerts test": ["FILE"],
    "alerts drill": [""],
    "silence add": ["FILE --comment x", "a=b"],
    "silence list": [""],
    "silence expire": ["FILE"],
    "quarantine list": [""],
    "quarantine forget": ["FILE"],
    "rules list": [""],
    "incidents": ["", "--all"],
    "incidents show": ["FILE", "1"],
    "incidents ack": ["FILE", "1 --undo"],
    "incidents snooze": ["1 --for FILE"],
    "incidents declare": ["FILE"],
    "incidents action": ["1", "1 --done FILE"],
    "incidents report": ["1 --html", "1 --language FILE"],
    "oncall": ["", "--at FILE", "--days FILE"],
    "oncall cover": ["FILE --by FILE --from FILE --to FILE"],
    "oncall take": ["FILE --by FILE"],
    "run": ["", "FILE", "FILE --stop", "--dry", "--approve FILE", "--refuse 1"],
    "runbooks check": [""],
    "reload": ["", "FILE"],
}
ODD = [
    "",
    "-",
    "--",
    "--nope",
    "--json",
    "--data FILE",
    "--config FILE",
    "-h",
    "\udcff",
    "\x1b[2J",
    "${X}",
    "x" * 300,
    "日本",
]


CONTENTS = {
    "binary": random.Random(15).randbytes(500),
    "empty": b"",
    "latin1": "groups: [{name: café}]".encode("latin-1"),
    "utf16": "web: {}".encode("utf-16"),
    "rules.yaml": b"groups: [{name: g, rules: [{alert: A, expr: up == 0}]}]",
    "test.yaml": b"rule_files: [nowhere.yaml, binary]\ntests: [{}]",
    "words": b"hello",
    "list": b"- a\n- b",
    "nul": b"a: \x00",
    "numbers": b"a 1\n# EOF\n",
    "deep": b"[" * 3000,
    "bad.yaml": b"web: {listen: nowhere}\nshop: {redis: 'rediss://h?ssl_cert_reqs=x'}",
    "\udcffname": b"x: 1",
    "odd\x1b[2J\n": b"x: 1",
}


def written() -> None:
    """Write the files, whatever a command made of them."""
    for name, content in CONTENTS.items():
        Path(name).write_bytes(content)


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Return names of files and folders of all sorts, and let commands run among them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdin", io.StringIO())
    for name in [it for it in os.environ if it.startswith(("TOBAN", "SMTP", "FLY"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TOBAN_DATA", str(tmp_path / "data"))
    for name in ("check", "init", "up"):
        program.program.get_command(program.click.Context(program.program), name)
        monkeypatch.setattr(f"toban.cli.commands.{name}.configure_logging", lambda *_, **__: False)
    monkeypatch.setattr("toban.cli.commands.up.capture_warnings_and_crashes", lambda: None)
    written()
    Path("folder").mkdir()
    Path("loop").symlink_to("loop")
    return [*CONTENTS, "folder", "loop", "nowhere", "nowhere/at/all", "words/below", "x" * 300, "", "/", "/dev/null"]


def typed(rng: random.Random, files: list[str]) -> list[str]:
    """Return a command as somebody may type it, with what belongs to it or not, in any order."""
    name = rng.choice(list(COMMANDS))
    wrong = ["bad.yaml", "binary", "nowhere", "folder", "latin1", "loop"]
    words = rng.choice(COMMANDS[name]).split(" ")
    words += [part for odd in rng.sample(ODD, rng.choice([0, 0, 1, 2])) for part in odd.split(" ")]
    filled = [rng.choice(files) if word == "FILE" else rng.choice(wrong) if word == "BAD" else word for word in words]
    before = rng.choice([[], [], ["--json"], ["--data", rng.choice(files)], ["--config", rng.choice(wrong)]])
    end = ["--config", rng.choice(wrong)] if name == "up" else ["--visitors", "none"] if name == "demo" else []
    return [*before, *name.split(" "), *(word for word in filled if word or rng.random() < 0.1), *end]


def tried(seed: int, files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    written()
    arguments = typed(random.Random(seed), files)
    code = run(arguments)
    out, err = capsys.readouterr()
    assert code in {0, 1, 2, 130}, (seed, arguments)
    assert "Traceback" not in out + err, (seed, arguments, err)
    assert "unexpected error" not in err, (seed, arguments, err)
    assert code == 0 or out + err, (seed, arguments)
    assert "\x1b" not in out + err, (seed, arguments)


@pytest.mark.parametrize("part", range(4))
def test_any_command_line_has_readable_output(files, capsys, part):
    """
    Commands, options and files of all sorts.
    """
    for seed in range(part * 40, part * 40 + 40):
        tried(seed, files, capsys)


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_any_command_line_has_readable_output_soak(files, capsys):
    """
    The long form of the test above.
    """
    for seed in range(10_000):
        tried(seed, files, capsys)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("stauts", "Did you mean 'status'?"),
        ("rules chek x", "Did you mean 'check'?"),
        ("status --jsn", "Did you mean '--json'?"),
        ("--json up", "`toban up` takes no --json"),
        ("init --output nowhere/toban.yaml", "nowhere: no such folder: create it first, or choose another"),
        ("init --output folder", "folder: is a folder"),
        ("init --yes --output words/toban.yaml", "words: no such folder"),
        ("rules check binary", "binary: can't be read: byte"),
        ("rules check folder", "is a directory"),
        ("rules test latin1", "latin1: can't be read: byte 20 is not UTF-8"),
        ("check --config folder", "folder: can't be read: Is a directory"),
        ("up --config nowhere", "nowhere: can't be read: No such file or directory"),
        ("import binary", "binary: "),
    ],
)
def test_a_usage_error_is_one_readable_line(files, capsys, arguments, words):
    """
    With exit code 2, or 1 where the thing that was named is wrong.
    """
    assert run(arguments.split(" ")) in {1, 2}
    assert words in capsys.readouterr().err


def connections(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list of the sockets that commands will look for, and let none be there."""
    sockets: list[str] = []

    def connect(self: client._Local) -> None:
        sockets.append(self._path)
        raise ConnectionRefusedError

    monkeypatch.setattr(client._Local, "connect", connect)
    return sockets


@pytest.mark.parametrize(
    "arguments",
    [
        *("--data there status --json", "status --json --data there", "--json status --data there"),
        *("--config c.yaml --json status", "status --config c.yaml --json", "--json --config c.yaml status"),
    ],
)
def test_options_are_accepted_before_and_after_the_command(files, monkeypatch, capsys, arguments):
    """
    Also the configuration, which names the data folder.
    """
    Path("c.yaml").write_text("data: ${HOME}/there")
    sockets = connections(monkeypatch)
    run(arguments.split(" "))
    assert [Path(path).parent.name for path in sockets] == ["there"]


def test_options_of_a_group_apply_to_its_commands(files, monkeypatch):
    """
    Wherever they stand between the words.
    """
    sockets = connections(monkeypatch)
    for arguments in (
        "--data d alerts ack X",
        "alerts --data d ack X",
        "alerts ack --data d X",
        "alerts ack X --data d",
    ):
        run(arguments.split(" "))
    assert sockets == ["d/toban.sock"] * 4


def broken(error: BaseException):
    def ask(*_: object) -> None:
        raise error

    return ask


def test_an_internal_error_is_written_to_a_report_file(files, monkeypatch, capsys, tmp_path):
    """
    A line for the person, a file for the makers, without secrets; nobody else may read it.
    """
    (tmp_path / "data").mkdir()
    monkeypatch.setattr(status, "get", broken(ZeroDivisionError("at redis://:hunter2@host")))
    assert run(["status"]) == 1
    out, err = capsys.readouterr()
    report = tmp_path / "data" / REPORT
    assert "unexpected error: ZeroDivisionError: at redis://" in err
    assert str(report) in err
    assert "Traceback" not in out + err
    assert "Traceback (most recent call last)" in report.read_text()
    assert "hunter2" not in report.read_text() + err
    assert report.stat().st_mode & 0o077 == 0


def test_the_traceback_is_shown_on_request(files, monkeypatch, capsys):
    """
    Then nothing is written.
    """
    monkeypatch.setenv("TOBAN_DEBUG", "1")
    monkeypatch.setattr(status, "get", broken(ZeroDivisionError()))
    assert run(["status"]) == 1
    assert "Traceback" in capsys.readouterr().err
    assert not Path(REPORT).exists()


def test_expected_errors_of_several_services_are_shown_together(files, monkeypatch, capsys):
    """
    As a task group hands it over.
    """
    several = ExceptionGroup("", [SettingsError("a"), ExceptionGroup("", [CollectError("b"), SettingsError("a")])])
    monkeypatch.setattr(status, "get", broken(several))
    assert run(["status"]) == 2
    assert capsys.readouterr().err == "a\nb\n"


def test_a_file_that_can_not_be_opened_is_named(files, monkeypatch, capsys):
    """
    With the system's reason.
    """
    monkeypatch.setattr(status, "get", broken(OSError(28, "No space left on device", "/data/x")))
    assert run(["status"]) == 2
    assert capsys.readouterr().err == "/data/x: No space left on device\n"


@pytest.mark.parametrize(
    "arguments", ["restart --stop", "--stop --resume", "--approve 1 --refuse 2", "--dry", "--alert x"]
)
def test_a_run_is_asked_for_one_thing_at_a_time(capsys, arguments):
    assert run(["run", *arguments.split()]) == 2
    assert "Error: " in capsys.readouterr().err


def test_an_unknown_command_is_answered_with_the_names_of_all(capsys):
    assert run(["incidents", "acknowledge", "1"]) == 2
    shown = capsys.readouterr().err
    assert "No such command 'acknowledge'." in shown
    assert "The commands are ack, " in shown
