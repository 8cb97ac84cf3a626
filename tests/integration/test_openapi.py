"""The OpenAPI document of toban's own API, against the routes and the responses of a running toban."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from tests.integration.test_routes import all_routes
from tests.program import eventually, toban
from toban.web.application import COMPATIBLE

PARAMETERS = {
    "/api/alerts/why": {"alert": "always"},
    "/api/incidents/details": {"id": "1"},
    "/api/incidents/report": {"id": "1", "language": "ja"},
    "/api/oncall": {"at": "2026-08-10T18:00:00+09:00", "days": "3"},
    "/api/runbooks/run": {"id": "1"},
    "/api/maintenance/run": {"id": "1"},
    "/api/maintenance/missing": {"task": "metrics_retention"},
    "/api/backtests": {"id": "1"},
    "/api/logs": {"level": "info", "limit": "5"},
    "/api/boards/board": {"name": "commerce"},
    "/api/queries/describe": {"queries": '["sum(up)", "rate("]', "from": "now-1h", "to": "now"},
    "/api/boards/data": {"name": "toban", "from": "now-5m", "points": "50", "variables": "{}"},
}
"""What the operations that need parameters are asked."""

RULES = """
groups:
- name: mine
  rules:
  - {alert: always, expr: "up > 0", labels: {severity: info}}
  - {alert: never_seen, expr: "nothing_of_the_kind > 0"}
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """A toban with an alert that fires, an inactive rule, a channel that fails and a silence."""
    folder = tmp_path_factory.mktemp("openapi")
    (folder / "rules.yaml").write_text(RULES)
    settings = {
        "alerting": {"rules": ["rules.yaml"], "evaluation_interval": "1s"},
        "channels": {"hook": {"kind": "webhook", "url": "http://127.0.0.1:9/x"}},
        "notify": {"group_wait": "1s"},
        "on_call": {
            "people": {"ann": {"channels": ["hook"]}, "ben": {}},
            "layers": [
                {"people": ["ann", "ben"], "from": "2026-01-05", "restrictions": [{"from": "09:00", "to": "08:00"}]}
            ],
        },
    }
    (folder / "toban.yaml").write_text(json.dumps(settings))
    with toban(folder / "data", "--config", str(folder / "toban.yaml")) as program:
        program.until("Ctrl-C stops it")
        eventually(lambda: any(it["name"] == "always" for it in program.json("/api/alerts")["alerts"]))
        silence = {"matchers": ['severity="info"'], "comment": "tea"}
        assert program.post("/api/silences", json.dumps(silence).encode())[0] == 200
        declared = {"title": "Customers call", "text": "they can't pay"}
        assert program.post("/api/incidents/declare", json.dumps(declared).encode())[0] == 200
        override = {"person": "ben", "starts": "2026-08-11T18:00", "ends": "2199-01-01T00:00"}
        assert program.post("/api/oncall/override", json.dumps(override).encode())[0] == 400
        override["ends"] = (datetime.now() + timedelta(days=2)).isoformat()
        override["starts"] = datetime.now().isoformat()
        assert program.post("/api/oncall/override", json.dumps(override).encode())[0] == 200
        started = {"runbook": "application_down", "dry": True}
        assert program.post("/api/runbooks/start", json.dumps(started).encode())[0] == 200
        dry = {"task": "metrics_retention", "dry": True}
        assert program.post("/api/maintenance/start", json.dumps(dry).encode())[0] == 200
        now = datetime.now(UTC)
        backtest = {"rule": "always", "begins": (now - timedelta(hours=1)).isoformat(), "ends": now.isoformat()}
        assert program.post("/api/backtests/start", json.dumps(backtest).encode())[0] == 200
        assert program.run("token", "add", "ci", "--scope", "push", "--expires", "30d").returncode == 0
        yield program


@pytest.fixture(scope="module")
def document(program):
    return program.json("/api/openapi.json")


