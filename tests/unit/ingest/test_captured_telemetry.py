"""Telemetry captured from a real shop is decoded and counted."""

import pytest

from tests.captured_telemetry import ENCODINGS, Ingest, files
from toban.core.log_line import LogLevel
from toban.ingest.metric_families import ITEMS, REJECTED
from toban.ingest.otlp_model import OtlpSignal
from toban.shop.settings import Services


@pytest.mark.parametrize("path", files(), ids=lambda path: path.name)
async def test_every_captured_body_is_accepted(path):
    """
    In protobuf and in JavaScript's JSON; nothing is rejected.
    """
    ingest = Ingest()
    await ingest.push_all(path.name)

    signal = next(signal for signal in OtlpSignal if f".{signal.value}" in path.name)
    assert ingest.meters.value(ITEMS, signal=signal.value) > 0
    assert not [family for family, _, _ in ingest.meters.series() if family is REJECTED]
    records = [line for line in ingest.lines.lines if line.context != "GraphQLError"]
    assert len(records) == (ingest.meters.value(ITEMS, signal="logs"))


async def test_a_failed_graphql_request_is_logged_once_with_its_operation():
    """
    An error of the shop's own is an error, one of its clients a warning.
    """
    ingest = Ingest()
    await ingest.push_all("pg-down.traces.pb", "enriched-resolver-error.traces.pb")
    own, clients = ingest.lines.lines
    assert (own.level, own.context, own.service) == (LogLevel.ERROR, "GraphQLError", "vendure")
    assert own.message == "GraphQL Error: connect ECONNREFUSED 127.0.0.1:55432"
    assert own.facts == {"operation": "P", "path": "products", "code": "ECONNREFUSED", "fault": "shop"}
    assert len(own.trace_id) == 32
    assert (clients.level, clients.facts["operation"]) == (LogLevel.WARN, "AddMissing")


async def test_a_shop_that_reports_failed_requests_by_itself_gets_no_lines():
    ingest = Ingest(services=Services(graphql_errors=False))
    await ingest.push_all("graphql-resolver-error.traces.json")
    assert ingest.lines.lines == []


REQUEST = 'vendure_api_requests_total{endpoint="/shop-api",method="POST",status="%d"}'
OPERATION = 'vendure_graphql_duration_seconds_count{operation="%s"}'
ERROR = 'vendure_graphql_errors_total{code="%s",fault="%s",operation="%s"}'
RESULT = 'vendure_error_results_total{code="%s",operation="%s"}'
REQUEST_METRICS = (
    "vendure_api_requests_total",
    "vendure_graphql_duration_seconds",
    "vendure_graphql_errors_total",
    "vendure_error_results_total",
    "vendure_connection_errors_total",
    "vendure_probe_requests_total",
)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["search.traces"], [REQUEST % 200, OPERATION % "Search"]),
        (["product-detail.traces"], [REQUEST % 200, OPERATION % "ProductDetail"]),
        (["newsemconv-product-detail.traces"], [REQUEST % 200, OPERATION % "ProductDetail"]),
        (["add-item.traces"], [REQUEST % 200, OPERATION % "AddItem"]),
        (["redis-newsemconv-add-item.traces"], [REQUEST % 200, OPERATION % "AddItem"]),
        (["pay-declined.traces"], [REQUEST % 200, OPERATION % "Pay"]),
        (["pay-error.traces"], [REQUEST % 200, OPERATION % "Pay"]),
        (["pay-settled.traces"], [REQUEST % 200, OPERATION % "Pay"]),
        (["login-failure.traces", "login-failure.traces.2"], [REQUEST % 200, OPERATION % "Login"]),
        (["forbidden.traces"], [REQUEST % 200, OPERATION % "Me"]),
        (["traceparent.traces"], [REQUEST % 200, OPERATION % "ActiveCustomer"]),
        (["health.traces"], ['vendure_probe_requests_total{kind="health"}']),
        (["not-found-404.traces"], ['vendure_api_requests_total{endpoint="/",method="GET",status="404"}']),
        (["worker-idle.traces"], []),
        (["bullmq-evalsha-leak.traces"], []),
        (
            ["graphql-resolver-error.traces"],
            [REQUEST % 200, OPERATION % "AddMissing", ERROR % ("ENTITY_NOT_FOUND", "client", "AddMissing")],
        ),
        (
            ["enriched-resolver-error.traces"],
            [REQUEST % 200, OPERATION % "AddMissing", ERROR % ("ENTITY_NOT_FOUND", "client", "AddMissing")],
        ),
        (
            ["graphql-validation-error.traces"],
            [REQUEST % 400, ERROR % ("GRAPHQL_VALIDATION_FAILED", "client", "(anonymous)")],
        ),
        (
            ["enriched-validation-error.traces"],
            [REQUEST % 400, ERROR % ("GRAPHQL_VALIDATION_FAILED", "client", "(anonymous)")],
        ),
        (["graphql-parse-error.traces"], [REQUEST % 400, ERROR % ("GRAPHQL_PARSE_FAILED", "client", "(anonymous)")]),
        (
            ["enriched-error-result.traces"],
            [REQUEST % 200, OPERATION % "Many", RESULT % ("ORDER_LIMIT_ERROR", "Many")],
        ),
        (
            ["pg-down.traces"],
            [
                REQUEST % 200,
                OPERATION % "P",
                ERROR % ("ECONNREFUSED", "shop", "P"),
                'vendure_connection_errors_total{system="postgresql"}',
            ],
        ),
    ],
    ids=lambda value: value[0] if value and ".traces" in value[0] else "",
)
async def test_each_captured_step_is_counted(names, expected):
    """
    One request, one operation, at most one error; in any encoding and order.
    """
    for encoding in ENCODINGS:
        for ordered in (names, names[::-1]):
            ingest = Ingest()
            found = [f"{name}{encoding}" for name in ordered]
            if not all(any(path.name == name for path in files()) for name in found):
                continue
            await ingest.push_all(*found)
            ingest.clock.advance(100)
            await ingest.receiver._expire()

            assert ingest.values(*REQUEST_METRICS) == dict.fromkeys(expected, 1)


