"""Lines of every format, as programs really write them."""

import json
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toban.core.log_line import LogLevel
from toban.logs.entries import MAX_ENTRY, MAX_ENTRY_LINES, TextLine, read_entries
from toban.logs.line_parser import PARSERS, Reading, line_format
from toban.logs.timestamps import parse_timestamp

NOW = datetime(2026, 12, 1, 12, 0, 30, tzinfo=UTC)
READING = Reading(NOW, ZoneInfo("UTC"))
AT = datetime(2026, 11, 23, 19, 47, 11, tzinfo=UTC)
AT_WRITTEN = datetime(2026, 11, 23, 19, 47, 1, tzinfo=UTC)


def parsed(text, reading=READING, name="auto"):
    return line_format(name).parse(text, reading)


def winston(**fields):
    return parsed(json.dumps(fields))


def entries(text, name="auto", *, final=True):
    """Return the entries of a text as format, level, message and number of lines of the trace."""
    lines = [TextLine(line, number) for number, line in enumerate(text.split("\n"), 1)]
    found, _ = read_entries(lines, line_format(name), READING, final=final)
    return [(one.format, one.line.level, one.line.message, len(one.line.trace.splitlines())) for one in found]


def test_a_winston_line_is_parsed():
    """
    As winston 3.19 writes it with `timestamp`, `errors` and `json`.
    """
    line = parsed(
        '{"category":"business","context":"X","environment":"production","instance":"abc","level":"error",'
        '"message":"boom","order":"A1","service":"vendure","timestamp":"2026-11-23T19:47:11.288Z",'
        '"trace":"Error: e1\\n    at Object.<anonymous> (/app/x.js:4:35)"}'
    )
    assert (line.level, line.message, line.context, line.service) == (LogLevel.ERROR, "boom", "X", "vendure")
    assert (line.environment, line.instance, line.category) == ("production", "abc", "business")
    assert line.at == AT + timedelta(milliseconds=288)
    assert line.trace.startswith("Error: e1\n    at ")
    assert line.facts == {"order": "A1"}


@pytest.mark.parametrize(
    ("log", "level", "message", "at"),
    [
        ("payment failed\n", None, "payment failed", AT),
        ('{"level":"warn","message":"slow","timestamp":"2026-11-23T19:47:01.000Z"}', LogLevel.WARN, "slow", AT_WRITTEN),
        ("\x1b[31merror\x1b[39m 11/23/26, 7:47 PM - \x1b[36m[Shop]\x1b[39m declined\n", LogLevel.ERROR, "declined", AT),
    ],
)
def test_a_line_within_json_is_parsed(log, level, message, at):
    """
    As Docker's driver `json-file` writes it, and Fluent Bit sends it; a program's own time counts if it has seconds.
    """
    line = parsed(json.dumps({"log": log, "stream": "stderr", "time": "2026-11-23T19:47:11.000000001Z"}))
    assert (line.level, line.message, line.at, line.is_time_exact) == (level, message, at, True)
    assert line.facts == {"stream": "stderr"}


def test_a_program_s_own_field_log_is_a_fact():
    line = parsed('{"message":"import done","log":"import.txt","level":"info"}')
    assert (line.message, line.facts) == ("import done", {"log": "import.txt"})
    assert parsed('{"log":{"a":1}}').message == '{"log":{"a":1}}'
    assert parsed('{"log":"x"').message == '{"log":"x"'