def errors(schema, value, schemas, path="$"):
    """Return how a value differs from a schema: the part of JSON Schema that the document uses."""
    if "$ref" in schema:
        return errors(schemas[schema["$ref"].rpartition("/")[2]], value, schemas, path)
    if "anyOf" in schema:
        found = [errors(one, value, schemas, path) for one in schema["anyOf"]]
        return [] if [] in found else [f"{path}: {value!r} fits none of {schema['anyOf']}"]
    if "enum" in schema and value not in schema["enum"]:
        return [f"{path}: {value!r} is not in {schema['enum']}"]
    types = {"string": str, "boolean": bool, "null": type(None), "array": list, "object": dict}
    wanted = schema.get("type")
    if wanted == "integer" or wanted == "number":
        fits = isinstance(value, int if wanted == "integer" else int | float) and not isinstance(value, bool)
    else:
        fits = wanted is None or isinstance(value, types[wanted])
    if not fits:
        return [f"{path}: {value!r} is no {wanted}"]
    if schema.get("format") == "date-time" and datetime.fromisoformat(value).tzinfo is None:
        return [f"{path}: {value!r} has no time zone"]
    found = []
    if isinstance(value, dict):
        properties, others = schema.get("properties", {}), schema.get("additionalProperties", True)
        found += [f"{path}: {name} is missing" for name in schema.get("required", ()) if name not in value]
        for name, one in value.items():
            if name not in properties and others is False:
                found.append(f"{path}: {name} is not declared")
            below = properties.get(name, others if isinstance(others, dict) else {})
            found += errors(below, one, schemas, f"{path}.{name}")
    if isinstance(value, list):
        for place, one in enumerate(value):
            found += errors(schema.get("items", {}), one, schemas, f"{path}[{place}]")
    return found


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "integer"}, "1"),
        ({"type": "integer"}, True),
        ({"type": "object", "required": ["a"]}, {}),
        ({"type": "object", "properties": {}, "additionalProperties": False}, {"a": 1}),
        ({"type": "array", "items": {"type": "string"}}, [1]),
        ({"anyOf": [{"type": "null"}, {"type": "string"}]}, 1),
        ({"enum": ["a"]}, "b"),
        ({"type": "string", "format": "date-time"}, "2026-01-01T00:00:00"),
        ({"type": "object", "additionalProperties": {"type": "string"}}, {"a": 1}),
    ],
)
def test_the_comparison_with_a_schema_finds_differences(schema, value):
    assert errors(schema, value, {})


def operations(document, method):
    return {path: item[method] for path, item in document["paths"].items() if method in item}


def test_every_response_of_a_get_fits_its_schema(program, document):
    schemas = document["components"]["schemas"]
    for path, operation in operations(document, "get").items():
        body = program.json(path, **PARAMETERS.get(path, {}))
        schema = operation["responses"]["200"]["content"]["application/json"]["schema"]
        assert errors(schema, body, schemas) == [], path
        declared = {it["name"] for it in operation.get("parameters", ())}
        assert set(PARAMETERS.get(path, ())) <= declared, path


