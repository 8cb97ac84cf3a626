"""Requests are joined with what ran in them, in whatever order and however many bodies it comes."""

import itertools

import pytest

from tests.captured import Intake
from tests.telemetry import CORE, GRAPHQL, IOREDIS, PG, operation, request, span, traces
from toban.ingest.metric_families import UNJOINED
from toban.ingest.trace_buffer import MOST, PATIENCE

ERRORS, OPERATIONS = "vendure_graphql_errors_total", "vendure_graphql_duration_seconds"
REQUESTS = "vendure_api_requests_total"


async def told(intake: Intake, *bodies: bytes) -> Intake:
    for body in bodies:
        answer = await intake.push("x.traces.json", body)
        assert (answer.status, answer.body) == (200, b"{}")
    return intake


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
async def test_the_order_in_which_parts_come_does_not_matter(order):
    """
    Each part in a body of its own: one request, one operation with the request's length, one error.
    """
    intake = await told(Intake(), *(traces(PARTS[place]) for place in order))
    found = intake.numbers(ERRORS, OPERATIONS, REQUESTS)
    error = next(key for key in found if key.startswith(ERRORS))

    assert found.pop(error) == 1
    assert 'code="ENTITY_NOT_FOUND",fault="client"' in error
    assert found == {
        one(OPERATIONS, operation="Add"): 1,
        one(REQUESTS, endpoint="/shop-api", method="POST", status="200"): 1,
    }


