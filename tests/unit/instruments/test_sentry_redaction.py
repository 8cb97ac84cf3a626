"""No secret leaves in an event of Sentry's, wherever it stands."""

import copy
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toban.instruments.sentry_sdk_options import redact_event, redacting

SECRET = "hunter2-Zq9"

EVENT = {
    "event_id": "0123456789abcdef0123456789abcdef",
    "timestamp": "2026-12-01T00:00:00Z",
    "platform": "python",
    "level": "error",
    "message": "",
    "logentry": {"message": "hello", "formatted": "hello"},
    "release": "shop@1.0",
    "environment": "production",
    "server_name": "d1",
    "transaction": "/orders",
    "exception": {
        "values": [
            {
                "type": "ValueError",
                "value": "wrong",
                "stacktrace": {"frames": [{"function": "pay", "lineno": 7, "context_line": "", "vars": {}}]},
            }
        ]
    },
    "threads": {"values": [{"id": 1, "stacktrace": {"frames": [{"vars": {}}]}}]},
    "breadcrumbs": {"values": [{"category": "http", "message": "GET", "data": {}}]},
    "request": {"url": "https://shop.example/", "headers": {}, "query_string": "", "data": {}, "env": {}},
    "user": {"id": "7"},
    "contexts": {"trace": {"trace_id": "fedcba9876543210fedcba9876543210"}, "additional": {}},
    "extra": {"sys.argv": ["server"]},
    "tags": {"a": "b"},
    "spans": [{"op": "db", "description": "select", "data": {}}],
    "fingerprint": ["{{ default }}"],
    "modules": {"tokenizers": "1.0"},
}

PLACES = [
    ("message",),
    ("transaction",),
    ("environment",),
    ("release",),
    ("server_name",),
    ("logentry", "formatted"),
    ("logentry", "params"),
    ("exception", "values", 0, "value"),
    ("exception", "values", 0, "stacktrace", "frames", 0, "context_line"),
    ("exception", "values", 0, "stacktrace", "frames", 0, "vars", "x"),
    ("threads", "values", 0, "stacktrace", "frames", 0, "vars", "x"),
    ("breadcrumbs", "values", 0, "message"),
    ("breadcrumbs", "values", 0, "data", "x"),
    ("request", "url"),
    ("request", "headers"),
    ("request", "query_string"),
    ("request", "data"),
    ("request", "env", "x"),
    ("user", "x"),
    ("contexts", "additional"),
    ("extra", "x"),
    ("extra", "sys.argv"),
    ("tags",),
    ("spans", 0, "description"),
    ("spans", 0, "data", "x"),
    ("fingerprint", 0),
]

KEYS = st.sampled_from(
    ["password", "apiKey", "x-api-key", "Authorization", "cookie", "client_secret", "access_token", "DB_PASSWORD"]
)

TEXTS = st.one_of(
    KEYS.map(lambda key: f"{key}={SECRET}"),
    KEYS.map(lambda key: json.dumps({key: SECRET})),
    KEYS.map(lambda key: f"{key} = '{SECRET}'"),
    st.just(f"postgresql://shop:{SECRET}@db/shop"),
    st.just(f"Bearer {SECRET}"),
    st.just(f"https://shop.example/?token={SECRET}&page=1"),
)

SHAPES = st.one_of(
    TEXTS,
    KEYS.map(lambda key: {key: SECRET}),
    KEYS.map(lambda key: {key: [SECRET, {"x": SECRET}]}),
    KEYS.map(lambda key: [key, SECRET]),
    KEYS.map(lambda key: [[key, SECRET], ["a", "b"]]),
    KEYS.map(lambda key: {"name": key, "value": SECRET}),
    KEYS.map(lambda key: [{"key": key, "value": SECRET}]),
    KEYS.map(lambda key: ["server", f"--{key}", SECRET]),
    KEYS.map(lambda key: ["server", f"--{key}={SECRET}"]),
)

NESTED = st.recursive(
    SHAPES,
    lambda inner: st.one_of(
        inner.map(lambda it: {"values": it}),
        inner.map(lambda it: {"frames": [it, 1]}),
        inner.map(lambda it: [None, it]),
        inner.map(lambda it: {"x": it, "n": 1.5}),
    ),
    max_leaves=6,
)


def planted(place, value):
    event = copy.deepcopy(EVENT)
    *path, last = place
    target = event
    for step in path:
        target = target[step]
    target[last] = value
    return event


@given(st.lists(st.tuples(st.sampled_from(PLACES), NESTED), min_size=1, max_size=3))
def test_planted_secrets_are_gone_and_the_event_stays_an_event(plants):
    for place, value in plants:
        found = redact_event(planted(place, value), {})
        text = json.dumps(found)
        assert SECRET not in text, place
        assert found["event_id"] == EVENT["event_id"]
        assert found["contexts"]["trace"] == EVENT["contexts"]["trace"] or place[0] == "contexts"
        assert {name: type(it) for name, it in found.items() if name != place[0]} == {
            name: type(it) for name, it in EVENT.items() if name != place[0]
        }
        assert isinstance(found["exception"]["values"][0]["stacktrace"]["frames"], list)
        assert found["modules"] == EVENT["modules"]


def test_an_event_without_secrets_stays_as_it_is():
    assert redact_event(copy.deepcopy(EVENT), {}) == EVENT


@pytest.mark.parametrize("release", ["shop@1.2.0", "1.2.0", "0a" * 20, f"shop@{'0a' * 20}"])
def test_a_release_is_no_secret(release):
    assert redact_event({"release": release}, {}) == {"release": release}


def test_an_event_of_any_depth_ends():
    deep = value = {}
    for _ in range(5_000):
        value["values"] = value = {}
    value["x"] = SECRET
    assert SECRET not in str(redact_event({"extra": deep}, {}))


def test_what_a_callback_adds_is_redacted_and_what_it_drops_is_dropped():
    assert redacting(lambda event, hint: None)({"message": "x"}, {}) is None
    added = redacting(lambda event, hint: {**event, "extra": {"password": SECRET}})({"message": "x"}, {})
    assert added == {"message": "x", "extra": {"password": "[REDACTED]"}}
