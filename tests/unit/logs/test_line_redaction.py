"""No secret of a line is stored, wherever in it and in whatever shape it stands."""

from datetime import UTC, datetime

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toban.core.log_line import LogLevel, LogLine
from toban.logs.line_redaction import MAX_FACT, MAX_FACTS, MAX_LABEL, MAX_TEXT, LineRedactor

AT = datetime(2026, 1, 1, tzinfo=UTC)
SECRET = "qZ7hunter2Tr0ub4dor"
SESSION = "0add3adc2a67363bdb8373b9427bfefccd11daf5ed5ff1ecaf1b07879f69600a"
IN_TEXTS = (
    "password={}", "Authorization: Bearer {}", '{{"apiKey":"{}"}}', "postgres://toban:{}@db/vendure", "token: {}",
    r"{{\"secret\":\"{}\"}}", "cookie: session={}; path=/", "x-api-key: {}",
)  # fmt: skip
KEYS = ("password", "apiKey", "x-api-key", "API_KEY", "authorization", "Cookie", "clientSecret", "session_token")


def line(message: str = "a line", **fields) -> LogLine:
    return LogLine(AT, LogLevel.INFO, message, **fields)


def text_of(found: LogLine) -> str:
    return repr(found)


PLACES = ("message", "trace", "context", "service", "environment", "instance", "category", "trace_id")


@given(st.sampled_from(PLACES), st.sampled_from(IN_TEXTS), st.text(max_size=20), st.text(max_size=20))
def test_a_secret_in_a_text_is_redacted_in_every_field(place, shape, before, after):
    planted = f"{before} {shape.format(SECRET)} {after}"
    fields = {"message": "a line", place: planted}
    assert SECRET not in text_of(LineRedactor().redacted(line(**fields)))


@given(st.sampled_from(KEYS), st.integers(0, 4), st.booleans(), st.sampled_from([SECRET, 12345678901234, [SECRET]]))
def test_a_secret_under_its_name_is_redacted_at_every_depth(key, depth, in_list, value):
    nested: object = {key: value, "rows": 3}
    for _ in range(depth):
        nested = {"inner": [nested] if in_list else nested}
    found = LineRedactor().redacted(line(facts=nested))
    assert SECRET not in text_of(found)
    assert "12345678901234" not in text_of(found)


@given(st.sampled_from(IN_TEXTS), st.integers(0, 3))
def test_a_secret_in_a_fact_is_redacted_however_often_it_is_encoded(shape, times):
    value: object = shape.format(SECRET)
    for _ in range(times):
        value = orjson.dumps({"body": value}).decode()
    assert SECRET not in text_of(LineRedactor().redacted(line(facts={"request": value, shape.format(SECRET): 1})))


def test_a_line_without_secrets_is_the_same_line():
    facts = {"rows": 3, "ok": True, "orderCode": "7F3KQ2", "rate": 0.5, "nothing": None}
    one = line("GET /shop-api 200 took 45ms", trace="Error: x\n    at pay (/app/a.js:1:2)", facts=facts, context="Http")
    assert LineRedactor().redacted(one) is one


@pytest.mark.parametrize(
    ("keys", "patterns", "planted"),
    [
        (["licenceKey"], [], {"facts": {"licence_key": SECRET}}),
        (["licenceKey"], [], {"facts": {"user": {"LicenceKey": [SECRET]}}}),
        ([], [r"qZ\w+"], {"message": f"customer {SECRET} came"}),
        ([], [r"qZ\w+"], {"facts": {"customer": SECRET}}),
        ([], [r"qZ\w+"], {"facts": {"deep": {"customer": SECRET}}}),
    ],
)
def test_settings_name_further_secrets(keys, patterns, planted):
    given_line = line(**planted)
    assert SECRET in text_of(LineRedactor().redacted(given_line))
    assert SECRET not in text_of(LineRedactor(keys, patterns).redacted(given_line))


def test_what_is_too_long_is_cut_and_half_a_secret_at_the_cut_is_redacted():
    edge = "x " * ((MAX_TEXT - 40) // 2)
    found = LineRedactor().redacted(
        line(
            f"{edge} Bearer {SESSION}",
            context="zy " * 400,
            facts={**{f"fact{place}": place for place in range(1_000)}, "long": "zy " * 4_000},
        )
    )
    assert len(found.message) <= MAX_TEXT + 1
    assert SESSION[:10] not in found.message
    assert len(found.context) == MAX_LABEL + 1
    assert len(found.facts) == MAX_FACTS
    assert all(len(str(value)) <= MAX_FACT + 1 for value in found.facts.values())


@given(
    st.text(max_size=50),
    st.dictionaries(
        st.text(max_size=10),
        st.recursive(st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=20), st.lists),
        max_size=5,
    ),
)
def test_any_line_can_be_stored_as_utf_8(message, facts):
    found = LineRedactor().redacted(line(f"{message}\ud800", facts={**facts, "half": "\udfff", "bytes": b"\xff"}))
    found.message.encode()
    orjson.dumps({name: value for name, value in found.facts.items() if not isinstance(value, int)})


@given(st.text(max_size=200))
def test_redacting_twice_changes_nothing_more(text):
    redactor = LineRedactor()
    once = redactor.redacted(line(text, facts={"text": text}))
    assert redactor.redacted(once) == once