def test_the_tested_responses_are_not_empty(program):
    """
    Empty lists would fit any schema.
    """
    alerts = program.json("/api/alerts")
    assert [it["name"] for it in alerts["alerts"]][:1] == ["always"]
    assert "never_seen" in [it["rule"] for it in alerts["inactive_rules"]]
    assert [it["name"] for it in alerts["channels"]] == ["hook"]
    why = program.json("/api/alerts/why", alert="always")
    assert why["rules"][0]["comparisons"][0]["value"]["series"]
    assert eventually(lambda: program.json("/api/alerts/why", alert="always")["alerts"][0]["stages"])
    schedule = program.json("/api/oncall", at="2026-08-10T18:00:00+09:00", days="3")
    assert schedule["final"] and schedule["layers"][0]["shifts"] and schedule["gaps"] and schedule["overrides"]
    assert program.json("/api/status")["targets"]
    assert program.json("/api/silences")["silences"]
    assert program.json("/api/tokens")["tokens"]
    gauges = eventually(
        lambda: program.json("/api/boards/data", name="toban", **{"from": "now-5m"})["panels"][0]["series"]
    )
    assert gauges[0]["values"][-1] == 1


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/api/silences", {"matchers": ['a="b"']}, 400),
        ("POST", "/api/silences", {"matchers": ['a="b"'], "comment": "x", "by": "ann"}, 400),
        ("POST", "/api/silences/expire", {"id": "nope"}, 404),
        ("POST", "/api/alerts/acknowledge", {"alert": "nope"}, 404),
        ("POST", "/api/alerts/test", {"channel": "nope"}, 404),
        ("POST", "/api/quarantine/forget", {"id": 7}, 404),
        ("POST", "/api/users", {"name": "a b", "role": "admin"}, 400),
        ("POST", "/api/users", {"name": "ann", "role": "admin", "password": "short"}, 400),
        ("POST", "/api/users", {"name": "ann", "role": "emperor"}, 400),
        ("POST", "/api/users/disable", {"name": "nope"}, 404),
        ("POST", "/api/tokens", {"name": "grafana", "scopes": []}, 400),
        ("POST", "/api/tokens", {"name": "grafana", "scopes": ["read"], "expires": "soon"}, 400),
        ("POST", "/api/tokens/revoke", {"id": "nope"}, 404),
        ("POST", "/api/sessions/end", {"id": "nope"}, 404),
        ("POST", "/api/events", {"type": "nope"}, 422),
        ("POST", "/api/status", {}, 405),
        ("POST", "/api/oncall/take", {"id": 7, "by": "ann"}, 404),
        ("POST", "/api/oncall/cover", {"person": "ann", "by": "ann"}, 400),
        ("GET", "/api/oncall?at=tomorrow", None, 400),
        ("GET", "/api/oncall?at=9999-12-31T00:00:00", None, 400),
        ("GET", "/api/alerts/why?alert=nope", None, 404),
        ("GET", "/api/logs?limit=0", None, 400),
        ("GET", "/api/boards/board?name=nope", None, 404),
        ("GET", "/api/boards/data?name=toban&from=yesterday", None, 400),
        ("GET", "/api/boards/data?name=toban&points=1000000", None, 400),
        ("GET", "/api/boards/data?name=toban&variables=%5B", None, 400),
        ("GET", "/api/boards/data?name=toban&variables=%7B%22nope%22%3A%5B%22a%22%5D%7D", None, 400),
        ("GET", "/api/nope", None, 404),
    ],
)
def test_every_error_is_a_problem(program, document, method, path, body, status):
    """
    RFC 9457, with the field that is wrong where it is one.
    """
    if method == "GET":
        code, text = program.get(path)
    else:
        code, text = program.post(path, json.dumps(body).encode())
    problem = json.loads(text)
    schemas = document["components"]["schemas"]
    assert (code, problem["status"]) == (status, status)
    assert errors(schemas["Problem"], problem, schemas) == []
    assert problem["detail"]
    assert bool(problem["errors"]) == (status in {400, 422})


def test_every_route_of_the_own_api_is_documented(document):
    """
    With its summary, its models, and who may use it.
    """
    own = [it for it in all_routes() if it.path.startswith("/api/") and not it.path.startswith(COMPATIBLE)]
    assert {(it.path, method.lower()) for it in own for method in it.methods - {"HEAD"}} == {
        (path, method) for path, item in document["paths"].items() for method in item
    }
    identifiers = [one["operationId"] for item in document["paths"].values() for one in item.values()]
    assert len(identifiers) == len(set(identifiers))
    for route in own:
        for method in route.methods - {"HEAD"}:
            operation = document["paths"][route.path][method.lower()]
            assert operation["summary"]
            assert operation["x-toban-permission"] == route.permission.value
            assert operation["responses"]["200"]["content"]["application/json"]["schema"]


def test_every_reference_leads_to_a_schema(document):
    schemas = document["components"]["schemas"]

    def references(value):
        if isinstance(value, dict):
            yield from [value["$ref"]] if "$ref" in value else ()
            for one in value.values():
                yield from references(one)
        elif isinstance(value, list):
            for one in value:
                yield from references(one)

    assert {it.rpartition("/")[2] for it in references(document)} <= set(schemas)
    assert document["openapi"] == "3.1.0"
