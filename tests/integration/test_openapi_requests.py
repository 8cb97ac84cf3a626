"""Requests generated from the OpenAPI document, valid and invalid, to every operation of a running toban."""

import json
import time
from collections import Counter

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from openapi_spec_validator import OpenAPIV31SpecValidator
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)

from tests.program import eventually, toban
from toban.access.permissions import Permission

CHECKS = [content_type_conformance, negative_data_rejection, response_schema_conformance, status_code_conformance]
"""Errors are problem details, whatever is sent; what does not fit the document is refused."""

CONFIGURATION = {
    "alerting": {"evaluation_interval": "1s", "rules": ["rules.yaml"]},
    "channels": {"hook": {"kind": "webhook", "url": "http://127.0.0.1:9/x"}},
    "status_page": {"enabled": True},
}
RULES = '{"groups": [{"name": "mine", "rules": [{"alert": "always", "expr": "up > 0"}]}]}'

USER = {"name": "ann"}
EXISTING = {
    "GET /api/alerts/why": {"alert": "always"},
    "GET /api/boards/board": {"name": "toban"},
    "GET /api/boards/data": {
        "name": "toban",
        "variables": "{}",
        "timezone": "Asia/Tokyo",
        "from": "now-5m",
        "to": "now",
    },
    "GET /api/queries/describe": {"queries": '["sum(up)"]', "from": "now-1h", "to": "now", "timezone": "UTC"},
    "POST /api/alerts/acknowledge": {"alert": "always"},
    "POST /api/alerts/test": {"channel": "hook"},
    "POST /api/silences": {"matchers": ['a="b"'], "duration": "1h", "ends": None, "created_by": ""},
    "POST /api/users/disable": USER,
    "POST /api/users/enable": USER,
    "POST /api/users/role": USER,
    "POST /api/users/password": {**USER, "password": "correct horse battery"},
    "POST /api/users/link": USER,
    "POST /api/tokens": {"name": "grafana", "scopes": ["read"], "expires": "30d"},
    "POST /api/sessions/end-all": USER,
}
"""What is written into further valid requests, so that there is something to be found, by the operation."""


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """A toban with an alert and a user."""
    folder = tmp_path_factory.mktemp("openapi")
    (folder / "rules.yaml").write_text(RULES)
    (folder / "toban.yaml").write_text(json.dumps(CONFIGURATION))
    with toban(folder / "data", "--config", str(folder / "toban.yaml")) as program:
        program.until("Ctrl-C stops it")
        eventually(lambda: any(it["name"] == "always" for it in program.json("/api/alerts")["alerts"]))
        yield program


@pytest.fixture(scope="module")
def document(program):
    return program.json("/api/openapi.json")


@pytest.fixture(scope="module")
def headers(program, document):
    """The credentials of a token that may do everything: once there are users, nobody else may."""
    scopes = [f"--scope={it}" for it in Permission if it is not Permission.PUBLIC]
    token = program.run("token", "add", "generated", *scopes).stdout.strip()
    program.post("/api/users", json.dumps({**USER, "role": "viewer"}).encode())
    return {"authorization": f"Bearer {token}"}


def test_document_is_valid(document):
    assert [f"{[*it.absolute_path]}: {it.message}" for it in OpenAPIV31SpecValidator(document).iter_errors()] == []


def operations(document):
    """Return the operations; that a request without credentials is refused is what `test_routes.py` shows."""
    for item in document["paths"].values():
        for operation in item.values():
            operation["security"] = []
    return [it.ok() for it in schemathesis.openapi.from_dict(document).get_all_operations()]


@pytest.mark.parametrize("mode", GenerationMode)
@pytest.mark.parametrize("examples", [5, pytest.param(200, marks=[pytest.mark.soak, pytest.mark.timeout(7200)])])
def test_every_operation_answers_generated_requests_as_documented(program, document, headers, mode, examples):
    answered = {}
    for operation in operations(document):
        if mode is GenerationMode.NEGATIVE and not operation.query and not operation.body:
            continue  # nothing in it can be wrong
        statuses, began = answered.setdefault(operation.label, Counter()), time.monotonic()
        ask_many(operation, mode, examples, program.url, headers, statuses)
        if mode is GenerationMode.POSITIVE and operation.label in EXISTING:
            ask_many(operation, mode, examples, program.url, headers, statuses, EXISTING[operation.label])
        # So that a run that is stopped says how far it came, and what is slow.
        print(f"{operation.label}: {time.monotonic() - began:.1f} s, {dict(sorted(statuses.items()))}", flush=True)
    # Not by chance all refused, nor all accepted.
    if mode is GenerationMode.POSITIVE:
        assert len(answered) > 35
        assert {it for it in EXISTING if 200 not in answered[it]} == set()
    else:
        assert sum(400 in it for it in answered.values()) > 20


def ask_many(operation, mode, examples, url, headers, statuses, fixed=()):
    """Send generated requests to an operation, ``fixed`` in each of them, and check what it answers."""

    @settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=[*HealthCheck],
    )
    @given(operation.as_strategy(mode))
    def ask(case):
        if fixed:
            (case.query if case.method == "GET" else case.body).update(fixed)
        response = case.call(base_url=url, headers=headers)
        statuses[response.status_code] += 1
        # 503 is the answer to more passwords at once than are checked.
        assert response.status_code < 500 or "retry-after" in response.headers, response.text
        # Shops send ids as numbers, and amounts as texts: `/api/events` accepts them.
        excluded = [negative_data_rejection] if operation.path == "/api/events" else []
        case.validate_response(response, checks=CHECKS, excluded_checks=excluded)

    ask()