@pytest.mark.parametrize(
    ("fields", "level"),
    [
        ({"level": "\x1b[31merror\x1b[39m"}, LogLevel.ERROR),
        ({"level": "WARNING"}, LogLevel.WARN),
        ({"level": "http"}, LogLevel.VERBOSE),
        ({"level": "silly"}, LogLevel.DEBUG),
        ({"level": "log"}, LogLevel.INFO),
        ({"severity": "CRITICAL"}, LogLevel.ERROR),
        ({"level": 60}, LogLevel.ERROR),
        ({"level": 40}, LogLevel.WARN),
        ({"level": 30}, LogLevel.INFO),
        ({"level": 10}, LogLevel.DEBUG),
        ({"level": True}, None),
        ({"level": "loud"}, None),
        ({"level": None}, None),
        ({}, None),
    ],
)
def test_levels_of_winston_and_pino(fields, level):
    """
    An unknown one is a fact.
    """
    line = winston(message="x", **fields)
    assert line.level is level
    assert line.facts == (fields if level is None else {})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"message": ""}, ""),
        ({"msg": "pino"}, "pino"),
        ({"message": {"code": 5}}, '{"code":5}'),
        ({"message": {"message": "inner"}}, "inner"),
        ({"message": ["a", 1]}, '["a",1]'),
        ({"message": None}, "null"),
        ({"message": 5}, "5"),
        ({"message": "\x1b[1mbold\x1b[22m"}, "bold"),
        ({"level": "info"}, '{"level": "info"}'),
    ],
)
def test_messages_that_are_missing_or_no_text(fields, message):
    """
    Without a message, the whole line is the message.
    """
    assert winston(**fields).message == message


def test_a_message_that_is_nested_too_deeply_is_the_line():
    text = '{"message":' + "[" * 500 + "]" * 500 + "}"
    assert parsed(text).message == text


def test_half_an_emoji_is_replaced():
    """
    JSON has it where a text was cut in the middle; most parsers refuse the whole line.
    """
    assert parsed('{"level":"info","message":"caf\\ud83d","b":"\\ude00x\\ud83d\\ude00"}').message == "caf\ufffd"


@pytest.mark.parametrize(
    ("fields", "trace"),
    [
        ({"stack": "Error: a\n    at b"}, "Error: a\n    at b"),
        ({"stack": ["Error: a", "    at b"]}, "Error: a\n    at b"),
        ({"trace": "t"}, "t"),
        ({"err": {"type": "Error", "message": "a", "stack": "s"}}, "s"),
        ({"stack": 5}, ""),
        ({"trace": {"deep": 1}}, ""),
    ],
)
def test_stack_traces(fields, trace):
    assert winston(message="x", **fields).trace == trace


HEX = "0af7651916cd43dd8448eb211c80319c"


@pytest.mark.parametrize(
    ("fields", "trace_id"),
    [
        ({"trace_id": HEX}, HEX),
        ({"traceId": HEX.upper()}, HEX),
        ({"trace.id": HEX}, HEX),
        ({"trace": {"id": HEX}}, HEX),
        ({"otelTraceID": HEX}, HEX),
        ({"dd": {"trace_id": "1234567890123456789"}}, f"{1234567890123456789:016x}"),
        ({"dd.trace_id": HEX}, HEX),
        ({"trace_id": "0" * 32}, ""),
        ({"trace_id": "the third"}, ""),
        ({"trace_id": None}, ""),
    ],
)
def test_trace_ids(fields, trace_id):
    """
    Of OpenTelemetry, Elastic and Datadog; what is none stays a fact.
    """
    line = winston(message="x", **fields)
    assert line.trace_id == trace_id
    assert bool(line.facts) is (not trace_id or any(isinstance(value, dict) for value in fields.values()))


@pytest.mark.parametrize(
    ("value", "zone", "at"),
    [
        ("2026-11-23T19:47:11.000Z", "UTC", AT),
        ("2026-11-24T04:47:11+09:00", "UTC", AT),
        ("2026-11-24 04:47:11", "Asia/Tokyo", AT),
        ("2026-11-23 19:47:11,250", "UTC", AT + timedelta(milliseconds=250)),
        (AT.timestamp(), "UTC", AT),
        (AT.timestamp() * 1_000, "UTC", AT),
        (str(int(AT.timestamp() * 1_000)), "UTC", AT),
        (int(AT.timestamp()) * 1_000_000_000, "UTC", AT),
        ("11/23/2026, 7:47:11 PM", "UTC", AT),
        ("11/23/26, 7:47\u202fPM", "UTC", AT.replace(second=0)),
        ("2026/11/24 4:47:11", "Asia/Tokyo", AT),
        ("23.11.2026, 19:47:11", "UTC", AT),
        ("23/11/2026, 19:47:11", "UTC", AT),
        ("Mon Nov 23 2026 14:47:11 GMT-0500 (Eastern Standard Time)", "UTC", AT),
        ("Mon, 23 Nov 2026 19:47:11 GMT", "UTC", AT),
        ("12/1/26, 12:00 PM", "UTC", NOW),
        ("11/1/26, 1:30 AM", "America/New_York", datetime(2026, 11, 1, 6, 30, tzinfo=UTC)),
        ("soon", "UTC", None),
        ("", "UTC", None),
        (True, "UTC", None),
        (None, "UTC", None),
        ({"a": 1}, "UTC", None),
        (float("nan"), "UTC", None),
        (10**40, "UTC", None),
        ("9" * 400, "UTC", None),
        ("9999-12-31T23:59:59-23:59", "UTC", None),
        ("1970-01-01T00:00:00Z", "UTC", None),
        ("2027-11-23T19:47:11Z", "UTC", None),
        ("99/99/2026, 7:47:11 PM", "UTC", None),
    ],
)
def test_times(value, zone, at):
    """
    A time without seconds is in its minute that of reading; of a time that there are two, the last one that has passed.
    """
    assert parse_timestamp(value, Reading(NOW, ZoneInfo(zone))) == at


