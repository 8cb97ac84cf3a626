"""Requests are joined with their operations and errors, in any order of spans and bodies."""

import itertools

import pytest

from tests.captured_telemetry import Ingest
from tests.telemetry import CORE, GRAPHQL, IOREDIS, PG, operation, request, span, traces
from toban.ingest.metric_families import UNJOINED
from toban.ingest.trace_buffer import EVICT_SECONDS, MAX_TRACES

ERRORS, OPERATIONS = "vendure_graphql_errors_total", "vendure_graphql_duration_seconds"
REQUESTS = "vendure_api_requests_total"


async def pushed(ingest: Ingest, *bodies: bytes) -> Ingest:
    for body in bodies:
        response = await ingest.push("x.traces.json", body)
        assert (response.status, response.body) == (200, b"{}")
    return ingest


def one(family: str, **labels: str) -> str:
    inside = ",".join(f'{name}="{value}"' for name, value in sorted(labels.items()))
    return f"{family}{'_count' if family.endswith('seconds') else ''}{{{inside}}}"


PARTS = [
    operation("Add", took=40),
    span("graphql.resolve addItem", GRAPHQL, at=1, took=30, id="00000000000000aa"),
    span("OrderService.add", CORE, at=2, took=20, parent="00000000000000aa", failed="ENTITY_NOT_FOUND"),
    request(took=50),
]


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
async def test_the_order_of_spans_does_not_matter(order):
    """
    Each in a separate body: one request, one operation with the request's duration, one error.
    """
    ingest = await pushed(Ingest(), *(traces(PARTS[place]) for place in order))
    found = ingest.values(ERRORS, OPERATIONS, REQUESTS)
    error = next(key for key in found if key.startswith(ERRORS))

    assert found.pop(error) == 1
    assert 'code="ENTITY_NOT_FOUND",fault="client"' in error
    assert found == {
        one(OPERATIONS, operation="Add"): 1,
        one(REQUESTS, endpoint="/shop-api", method="POST", status="200"): 1,
    }


async def test_requests_of_one_trace_are_distinguished():
    """
    A page of the storefront sends three at once: each operation gets the duration of its own request.
    """
    parts = [
        operation("B", at=6, took=40),
        request(at=2, took=48),
        operation("A", at=5, took=90),
        request(at=0, took=100),
        operation("C", at=112, took=20),
        request(at=110, took=25),
    ]
    for bodies in ([traces(*parts)], [traces(part) for part in parts]):
        ingest = await pushed(Ingest(), *bodies)
        sums = {
            labels["operation"]: values[-2]
            for family, labels, values in ingest.pushed.series()
            if family.name == OPERATIONS
        }
        assert sums == pytest.approx({"A": 0.1, "B": 0.048, "C": 0.025})


async def test_an_enriched_server_span_takes_precedence():
    """
    With the spans below it is one operation and one error.
    """
    enriched = request(
        took=50,
        graphql__operation__type="query",
        graphql__operation__name="Add",
        graphql__error__codes=["FORBIDDEN", "OTHER_CODE"],
        vendure__error_result__codes=["ORDER_LIMIT_ERROR"],
    )
    for order in itertools.permutations([*PARTS[:3], enriched]):
        ingest = await pushed(Ingest(), *(traces(part) for part in order))
        assert ingest.values(ERRORS, OPERATIONS, "vendure_error_results_total") == {
            one(ERRORS, operation="Add", code="FORBIDDEN", fault="client"): 1,
            one(OPERATIONS, operation="Add"): 1,
            one("vendure_error_results_total", operation="Add", code="ORDER_LIMIT_ERROR"): 1,
        }
        ingest.clock.advance(EVICT_SECONDS + 1)
        await ingest.receiver._expire()
        assert ingest.pushed.value(UNJOINED) == 0


async def test_an_enriched_request_without_errors_had_none():
    """
    A failed method whose caller handled the error is no failed request.
    """
    enriched = request(took=50, graphql__operation__type="query", graphql__operation__name="Add")
    ingest = await pushed(Ingest(), traces(*PARTS[:3], enriched))

    assert ingest.values(ERRORS) == {}


async def test_several_fields_that_fail_are_one_failed_request():
    """
    With the first specific code.
    """
    fields = [
        span(f"graphql.resolve f{number}", GRAPHQL, at=1, took=3, failed=code)
        for number, code in enumerate(["Error", "ECONNRESET"])
    ]
    ingest = await pushed(Ingest(), traces(*fields, operation("Two"), request()))

    assert ingest.values(ERRORS) == {one(ERRORS, operation="Two", code="ECONNRESET", fault="shop"): 1}


async def test_a_nested_failure_is_no_failed_request():
    """
    Only that of a root field or a method that it called: others may be expected.
    """
    below = span("ProductService.find", CORE, parent="00000000000000bb", at=1, took=2, failed="ENTITY_NOT_FOUND")
    nested = span("graphql.resolve product.price", GRAPHQL, at=1, took=2, failed="Error")
    ingest = await pushed(Ingest(), traces(below, nested, operation(), request()))
    ingest.clock.advance(EVICT_SECONDS + 1)
    await ingest.receiver._expire()

    assert ingest.values(ERRORS) == {}


async def test_an_error_is_counted_although_its_request_hangs():
    """
    Redis is down and the request never ends: there is no SERVER span.
    """
    ingest = await pushed(Ingest(), traces(*PARTS[:3]))
    assert ingest.values(ERRORS) == {}

    ingest.clock.advance(EVICT_SECONDS + 1)
    await ingest.receiver._expire()
    assert ingest.values(ERRORS) == {one(ERRORS, operation="Add", code="ENTITY_NOT_FOUND", fault="client"): 1}
    assert ingest.pushed.value(UNJOINED) == 1


