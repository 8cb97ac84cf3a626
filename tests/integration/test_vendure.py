"""A real Vendure: what its telemetry hides, and what the files of `integrations/vendure` add."""

import json
import re
import subprocess
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
import pytest

from tests.program import eventually
from tests.receiver import Receiver, Span, receiving
from tests.vendure_shop import SLOW, ShopProcesses, ShopVariant, place_orders, run_vendure
from toban.demo.ground_truth import GroundTruth
from toban.demo.install import STORE

pytestmark = SLOW

TOKYO, NEW_YORK = ZoneInfo("Asia/Tokyo"), ZoneInfo("America/New_York")
TOBAN_TOKEN = "t0ken-of-toban"
OFTEN = {"OTEL_METRIC_EXPORT_INTERVAL": "1000"}


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with receiving() as it:
        yield it


@pytest.fixture(scope="module")
def shop(receiver: Receiver) -> Iterator[ShopProcesses]:
    """A shop with both files, whose processes stand in Tokyo and whose database stands in New York."""
    mode = ShopVariant(telemetry="enriched", zone="Asia/Tokyo", database_zone="America/New_York")
    with run_vendure(mode, receiver.url, TOBAN_TOKEN=TOBAN_TOKEN, **OFTEN) as it:
        yield it


@pytest.fixture(scope="module")
def plain_receiver() -> Iterator[Receiver]:
    with receiving() as it:
        yield it


@pytest.fixture(scope="module")
def plain_shop(plain_receiver: Receiver) -> Iterator[ShopProcesses]:
    """A shop with the telemetry plugin alone, whose jobs and cache are in Redis."""
    with run_vendure(ShopVariant(jobs="bullmq", telemetry="plain", ids="uuid"), plain_receiver.url) as it:
        yield it


class GraphqlResponse:
    """What came of a request: HTTP's status, and what stood in the body."""

    def __init__(self, shop: ShopProcesses, document: str, *, raw: bytes = b"", api: str = "", token: str = "") -> None:
        body = raw or json.dumps({"query": document}).encode()
        headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {token}"} if token else {})}
        request = urllib.request.Request(api or shop.shop_api, body, headers)
        try:
            response = urllib.request.urlopen(request, timeout=60)
        except urllib.error.HTTPError as error:
            response = error
        with response:
            self.status = response.status
            self.token = response.headers.get("vendure-auth-token") or token
            self.body = json.load(response)

    @property
    def codes(self) -> list[str | None]:
        return [error.get("extensions", {}).get("code") for error in self.body.get("errors", [])]


def span_of(receiver: Receiver, operation: str) -> Span:
    """Return the span of the one request of this operation."""

    def found() -> list[Span]:
        return [it for it in receiver.requests() if it.attributes.get("graphql.operation.name") == operation]

    [span] = eventually(found)
    return span


async def booked(shop: ShopProcesses, receiver: Receiver, seed: int, orders: int) -> tuple[GroundTruth, list[Span]]:
    """Let customers shop; return their books, and the spans of their requests once all have come."""

    def theirs() -> list[Span]:
        return [it for it in receiver.requests() if it.attributes.get("http.user_agent") == "visitor/1.0"]

    before = len(theirs())
    ground_truth = await place_orders(shop, seed, orders)
    request_count = sum(ground_truth.requests.values()) + 1  # the catalogue
    spans = eventually(theirs, lambda found: len(found) - before >= request_count)[before:]
    return ground_truth, [span for span in spans if span.attributes.get("graphql.operation.name") != "Catalogue"]


async def test_request_spans_have_operations_errors_and_views(shop, receiver):
    """
    Operations, error codes, error_results and product views on the spans are those of the customers' own books, though
    customers mostly ask for nothing but `__typename`; and each request is one span.
    """
    ground_truth, spans = await booked(shop, receiver, seed=3, orders=8)

    assert len(ground_truth.orders) == 8
    assert Counter(span.attributes["graphql.operation.name"] for span in spans) == ground_truth.requests
    assert ground_truth.error_results
    codes_by_operation = Counter(
        (span.attributes["graphql.operation.name"], code)
        for span in spans
        for code in span.attributes.get("vendure.error_result.codes", [])
    )
    assert codes_by_operation == ground_truth.error_results
    views = [attributes["product.id"] for span in spans for name, attributes in span.events]
    assert Counter(views) == ground_truth.views
    assert {name for span in spans for name, _ in span.events} == {"vendure.product_view"}