def test_a_time_that_can_not_be_read_is_a_fact():
    """
    As when a field of the line overrides winston's own.
    """
    line = winston(message="x", timestamp="yesterday")
    assert (line.at, line.facts) == (None, {"timestamp": "yesterday"})


def test_lines_of_vendures_logger():
    """
    With and without colours and times; an error has its stack trace, an object its lines.
    """
    assert entries(
        "\x1b[34minfo\x1b[39m \x1b[90m11/23/26, 7:47 PM -\x1b[39m \x1b[36m[Vendure Server]\x1b[39m Bootstrapping... \n"
        "info  [Vendure Worker] no time \n"
        "error 11/23/26, 7:47 PM - [Orders] boom\n"
        'error: relation "x" does not exist\n'
        "    at Parser.parse (/app/parser.js:1:2)\n"
        "    at next \n"
        "verbose 2026/11/23 19:47 - [Orders] {\n"
        '  "a": 1\n'
        "} \n"
    ) == [
        ("vendure", LogLevel.INFO, "Bootstrapping...", 0),
        ("vendure", LogLevel.INFO, "no time", 0),
        ("vendure", LogLevel.ERROR, "boom", 3),
        ("vendure", LogLevel.VERBOSE, '{\n  "a": 1\n}', 0),
    ]


def test_an_error_after_a_message_of_vendure_is_not_part_of_it():
    """
    Somebody else printed it.
    """
    found = entries("info 11/23/26, 7:47 PM - [Orders] fine\nTypeError: nope\n    at x (/app/x.js:1:2)")
    assert found == [("vendure", LogLevel.INFO, "fine", 0), ("node", LogLevel.ERROR, "TypeError: nope", 2)]


def test_lines_of_nests_logger():
    found = entries(
        "[Nest] 17  - 11/23/2026, 7:47:11 PM     LOG [InstanceLoader] AppModule initialized +12ms\n"
        "[Nest] 17  - 11/23/2026, 7:47:11 PM   ERROR [ExceptionHandler] can't resolve\n"
        "Error: can't resolve\n"
        "    at x\n"
        "[Nest] 17  - 11/23/2026, 7:47:12 PM    WARN without context"
    )
    assert found == [
        ("nest", LogLevel.INFO, "AppModule initialized", 0),
        ("nest", LogLevel.ERROR, "can't resolve", 2),
        ("nest", LogLevel.WARN, "without context", 0),
    ]


CRASH = """/app/crash.js:1
function f() { throw new Error("boom\\nsecond line") }
               ^

Error: boom
second line
    at f (/app/crash.js:1:25)
    at node:internal/main/run_main_module:28:49 {
  code: 'X',
  [cause]: Error: inner
      at g (/app/crash.js:2:1)
}

Node.js v24.1.0
"""