async def test_requests_of_one_trace_are_told_apart():
    """
    A page of the storefront asks three things at once: each operation gets the length of its own request.
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
        intake = await told(Intake(), *bodies)
        sums = {
            labels["operation"]: values[-2]
            for family, labels, values in intake.pushed.series()
            if family.name == OPERATIONS
        }
        assert sums == pytest.approx({"A": 0.1, "B": 0.048, "C": 0.025})


async def test_what_the_server_span_says_itself_is_believed():
    """
    The enrichment and the spans below say the same: it is one operation and one error.
    """
    enriched = request(
        took=50,
        graphql__operation__type="query",
        graphql__operation__name="Add",
        graphql__error__codes=["FORBIDDEN", "OTHER_CODE"],
        vendure__error_result__codes=["ORDER_LIMIT_ERROR"],
    )
    for order in itertools.permutations([*PARTS[:3], enriched]):
        intake = await told(Intake(), *(traces(part) for part in order))
        assert intake.numbers(ERRORS, OPERATIONS, "vendure_error_results_total") == {
            one(ERRORS, operation="Add", code="FORBIDDEN", fault="client"): 1,
            one(OPERATIONS, operation="Add"): 1,
            one("vendure_error_results_total", operation="Add", code="ORDER_LIMIT_ERROR"): 1,
        }
        intake.clock.advance(PATIENCE + 1)
        await intake.taking._tidy()
        assert intake.pushed.value(UNJOINED) == 0


async def test_an_enriched_request_without_errors_had_none():
    """
    A service that failed and whose caller knew what to do is nobody's trouble.
    """
    enriched = request(took=50, graphql__operation__type="query", graphql__operation__name="Add")
    intake = await told(Intake(), traces(*PARTS[:3], enriched))

    assert intake.numbers(ERRORS) == {}


async def test_several_fields_that_fail_are_one_failed_request():
    """
    The first code that says something is the one.
    """
    fields = [
        span(f"graphql.resolve f{number}", GRAPHQL, at=1, took=3, failed=code)
        for number, code in enumerate(["Error", "ECONNRESET"])
    ]
    intake = await told(Intake(), traces(*fields, operation("Two"), request()))

    assert intake.numbers(ERRORS) == {one(ERRORS, operation="Two", code="ECONNRESET", fault="shop"): 1}


async def test_a_failure_deep_below_is_no_failed_request():
    """
    Only what a field of the operation itself called, or such a field: others may have been expected.
    """
    below = span("ProductService.find", CORE, parent="00000000000000bb", at=1, took=2, failed="ENTITY_NOT_FOUND")
    nested = span("graphql.resolve product.price", GRAPHQL, at=1, took=2, failed="Error")
    intake = await told(Intake(), traces(below, nested, operation(), request()))
    intake.clock.advance(PATIENCE + 1)
    await intake.taking._tidy()

    assert intake.numbers(ERRORS) == {}


async def test_an_error_counts_although_its_request_hangs():
    """
    Redis is down and the customer waits without end: there is no SERVER span, and the error is told all the same.
    """
    intake = await told(Intake(), traces(*PARTS[:3]))
    assert intake.numbers(ERRORS) == {}

    intake.clock.advance(PATIENCE + 1)
    await intake.taking._tidy()
    assert intake.numbers(ERRORS) == {one(ERRORS, operation="Add", code="ENTITY_NOT_FOUND", fault="client"): 1}
    assert intake.pushed.value(UNJOINED) == 1


async def test_a_span_that_was_sent_again_counts_once():
    """
    In another body, which looks new.
    """
    sent = request()
    intake = await told(Intake(), traces(sent), traces(sent, operation()))

    assert intake.numbers(REQUESTS, OPERATIONS) == {
        one(REQUESTS, endpoint="/shop-api", method="POST", status="200"): 1,
        one(OPERATIONS, operation="Search"): 1,
    }


@pytest.mark.parametrize("agent", ["http__user_agent", "user_agent__original"])
async def test_tobans_own_questions_are_not_the_shops(agent):
    """
    Neither the request, its operation, its error nor the product it looked at; in whichever order they come.
    """
    own = request(
        took=50,
        events=[("vendure.product_view", {"product.id": "7"})],
        **{agent: "toban/0.1"},
        graphql__error__codes=["FORBIDDEN"],
    )
    for order in itertools.permutations([*PARTS[:3], own]):
        intake = await told(Intake(), *(traces(part) for part in order))
        found = {
            key for key in intake.numbers() if not key.startswith(("vendure_service", "vendure_spans", "vendure_tele"))
        }
        assert found == {'vendure_probe_requests_total{kind="toban"}'}


async def test_product_views_are_counted_by_product():
    """
    Of the server span's own events.
    """
    seen = [("vendure.product_view", {"product.id": number}) for number in ("7", "8", "7")]
    intake = await told(Intake(), traces(request(events=seen)))

    assert intake.numbers("vendure_product_views_total") == {
        'vendure_product_views_total{productId="7"}': 2,
        'vendure_product_views_total{productId="8"}': 1,
    }


async def test_names_from_outside_make_no_labels_without_end():
    """
    A path is no route, a method is one of HTTP's, an operation is a name; the rest is called so.
    """
    odd = request(route="", http__method="DROP TABLE", http__target="/x?password=1")
    intake = await told(Intake(), traces(odd, operation("no name, but a text")))

    assert intake.numbers(REQUESTS, OPERATIONS) == {
        one(REQUESTS, endpoint="(none)", method="_OTHER", status="200"): 1,
        one(OPERATIONS, operation="(anonymous)"): 1,
    }


async def test_a_slow_request_becomes_a_line():
    """
    In the original's words, with what is needed to find it.
    """
    intake = await told(Intake(), traces(operation("Slow", took=2000), request(took=2500, trace=1)))
    [line] = intake.lines.lines

    assert line.message == "Slow query detected: Slow took 2500ms"
    assert line.facts == {"operation": "Slow", "duration": 2500, "endpoint": "/shop-api", "traceId": f"{1:032x}"}


async def test_only_the_shops_servers_fill_its_numbers():
    """
    The storefront's requests are its own, strangers' are nobody's, a worker answers none.
    """
    for service in ("vendure-worker", "somebody", "storefront"):
        intake = await told(Intake(), traces(request(took=50), operation(), service=service))
        assert intake.numbers(REQUESTS, OPERATIONS) == {}
    assert intake.numbers("storefront_requests_total", "storefront_request_duration_seconds") == {
        one("storefront_requests_total", endpoint="/shop-api", method="POST", status="200"): 1,
        one("storefront_request_duration_seconds", endpoint="/shop-api", method="POST", status="200"): 1,
    }


async def test_what_is_remembered_is_bounded():
    """
    By number and by age; traces that never end included.
    """
    intake = Intake()
    spans = [operation("A", trace=number) for number in range(MOST + 500)]
    for start in range(0, len(spans), 500):
        await told(intake, traces(*spans[start : start + 500]))
    await intake.taking._tidy()
    remembered = intake.taking._deriving.requests._traces
    assert len(remembered) == MOST
    assert intake.pushed.value(UNJOINED) == 500

    await told(intake, traces(*(operation("B", trace=1, at=number) for number in range(300))))
    assert intake.pushed.value(UNJOINED) > 700

    intake.clock.advance(PATIENCE + 1)
    await intake.taking._tidy()
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
async def test_an_attempt_to_connect_that_failed_counts_once(spans, system, many):
    """
    The pool's span holds the connection's; a statement that fails for a reason of its own is none.
    """
    intake = await told(Intake(), traces(*spans))

    assert intake.numbers("vendure_connection_errors_total") == {
        one("vendure_connection_errors_total", system=system): many
    }