def test_product_views_inside_fragments_are_found(shop, receiver):
    """
    Each view counts once, whatever the client calls it and however often it asks; a list is no view, and neither is
    the Admin API.
    """
    GraphqlResponse(
        shop,
        """
        query Fragments {
          a: product(id: 2) { ...F } b: product(id: "2") { name } ...R ... on Query { activeOrder { id } }
        }
        fragment F on Product { name }
        fragment R on Query { products { items { id } } missing: product(id: 4711) { id } }
        """,
    )
    span = span_of(receiver, "Fragments")
    assert span.attributes["graphql.operation.type"] == "query"
    assert span.attributes["graphql.root_fields"] == ["product", "products", "activeOrder"]
    assert span.events == [("vendure.product_view", {"product.id": "2"})]

    staff = GraphqlResponse(shop, superadmin(), api=shop.admin_api).token
    GraphqlResponse(shop, "query Staff { product(id: 2) { id } }", api=shop.admin_api, token=staff)
    assert span_of(receiver, "Staff").events == []


def superadmin() -> str:
    return 'mutation { login(username: "superadmin", password: "superadmin") { __typename } }'


@pytest.mark.trap(1, 3)
def test_errors_with_status_200_are_on_the_span(shop, receiver):
    """
    Refused, missing, forbidden: 200, and no span of a request says error. Only a broken query is 400.
    """
    refused = 'mutation Refused { login(username: "a@customer.example", password: "b") { __typename } }'
    missing = 'mutation Missing { addItemToOrder(productVariantId: "4711", quantity: 1) { __typename } }'
    assert GraphqlResponse(shop, refused).body == {"data": {"login": {"__typename": "InvalidCredentialsError"}}}
    forbidden = "query Forbidden { orders { totalItems } }"
    for response, status, code in (
        (GraphqlResponse(shop, missing), 200, "ENTITY_NOT_FOUND"),
        (GraphqlResponse(shop, forbidden, api=shop.admin_api), 200, "FORBIDDEN"),
        (GraphqlResponse(shop, "query Broken { nope }"), 400, "GRAPHQL_VALIDATION_FAILED"),
    ):
        assert (response.status, response.codes) == (status, [code])
    assert GraphqlResponse(shop, "", raw=b"no json").status == 400

    assert span_of(receiver, "Refused").attributes["vendure.error_result.codes"] == ["INVALID_CREDENTIALS_ERROR"]
    span = span_of(receiver, "Missing")
    assert span.attributes["graphql.error.codes"] == ["ENTITY_NOT_FOUND"]
    assert (span.attributes["graphql.error.count"], span.attributes["http.status_code"]) == (1, 200)
    assert span_of(receiver, "Forbidden").attributes["graphql.error.codes"] == ["FORBIDDEN"]
    bad = [it for it in receiver.requests() if it.attributes["http.status_code"] == 400]
    assert ["GRAPHQL_VALIDATION_FAILED"] in [it.attributes.get("graphql.error.codes") for it in bad]
    assert {span.status for span in receiver.requests()} == {0}


HOSTILE = """
const { context } = require('@opentelemetry/api');
const { setRPCMetadata } = require('@opentelemetry/core');
const { AsyncLocalStorageContextManager } = require('@opentelemetry/context-async-hooks');
const { enrich } = require('./enrich');
context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
const broken = () => { throw new Error('broken'); };
const span = new Proxy({ isRecording: () => true }, { get: (it, name) => it[name] || broken });
(async () => {
    console.log(await enrich.requestDidStart());
    await context.with(setRPCMetadata(context.active(), { type: 'http', span }), async () => {
        const hooks = await enrich.requestDidStart();
        for (const response of [{}, { body: null }, { body: { kind: 'single', singleResult: { errors: [1] } } }]) {
            console.log(await hooks.didResolveOperation(response), await hooks.executionDidStart(response));
            console.log(await hooks.willSendResponse({ response }));
        }
    });
})();
"""