OUT_OF_MEMORY = """
<--- Last few GCs --->

[17:0x1ff2cca0]       52 ms: Mark-Compact 17.0 (49.2) -> 16.5 (49.5) MB

<--- JS stacktrace --->

FATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory
----- Native stack trace -----

 1: 0xb78db3 node::OOMErrorHandler(char const*, v8::OOMDetails const&) [node]
10: 0x195e476  [node]
"""


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (CRASH, [("node", LogLevel.ERROR, "Error: boom", 14)]),
        (CRASH + "started\n", [("node", LogLevel.ERROR, "Error: boom", 14), ("plain", None, "started", 0)]),
        (
            'x\n/app/t.js:1\nthrow "text"\n^\ntext\n(Use `node --trace-uncaught ...` to show it)\n\nNode.js v24.1.0',
            [("plain", None, "x", 0), ("node", LogLevel.ERROR, "text", 7)],
        ),
        (
            OUT_OF_MEMORY,
            [
                (
                    "node",
                    LogLevel.ERROR,
                    "FATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory",
                    11,
                )
            ],
        ),
        (
            "[ioredis] Unhandled error event: Error: connect ECONNREFUSED 127.0.0.1:6379\n    at TCPConnectWrap\nx",
            [("node", LogLevel.ERROR, "Error: connect ECONNREFUSED 127.0.0.1:6379", 2), ("plain", None, "x", 0)],
        ),
        (
            "(node:17) [DEP0005] DeprecationWarning: Buffer() is deprecated\n(Use `node --trace-deprecation ...` to)",
            [("node", LogLevel.WARN, "DeprecationWarning: Buffer() is deprecated", 1)],
        ),
        ("/app/x.js:4\nplain", [("node", LogLevel.ERROR, "/app/x.js:4", 2)]),
        (
            '/app/x.js:4\n{"level":"info","message":"started"}',
            [("node", LogLevel.ERROR, "/app/x.js:4", 0), ("winston", LogLevel.INFO, "started", 0)],
        ),
    ],
    ids=["crash", "restart", "thrown text", "memory", "ioredis", "warning", "no crash", "cut crash"],
)
def test_what_node_writes_on_stderr(text, found):
    assert entries(text) == found


def test_an_entry_that_may_go_on_is_left_out():
    """
    Until the next line tells, or the lines are final.
    """
    text = '{"message":"a"}\nerror 11/23/26, 7:47 PM - [Orders] boom\nError: boom\n    at x'
    assert [one[2] for one in entries(text, final=False)] == ["a"]
    assert [one[2] for one in entries(text)] == ["a", "boom"]


def test_a_format_that_is_set_is_tried_alone():
    assert entries('{"message":"a"}', "plain") == [("plain", None, '{"message":"a"}', 0)]
    assert entries("info  [Vendure Server] a", "winston") == [("plain", None, "info  [Vendure Server] a", 0)]


def test_an_entry_is_bounded():
    """
    In lines and characters: the rest begins a new one.
    """
    head = "error 11/23/26, 7:47 PM - [Orders] boom\nError: boom\n"
    assert len(entries(head + "    at x\n" * (MAX_ENTRY_LINES + 5))) > 1
    assert len(entries(head + f"    at {'x' * 1000}\n" * (MAX_ENTRY // 900))) > 1


PIECES = st.sampled_from(
    [
        *CRASH.splitlines(),
        *OUT_OF_MEMORY.splitlines(),
        "error 11/23/26, 7:47 PM - [Orders] boom",
        "[Nest] 17  - 11/23/2026, 7:47:11 PM   ERROR [ExceptionHandler] can't resolve",
        "(node:17) Warning: x",
        '{"level":"info","message":"a"}',
        '{"half of it',
        "",
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from(
    ["message", "msg", "level", "timestamp", "time", "stack", "trace", "context", "service", "category", "dd", "err"]
)
OBJECTS = st.dictionaries(FIELDS | st.text(), JSON).map(json.dumps)


@given(st.lists(PIECES | OBJECTS | st.text(), max_size=30), st.sampled_from(["auto", *PARSERS.names()]))
def test_any_lines_are_entries(lines, name):
    """
    No exception is raised, no line is in two entries, and none is missing but empty ones.
    """
    numbered = [TextLine(text, number) for number, text in enumerate(lines, 1)]
    found, done = read_entries(numbered, line_format(name), READING, final=True)
    ends = [one.end for one in found]
    assert ends == sorted(set(ends))
    assert done == (len(lines) if lines else None)
    with_text = [text for text in lines if text.strip()]
    assert bool(found) is bool(with_text)