async def test_a_requests_duration_is_that_of_its_server_span():
    """
    The operation's too: the customer waits for the whole request.
    """
    ingest = Ingest()
    await ingest.push_all("login-failure.traces.pb", "login-failure.traces.2.pb")
    sums = {family.name: values[-2] for family, _, values in ingest.pushed.series() if family.buckets}

    assert sums["vendure_graphql_duration_seconds"] == pytest.approx(0.572579451)
    assert sums["vendure_api_duration_seconds"] == pytest.approx(0.572579451)
    assert sums["vendure_graphql_latency_seconds"] == pytest.approx(0.572579451)


async def test_backend_spans_are_counted():
    """
    Statements by their first word, Redis commands, Vendure's methods and events: of server and worker.
    """
    ingest = Ingest()
    await ingest.push_all("redis-newsemconv-add-item.traces.pb", "worker-idle.traces.pb", "pay-settled.traces.pb")
    found = ingest.values()

    assert found['vendure_redis_commands_total{command="get"}'] == 2
    assert found['vendure_redis_commands_total{command="sadd"}'] == 2
    assert found['vendure_events_total{event="OrderPlacedEvent"}'] == 1
    assert found['vendure_events_total{event="PaymentStateTransitionEvent"}'] == 1
    assert found['vendure_spans_total{role="worker"}'] == 12
    assert found['vendure_service_duration_seconds_count{service_method="EventBus.publish"}'] > 5
    statements = {key: value for key, value in found.items() if key.startswith("postgres_query_duration")}
    assert sum(statements.values()) > 100
    assert set(statements) >= {
        'postgres_query_duration_seconds_count{operation="SELECT"}',
        'postgres_query_duration_seconds_count{operation="INSERT"}',
        'postgres_query_duration_seconds_count{operation="COMMIT"}',
    }


async def test_both_encodings_have_the_same_metrics():
    """
    The same steps, in protobuf and in JSON.
    """
    first, second = Ingest(), Ingest()
    steps = ["pay-settled.traces", "graphql-resolver-error.traces", "graphql-resolver-error.logs", "server-boot.logs"]
    await first.push_all(*(f"{step}.pb" for step in steps))
    await second.push_all(*(f"{step}.json" for step in steps))
    kinds = ("vendure_events_total", "vendure_api_requests_total", "vendure_graphql_errors_total")

    assert first.values(*kinds) == second.values(*kinds)
    assert {(line.level, line.context) for line in first.lines.lines} <= {
        (line.level, line.context) for line in second.lines.lines
    }


async def test_nodes_metrics_have_prometheus_names():
    """
    By process; durations in seconds, memory in bytes; old and new conventions give the same series.
    """
    old, new = Ingest(), Ingest()
    await old.push_all("server.metrics.json")
    await new.push_all("server.metrics.pb")

    for ingest in (old, new):
        names = {family.name for family, _, _ in ingest.pushed.series()}
        assert names >= {
            "nodejs_eventloop_utilization_ratio",
            "nodejs_eventloop_delay_p99_seconds",
            "nodejs_eventloop_time_seconds_total",
            "v8js_memory_heap_used_bytes",
            "v8js_memory_heap_limit_bytes",
            "v8js_gc_duration_seconds",
            "db_client_operation_duration_seconds",
            "http_server_request_duration_seconds",
        }
        assert not [name for name in names if "http_server_duration" in name or "milliseconds" in name]
        served = [
            labels
            for family, labels, _ in ingest.pushed.series()
            if family.name == "http_server_request_duration_seconds"
        ]
        assert {(labels["http_route"], labels["http_request_method"]) for labels in served} >= {("/shop-api", "POST")}
        assert {(labels["job"], labels["instance"][:3]) for labels in served} == {("vendure", "vm:")}
    total = {
        labels["http_route"]: values
        for family, labels, values in old.pushed.series()
        if family.name == "http_server_request_duration_seconds"
    }
    assert total["/health"][-2] == pytest.approx(0.017073711)
    assert total["/health"][-1] == 1


async def test_the_shops_connection_pool_is_measured():
    """
    Total, idle and waiting, summed over the servers.
    """
    ingest = Ingest()
    await ingest.push_all("server.metrics.json")

    assert ingest.values("postgres_connection_pool_size") == {
        'postgres_connection_pool_size{state="total"}': 1,
        'postgres_connection_pool_size{state="idle"}': 0,
        'postgres_connection_pool_size{state="waiting"}': 0,
    }


async def test_log_records_become_lines():
    """
    With level, context and trace.
    """
    ingest = Ingest()
    await ingest.push_all("pg-down.logs.pb", "worker-job-failed.logs.pb")
    lines = ingest.lines.lines

    assert [(line.level, line.context, line.service) for line in lines] == [
        (LogLevel.ERROR, "", "vendure"),
        (LogLevel.ERROR, "ExceptionsHandler", "vendure"),
        (LogLevel.DEBUG, "", "vendure-worker"),
        (LogLevel.WARN, "", "vendure-worker"),
    ]
    assert lines[0].message == "connect ECONNREFUSED 127.0.0.1:55432"
    assert lines[0].trace_id.startswith("58338132")
    assert lines[3].message == "Job 145 [apply-collection-filters] failed and will not retry."