def test_exceptions_of_the_hooks_do_not_affect_the_shop(shop):
    """
    Whatever it is handed, and whatever the span does: no hook throws, and none changes anything.
    """
    done = subprocess.run(
        [shop.server.command[0], "-e", HOSTILE], cwd=shop.server.folder, capture_output=True, text=True, check=False
    )
    assert (done.stdout.split(), done.stderr) == (["undefined"] * 10, "")


@pytest.mark.trap(9)
def test_server_and_worker_have_their_own_node_metrics(shop, receiver):
    """
    Heap, event loop and connection pool of each come as metrics, with toban's token, chunked as Node sends them.
    """
    wanted = {
        "v8js.memory.heap.used",
        "process.memory.usage",
        "nodejs.heap.limit",
        "nodejs.eventloop.utilization",
        "db.client.connection.count",
    }
    services = {"vendure-server", "vendure-worker"}
    eventually(receiver.metrics, lambda found: found >= {(service, it) for service in services for it in wanted})
    eventually(lambda: {span.service for span in receiver.spans()}, lambda found: found == services)
    assert {post.headers["authorization"] for post in receiver.posts} == {f"Bearer {TOBAN_TOKEN}"}
    assert {post.headers["content-type"] for post in receiver.posts} == {"application/x-protobuf"}
    assert {post.headers.get("transfer-encoding") for post in receiver.posts} == {"chunked"}
    assert not any("content-length" in post.headers for post in receiver.posts)
    for message in receiver.messages("/v1/metrics"):
        [resource] = message.resource_metrics
        instances = [it.value.string_value for it in resource.resource.attributes if it.key == "service.instance.id"]
        assert [re.fullmatch(r".+:\d+", one) is not None for one in instances] == [True]


@pytest.mark.trap(8)
async def test_no_secrets_or_personal_data_are_sent(shop, receiver):
    """
    Session tokens, e-mail addresses and job data are in nothing that was sent. What toban does not read is not sent.
    """
    token = GraphqlResponse(
        shop, 'mutation { addItemToOrder(productVariantId: "1", quantity: 1) { __typename } }'
    ).token
    assert len(token) == 64
    staff = GraphqlResponse(shop, superadmin(), api=shop.admin_api).token
    GraphqlResponse(shop, "mutation Reindex { reindex { id } }", api=shop.admin_api, token=staff)
    await booked(shop, receiver, seed=4, orders=1)
    span_of(receiver, "Reindex")
    sent = b"".join(post.body for post in receiver.posts)
    for secret in (token, staff, "@customer.example", "Bearer ", "job.data"):
        assert secret.encode() not in sent, secret
    assert not re.search(rb"session-cache:[0-9a-f]", sent)
    assert min(severity for severity, _ in receiver.logs()) >= 9
    scopes = {span.scope.rpartition("/")[2] for span in receiver.spans() if span.status != 2}
    assert scopes == {"instrumentation-http", "instrumentation-pg", "core"}


@pytest.mark.trap(3)
def test_the_plugin_alone_does_not_report_error_results(plain_shop, plain_receiver):
    """
    Traces come as JSON and logs as protobuf. Of a wrong password nothing is told: no code, no error, no span of ours.
    """
    wrong = 'mutation Wrong { login(username: "a@customer.example", password: "b") { __typename } }'
    assert GraphqlResponse(plain_shop, wrong).body == {"data": {"login": {"__typename": "InvalidCredentialsError"}}}

    [operation] = eventually(lambda: [it for it in plain_receiver.spans() if it.name == "mutation Wrong"])
    assert operation.attributes["graphql.operation.type"] == "mutation"
    eventually(lambda: [it for it in plain_receiver.requests() if it.trace == operation.trace])
    together = [it for it in plain_receiver.spans() if it.trace == operation.trace]
    assert {it.status for it in together} == {0}
    assert not any("vendure.error_result.codes" in it.attributes for it in together)
    assert {(post.path, post.is_json) for post in plain_receiver.posts} == {("/v1/traces", True), ("/v1/logs", False)}


