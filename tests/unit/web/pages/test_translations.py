"""Errors and reasons in the reader's language."""

import ast
import re
from datetime import timedelta
from pathlib import Path

import pytest

import toban
from tests.timelines import Timeline
from toban.core.ports import RetentionReport
from toban.core.sentences import SENTENCE
from toban.maintenance import vendure_checks
from toban.maintenance.tasks.metrics_retention import describe
from toban.maintenance.vendure_checks import Check
from toban.review.proposals import ENGINES
from toban.web.pages.i18n import texts
from toban.web.pages.translations import translate, translate_service

COMMANDS = (
    "notify/silence_commands.py",
    "notify/channel_commands.py",
    "notify/drill.py",
    "alerting/acknowledge_commands.py",
    "incidents/commands.py",
    "incidents/action_items.py",
    "maintenance/commands.py",
    "runbooks/commands.py",
    "review/limit_commands.py",
    "review/proposal_service.py",
    "status_page/commands.py",
    *(f"access/{name}.py" for name in ("accounts", "passwords", "passkey_commands", "sign_in_commands")),
    *(f"access/{name}.py" for name in ("token_commands", "user_commands")),
)
"""The modules whose errors people meet on pages."""


def is_translated(text):
    return translate(text, "ja") != text


def sample(node):
    """Return a text that an expression makes, with something in each of its places; None where it names no text."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(it.value if isinstance(it, ast.Constant) else "'x'" for it in node.values)
    return None


def raised(module, names=("InvalidCommandError", "NotFoundError", "NotInForceError")):
    """Yield the errors of commands that a module raises."""
    tree = ast.parse((Path(toban.__file__).parent / module).read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in names:
            text = sample(node.args[0])
            if text is not None:
                yield text


@pytest.mark.parametrize("module", COMMANDS)
def test_every_error_of_a_command_is_translated(module):
    found = set(raised(module))
    assert found
    # What is known of a channel is one of two sentences.
    found = {
        it.replace("'x': 'x'", "'x': configured are a, b") if it.startswith("unknown channel") else it for it in found
    }
    assert {it for it in found if not is_translated(it)} == set()


@pytest.mark.parametrize("module", ["review/limit_commands.py", "review/config_override.py", "core/config_source.py"])
def test_every_reason_why_a_limit_can_not_be_applied_is_translated(module):
    found = set(raised(module, ("SettingsError",)))
    assert found
    assert {it for it in found if not is_translated(it)} == set()


@pytest.mark.parametrize("module", ["review/proposals.py", "review/thresholds.py"])
def test_every_reason_and_source_of_a_proposal_is_translated(module):
    made = {"Refusal": 1, "Candidate": 1, "QueryError": 0}
    tree = ast.parse((Path(toban.__file__).parent / module).read_text(encoding="utf-8"))
    calls = [it for it in ast.walk(tree) if isinstance(it, ast.Call) and getattr(it.func, "id", "") in made]
    found = {text for it in calls if (text := sample(it.args[made[it.func.id]])) is not None}
    found |= {text for it in ast.walk(tree) if isinstance(it, ast.Return) and (text := sample(it.value))}
    found |= set(ENGINES.values()) | {"a longer `for`"} if module.endswith("proposals.py") else set()
    found = {it for it in found if it and "excesses" not in it and "tail" not in it and "less than" not in it}
    assert found
    assert {it for it in found if not is_translated(it)} == set()


def arms(node):
    """Yield the texts that an expression may be: both of a condition, and what takes the place of an empty one."""
    if isinstance(node, ast.IfExp):
        yield from (*arms(node.body), *arms(node.orelse))
    elif isinstance(node, ast.BoolOp):
        yield from (text for it in node.values for text in arms(it))
    elif (text := sample(node)) is not None:
        yield text


def said_in_calls(folder, names, place):
    """Yield the texts with which functions of these names are called, by the modules of a folder."""
    sources = [it.read_text(encoding="utf-8") for it in (Path(toban.__file__).parent / folder).rglob("*.py")]
    for source in [it for it in sources if any(f"{name}(" in it for name in names)]:
        for call in ast.walk(ast.parse(source)):
            name = getattr(call.func, "id", getattr(call.func, "attr", "")) if isinstance(call, ast.Call) else ""
            if name in names and len(call.args) > place:
                yield from arms(call.args[place])


def test_what_every_service_says_of_its_health_is_translated():
    found = set(said_in_calls("", {"HealthStatus"}, 1))
    assert len(found) > 60
    assert {it for it in found - {"'x'; 'x'"} if translate_service(it, "ja") == it} == set()


def test_every_error_of_a_channel_is_translated():
    made = {it.replace("'x'", "ops", 1) for it in said_in_calls("notify", {"DeliveryError"}, 0)}
    assert len(made) > 15
    # The rest is the text of a service, of the network, or a file.
    made = {it for it in made if re.search("[a-z]", it.removeprefix("ops").replace("'x'", "").replace(": ca: ", ""))}
    assert {it for it in made if not is_translated(it)} == set()


@pytest.mark.parametrize(
    ("text", "translated"),
    [
        ("ops: answered 503: upstream failed", "ops: 503 の応答: upstream failed"),
        ("ops-2: connection refused", "ops-2: 接続が拒否されました"),
        (
            "ops: failing: ops: no connection in time; phone: rejected: phone: answered 401",
            "ops: 失敗しています: ops: 時間内に接続できません; phone: 拒否されました: phone: 401 の応答",
        ),
        ("1 lines wait", "1 行が待機しています"),
        (
            "state unavailable, answers wait: disk is full",
            "状態データベースを使えないため、応答は待機しています: disk is full",
        ),
        (
            "the last drill reached ops, phone",
            "前回の訓練は ops, phone に届きました",
        ),
    ],
)
def test_what_services_and_channels_say_is_translated_with_what_it_names(text, translated):
    assert translate_service(text, "ja") == translated
    assert translate_service(text, "en") == text


def reasons():
    """Return the reasons that all stages of the pipeline give in a night with everything in it."""
    line = Timeline(
        inhibit=[{"source_matchers": ['alertname="down"'], "target_matchers": ['alertname=~"slow"']}],
        maintenance_windows=[
            {"name": "backup", "cron": "0 1 * * *", "for": "30m", "matchers": ['alertname="backup_old"']}
        ],
        routes=[{"matchers": ['alertname="routed"'], "channels": ["email"]}],
    )
    line.at("0s").fires("down").fires("slow").fires("disk").fires("routed")
    line.at("1m").fires("quiet").silence('alertname="quiet"', "2h")
    line.at("2m").fires("severe", channels="nowhere", severity="critical")
    line.at("5m").fires("short")
    line.at("5m1s").ends("short")
    line.at("20m").acknowledged("disk")
    line.at("30m").ends("down")
    for number in range(8):
        line.at(f"{40 + number * 2}m").fires("web")
        line.at(f"{41 + number * 2}m").ends("web")
    line.at("1h5m").fires("backup_old")
    found = set()
    decide = line._decide

    def noted(now):
        again = decide(now)
        found.update((note.stage, note.reason) for notes in line.decision.run.notes.values() for note in notes)
        return again

    line._decide = noted
    line.want("10h")
    return found


def test_every_reason_of_the_pipeline_is_translated():
    found = reasons()
    assert {stage for stage, _ in found} == {"route", "inhibit", "mute", "dedupe", "send"}
    assert {(stage, it) for stage, it in found if not is_translated(it)} == set()
    words = {it.split()[0] for stage, it in found if stage == "send"}
    assert words == {"firing", "resolved", "acknowledged", "flapping", "reminder"}


@pytest.mark.parametrize(
    ("text", "translated"),
    [
        ("end time can't be in the past", "終了に過去の時刻は指定できません"),
        ("ends: end time can't be in the past", "終了: 終了に過去の時刻は指定できません"),
        (
            'matchers: invalid matcher \'x\': write it like severity="critical" or "service.name"=~"shop.*"',
            'マッチャー: マッチャー \'x\' が正しくありません。severity="critical" や "service.name"=~"shop.*"'
            " のように書いてください",
        ),
        (
            "comment: must have at least 1 characters; matchers.0: must have at least 1 characters",
            "コメント: 1 文字以上で入力してください; マッチャー: 1 文字以上で入力してください",
        ),
        ("silenced by ann until never: 50% {x} \\1\n", "ann が never までサイレンス中: 50% {x} \\1\n"),
        (
            "invalid matcher 'a b': invalid label name \"a b\"",
            "マッチャー 'a b' が正しくありません: ラベル名 \"a b\" が正しくありません",
        ),
        ("of another kind: {nothing}", "of another kind: {nothing}"),
        ("", ""),
    ],
)
def test_what_is_known_is_translated_and_the_rest_stays(text, translated):
    assert translate(text, "ja") == translated
    assert translate(text, "en") == text


def test_each_sentence_is_recognised_as_itself():
    """
    None hides another that says more.
    """
    for key, text in texts("en").items():
        if key.startswith(SENTENCE):
            values = {name: f"<{name}>" for name in re.findall(r"\{(\w+)\}", text)}
            assert translate(text.format(**values), "ja") == texts("ja")[key].format(**values), key


@pytest.mark.parametrize(
    ("one", "many"),
    [
        ("it would do 1 step", "it would do 2 steps"),
        ("removed 1 unfinished backup", "removed 2 unfinished backups"),
        ("1 older backup deleted", "2 older backups deleted"),
        ("1 backup before it", "2 backups before it"),
    ],
)
def test_a_count_of_one_is_translated_as_any_other(one: str, many: str):
    assert is_translated(one)
    assert translate(one, "ja").replace("1", "2") == translate(many, "ja")


def test_what_a_killed_run_has_left_is_said_in_japanese():
    assert is_translated(
        "toban ended while it ran: 0 of 1 step were done; removed what interrupted drills have left: a"
    )
    assert is_translated("what it has left is not removed yet: it is locked")


MAINTENANCE = Path(toban.__file__).parent / "maintenance"
SAYS = {"Finding": (1, 3), "Step": (1,), "TaskPlan": (2,), "StepResult": (0,), "StepSkippedError": (0,)}
SAYS |= dict.fromkeys(("StepFailedError", "ActionError", "BackupError"), (0,))
"""Which arguments are what a maintenance task says to people, or what to do about it."""
STATEMENT = re.compile(r"(ALTER|DROP|REINDEX|GRANT) ")


def sentences(node):
    """Yield what an expression can say; what a variable adds at its end may be empty."""
    if isinstance(node, ast.IfExp):
        yield from (*sentences(node.body), *sentences(node.orelse))
    elif isinstance(node, ast.BinOp):
        yield from (one + other for one in sentences(node.left) for other in sentences(node.right))
    elif isinstance(node, ast.JoinedStr):
        pieces = [piece(it) for it in node.values]
        # A sentence whose words are all those of variables is what they say.
        if re.search("[a-z]", "".join(pieces)):
            yield "".join(pieces[:-1] if pieces[-1] == "7" and pieces[-2][-1].isalpha() else pieces)
    elif isinstance(node, ast.Constant):
        yield node.value


def piece(node):
    if isinstance(node, ast.Constant):
        return node.value
    call = getattr(node, "value", None)
    is_counted = isinstance(call, ast.Call) and getattr(call.func, "id", "") == "counted"
    return f"7 {call.args[1].value}s" if is_counted else "7"


def said():
    # What `toban backup` and `toban restore` say is said in a terminal.
    for file in [it for it in MAINTENANCE.rglob("*.py") if not it.name.startswith(("data_", "named_"))]:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and (places := SAYS.get(getattr(node.func, "id", ""))):
                given = [node.args[place] for place in places if place < len(node.args)]
                given += [it.value for it in node.keywords if it.arg in ("text", "remedy", "description")]
                yield from (text for it in given for text in sentences(it))


def test_everything_that_a_maintenance_task_says_is_translated():
    found = {it for it in said() if it and not STATEMENT.match(it)}
    assert len(found) > 70
    # Each finding of a check has its title.
    found = {it for it in found if not it.startswith("7 7")}
    checks = [it for it in vars(vendure_checks).values() if isinstance(it, Check)]
    found |= {f"7 {check.title}: 12 (a)" for check in checks} | {check.remedy for check in checks}
    assert {it for it in found if not is_translated(it)} == set()


@pytest.mark.parametrize(
    "text",
    [
        "there is no PostgreSQL on this machine to restore into",
        "pg_dump is older than the server",
        "shop.dump: pg_restore can't read it: out of memory",
        "3 others failed with other errors",
        "1,200 sessions that are over are still there",
        "give unused memory back to the system: 2 GiB of 3 GiB are unused",
        "replay all rules with other limits over the last 90 days",
        "remove what is older than 30d (logs.retention)",
        "as it grows, 1 GiB are full in 1 hour: then it keeps less than 30d",
        "as it grows, 1 GiB are full in 12 days: then it keeps less than 30d",
    ],
)
def test_what_maintenance_tasks_say_is_translated(text: str):
    assert is_translated(text)


def test_what_the_stores_keep_is_said_in_japanese():
    """
    Of two stores, each with words of its own.
    """
    first = RetentionReport(
        1_767_000_000_000, 1_768_000_000_000, timedelta(days=90), 1_000, 2_000, "1 series in 0 blocks and the head"
    )
    second = RetentionReport(None, None, timedelta(days=30), 0, 1_000, "0 lines")
    assert translate(f"tsdb: {describe(first)}; logs: {describe(second)}", "ja") == (
        "tsdb: 1 系列（ブロック 0 個とヘッド）、1.953 KiB 中 1,000 B、2025-12-29 09:20 UTC 以降; "
        "logs: 0 行、1,000 B 中 0 B、まだ何もありません"
    )
    assert translate(f"removed the oldest (5 B); {describe(first)}", "ja").startswith(
        "最も古いものを削除 (5 B); 1 系列"
    )


def audited(tree):
    """Yield the actions that a module records in the audit log; those that it passes on are known by their article."""
    for call in (it for it in ast.walk(tree) if isinstance(it, ast.Call)):
        texts_of = [it.value for it in call.args if isinstance(it, ast.Constant) and isinstance(it.value, str)]
        if getattr(call.func, "id", getattr(call.func, "attr", "")) == "AuditEntry":
            yield from texts_of
        elif (name := getattr(call.func, "attr", "")).startswith("_") or name == "change":
            yield from (it for it in texts_of if re.fullmatch(r"[a-z-]+ (?:an?|the) [a-z -]+", it))


def test_every_action_in_the_audit_log_is_translated():
    folder = Path(toban.__file__).parent
    texts_of = [it.read_text(encoding="utf-8") for it in folder.rglob("*.py")]
    modules = [it for it in texts_of if "AuditEntry(" in it or "IncidentCommands" in it]
    found = {action for text in modules for action in audited(ast.parse(text))}
    assert {
        "signed in",
        "added a note to an incident",
        "began maintenance",
        "covered a shift",
        "unticked an action item",
    } <= found
    assert {it for it in found if not is_translated(it)} == set()