async def test_a_duplicate_span_is_counted_once():
    """
    Also in a different body.
    """
    sent = request()
    ingest = await pushed(Ingest(), traces(sent), traces(sent, operation()))

    assert ingest.values(REQUESTS, OPERATIONS) == {
        one(REQUESTS, endpoint="/shop-api", method="POST", status="200"): 1,
        one(OPERATIONS, operation="Search"): 1,
    }


@pytest.mark.parametrize("agent", ["http__user_agent", "user_agent__original"])
async def test_tobans_own_requests_are_counted_separately(agent):
    """
    With their operations, errors and product views; in any order of spans.
    """
    own = request(
        took=50,
        events=[("vendure.product_view", {"product.id": "7"})],
        **{agent: "toban/0.1"},
        graphql__error__codes=["FORBIDDEN"],
    )
    for order in itertools.permutations([*PARTS[:3], own]):
        ingest = await pushed(Ingest(), *(traces(part) for part in order))
        found = {
            key for key in ingest.values() if not key.startswith(("vendure_service", "vendure_spans", "vendure_tele"))
        }
        assert found == {'vendure_probe_requests_total{kind="toban"}'}


async def test_product_views_are_counted_by_product():
    """
    From the server span's events.
    """
    seen = [("vendure.product_view", {"product.id": number}) for number in ("7", "8", "7")]
    ingest = await pushed(Ingest(), traces(request(events=seen)))

    assert ingest.values("vendure_product_views_total") == {
        'vendure_product_views_total{productId="7"}': 2,
        'vendure_product_views_total{productId="8"}': 1,
    }


async def test_labels_from_outside_are_bounded():
    """
    Requests without route, unknown methods and invalid operation names share one value each.
    """
    odd = request(route="", http__method="DROP TABLE", http__target="/x?password=1")
    ingest = await pushed(Ingest(), traces(odd, operation("no name, but a text")))

    assert ingest.values(REQUESTS, OPERATIONS) == {
        one(REQUESTS, endpoint="(none)", method="_OTHER", status="200"): 1,
        one(OPERATIONS, operation="(anonymous)"): 1,
    }


async def test_a_slow_request_becomes_a_line():
    """
    With operation, duration and endpoint, its service and its trace.
    """
    ingest = await pushed(Ingest(), traces(operation("Slow", took=2000), request(took=2500, trace=1)))
    [line] = ingest.lines.lines

    assert line.message == "Slow query detected: Slow took 2500ms"
    assert line.facts == {"operation": "Slow", "duration": 2500, "endpoint": "/shop-api"}
    assert (line.service, line.trace_id) == ("vendure", f"{1:032x}")


async def test_only_the_shops_servers_count_as_the_shop():
    """
    The storefront has its own metrics; other services and workers have none.
    """
    for service in ("vendure-worker", "somebody", "storefront"):
        ingest = await pushed(Ingest(), traces(request(took=50), operation(), service=service))
        assert ingest.values(REQUESTS, OPERATIONS) == {}
    assert ingest.values("storefront_requests_total", "storefront_request_duration_seconds") == {
        one("storefront_requests_total", endpoint="/shop-api", method="POST", status="200"): 1,
        one("storefront_request_duration_seconds", endpoint="/shop-api", method="POST", status="200"): 1,
    }


async def test_the_trace_buffer_is_bounded():
    """
    By number and by age, also for traces that never end.
    """
    ingest = Ingest()
    spans = [operation("A", trace=number) for number in range(MAX_TRACES + 500)]
    for start in range(0, len(spans), 500):
        await pushed(ingest, traces(*spans[start : start + 500]))
    await ingest.receiver._expire()
    remembered = ingest.receiver._span_metrics.requests._traces
    assert len(remembered) == MAX_TRACES
    assert ingest.pushed.value(UNJOINED) == 500

    await pushed(ingest, traces(*(operation("B", trace=1, at=number) for number in range(300))))
    assert ingest.pushed.value(UNJOINED) > 700

    ingest.clock.advance(EVICT_SECONDS + 1)
    await ingest.receiver._expire()
    assert len(remembered) == 0


POOL_ID = "00000000000000cc"
INNER = span("pg.connect", PG, parent=POOL_ID, failed="ECONNREFUSED")
OUTER = span("pg-pool.connect", PG, id=POOL_ID, failed="ECONNREFUSED")


def failing(scope: str, *spans: tuple[str, str]) -> list[dict[str, object]]:
    return [span(name, scope, failed=error) for name, error in spans]


@pytest.mark.parametrize(
    ("spans", "system", "many"),
    [
        ([INNER, OUTER], "postgresql", 1),
        ([OUTER, INNER], "postgresql", 1),
        (failing(PG, ("pg-pool.connect", "Error"), ("pg-pool.connect", "Error")), "postgresql", 2),
        (failing(PG, ("pg.connect", "Error"), ("pg.connect", "Error")), "postgresql", 2),
        (failing(PG, ("pg.query:SELECT x", "ECONNRESET"), ("pg.query:SELECT x", "23505")), "postgresql", 1),
        (
            failing(IOREDIS, ("connect", "Error"), ("get", "MaxRetriesPerRequestError"), ("get", "ReplyError")),
            "redis",
            2,
        ),
    ],
)
async def test_a_failed_connection_is_counted_once(spans, system, many):
    """
    The pool's span contains the connection's; other errors of statements do not count.
    """
    ingest = await pushed(Ingest(), traces(*spans))

    assert ingest.values("vendure_connection_errors_total") == {
        one("vendure_connection_errors_total", system=system): many
    }