@pytest.mark.trap(8)
def test_the_plugin_alone_sends_secrets(plain_shop, plain_receiver):
    """
    The trap that `instrumentation.js` closes: a job's data holds the request that made it, with the token of whoever
    made it, and goes out in a span of Redis. toban leaves it out where it comes in.
    """
    staff = GraphqlResponse(plain_shop, superadmin(), api=plain_shop.admin_api).token
    GraphqlResponse(plain_shop, "mutation { reindex { id } }", api=plain_shop.admin_api, token=staff)

    def leaks() -> list[str]:
        return [it.name for it in plain_receiver.spans() if staff in json.dumps(it.attributes)]

    assert eventually(leaks, lambda found: "evalsha" in found)


@pytest.mark.trap(4, 5)
def test_the_shops_tables_are_as_expected(shop):
    """
    No prefix, `order` is a reserved word, and there is no total.
    """
    tables = {name for (name,) in shop.query("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")}
    assert {"session", "job_record", "order", "scheduled_task_record"} <= tables
    assert not {name for name in tables if name.startswith("vendure")}
    columns = shop.query("SELECT column_name FROM information_schema.columns WHERE table_name = 'order'")
    names = {name for (name,) in columns}
    assert {"subTotal", "subTotalWithTax", "shipping", "shippingWithTax"} <= names
    assert "total" not in names


@pytest.mark.trap(6)
async def test_the_shops_tables_equal_the_ground_truth(shop, receiver):
    """
    Orders, amounts, attempts to pay, kinds of customers and channels are those of the books.
    """
    ground_truth, _ = await booked(shop, receiver, seed=5, orders=6)
    codes = ", ".join(f"'{order.code}'" for order in ground_truth.orders)
    placed = shop.query(f"""
        SELECT o.code, o.state, o."subTotal" + o.shipping, o."subTotalWithTax" + o."shippingWithTax", o."currencyCode",
               coalesce(c."customFieldsCustomerstatus", 'general'),
               (SELECT count(*) FROM order_channels_channel oc WHERE oc."orderId" = o.id)
        FROM "order" o JOIN customer c ON c.id = o."customerId" WHERE o.code IN ({codes})
    """)
    assert set(placed) == {
        (it.code, it.state, it.net, it.gross, it.currency, it.customer_type, 2 if it.channel == "b2b" else 1)
        for it in ground_truth.orders
    }
    tried = ", ".join(f"'{attempt.order}'" for attempt in ground_truth.attempts)
    payments = shop.query(f"""
        SELECT o.code, p.method, p.state FROM payment p JOIN "order" o ON o.id = p."orderId" WHERE o.code IN ({tried})
    """)
    assert Counter(payments) == Counter((it.order, it.method, it.state) for it in ground_truth.attempts)


@pytest.mark.trap(7)
async def test_times_in_the_tables_have_two_time_zones(shop, receiver):
    """
    `createdAt` and `updatedAt` are PostgreSQL's now(), the wall clock of the session's TimeZone; what else there is
    comes from the process, on the wall clock of its TZ. No column says which.
    """
    ground_truth, _ = await booked(shop, receiver, seed=6, orders=1)
    code = ground_truth.orders[-1].code
    [(by_database, by_process)] = shop.query(f"""
        SELECT p."createdAt", o."orderPlacedAt" FROM "order" o JOIN payment p ON p."orderId" = o.id
        WHERE o.code = '{code}' ORDER BY p.id DESC LIMIT 1
    """)
    now = datetime.now(UTC)
    for written, zone in ((by_database, NEW_YORK), (by_process, TOKYO)):
        assert abs((written.replace(tzinfo=zone) - now).total_seconds()) < 120, (written, zone)

    def wall_clocks(table: str) -> dict[str, str]:
        """Name the clock of each column that was written since the start."""
        columns = shop.query(f"""
            SELECT column_name FROM information_schema.columns
            WHERE table_name = '{table}' AND data_type LIKE 'timestamp%'
        """)
        clocks = {}
        for (column,) in columns:
            [(newest,)] = shop.query(f'SELECT max("{column}") FROM "{table}"')
            if newest:
                clocks[column] = min(
                    (NEW_YORK, TOKYO), key=lambda zone: abs((newest.replace(tzinfo=zone) - now).total_seconds())
                ).key
        return clocks

    database, process = NEW_YORK.key, TOKYO.key
    theirs = {"createdAt": database, "updatedAt": database}
    assert wall_clocks("order") == {**theirs, "orderPlacedAt": process}
    assert wall_clocks("payment") == theirs
    staff = GraphqlResponse(shop, superadmin(), api=shop.admin_api).token
    GraphqlResponse(
        shop, 'mutation { runScheduledTask(id: "clean-sessions") { success } }', api=shop.admin_api, token=staff
    )
    eventually(lambda: shop.query('SELECT FROM scheduled_task_record WHERE "lastExecutedAt" IS NOT NULL'))
    eventually(lambda: shop.query("""SELECT FROM job_record WHERE "queueName" = 'clean-sessions' AND "isSettled" """))
    assert wall_clocks("job_record") == {**theirs, "startedAt": process, "settledAt": process}
    assert wall_clocks("scheduled_task_record")["lastExecutedAt"] == process


@pytest.mark.trap(8)
def test_the_reader_role_sees_no_secrets_and_can_not_write(shop):
    """
    The role that toban looks with in the demo: orders yes, tokens and names no, and not a row can be written.
    """
    with psycopg.connect(shop.database_url, autocommit=True) as connection:
        connection.execute('SELECT id, code, "orderPlacedAt" FROM "order"')
        connection.execute('SELECT "customFieldsCustomerstatus" FROM customer')
        for secret in ("token FROM session", "data FROM job_record", '"emailAddress" FROM customer'):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(f"SELECT {secret}".encode())
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            connection.execute("DELETE FROM session")


@pytest.mark.trap(1, 2, 3)
def test_a_shop_without_database_responds_200_and_healthy(shop, receiver):
    """
    `/health` is ok, the Shop API answers 200 without a code, and the request's span is well but for what `enrich.js`
    put there. The shop recovers by itself.
    """
    question = "query Down { products(options: {take: 1}) { totalItems } }"
    shop.postgres.kill()
    try:
        response = GraphqlResponse(shop, question)
        assert (response.status, response.codes, response.body["data"]) == (200, [None], None)
        with urllib.request.urlopen(f"{shop.url}/health") as health:
            assert (health.status, json.load(health)) == (200, {"status": "ok"})
        with urllib.request.urlopen(shop.worker_health) as health:
            assert (health.status, json.load(health)) == (200, {"status": "ok"})
    finally:
        shop.postgres.start()
    span = span_of(receiver, "Down")
    assert (span.status, span.attributes["graphql.error.codes"]) == (0, ["UNKNOWN"])
    eventually(lambda: GraphqlResponse(shop, question.replace("Down", "Up")).body.get("data"))


@pytest.mark.parametrize("which", ["shop", "plain_shop"])
def test_the_shop_stops_within_seconds_and_sends_its_last_telemetry(which, request):
    """
    Also with connections to Redis open, where a signal handler that stays would keep it running for ever.
    """
    shop: ShopProcesses = request.getfixturevalue(which)
    receiver: Receiver = request.getfixturevalue("receiver" if which == "shop" else "plain_receiver")
    GraphqlResponse(shop, "query LastWords { collections { totalItems } }")
    began = time.monotonic()
    shop.stop()
    assert time.monotonic() - began < 8
    last = [
        it
        for it in receiver.spans()
        if "LastWords" in (it.name, it.attributes.get("graphql.operation.name"), *it.name.split())
    ]
    assert last
    shop.start()


def test_the_lock_file_has_hashes_and_no_registry():
    """
    Whoever installs it uses the registry of their own; what comes is held against the hashes.
    """
    lock = json.loads((STORE / "package-lock.json").read_text())
    packages: dict[str, dict[str, Any]] = {name: it for name, it in lock["packages"].items() if name}
    assert [name for name, it in packages.items() if "resolved" in it] == []
    assert [name for name, it in packages.items() if "integrity" not in it and not it.get("inBundle")] == []
    wanted = json.loads((STORE / "package.json").read_text())["dependencies"]
    assert {name: packages[f"node_modules/{name}"]["version"] for name in wanted} == wanted


@pytest.mark.parametrize("name", ["instrumentation.js", "enrich.js"])
def test_the_demo_runs_the_files_of_the_integration(name):
    """
    One copy of each.
    """
    assert (STORE / name).resolve() == Path(__file__).parents[2] / "integrations" / "vendure" / name
