"""Secrets in a shop's telemetry can't be read from toban."""

import re
from itertools import pairwise

import orjson

from tests.captured_telemetry import Ingest, body, files
from tests.telemetry import CORE, HTTP, IOREDIS, logs, metrics, operation, request, span, traces
from toban.core.winston_json import winston_json
from toban.exposition.writer import Format, families, sample_lines, write_page

LEAK = "bullmq-evalsha-leak.traces.pb"
KEY = "0add3adc2a67363bdb8373b9427bfefccd11daf5ed5ff1ecaf1b07879f69600a"


def shown(ingest: Ingest) -> str:
    """Return everything that can be read: the metrics page with all labels, and all log lines."""
    batches = [*ingest.pushed.read(1, {}), *ingest.meters.read(1, {})]
    page = "".join(write_page(sample_lines(batches), families(batches), Format.TEXT))
    return page + orjson.dumps([winston_json(line) for line in ingest.lines.lines]).decode()


def tokens(text: str) -> set[str]:
    return set(re.findall(r"\b[0-9a-f]{64}\b|Bearer [\w.-]+|[\w.+-]+@[\w-]+\.\w+", text))


async def test_secrets_of_a_job_in_a_span_are_not_stored():
    """
    The captured `evalsha`: a request in a job in a Redis command, with its bearer token and the cookies' secret.
    """
    leak = body(LEAK).decode("utf-8", "replace")
    found = tokens(leak)
    assert found, "the captured file has secrets"
    words = re.findall(r"[\w-]{20,}", leak)
    ingest = Ingest()
    await ingest.push_all(LEAK)

    page = shown(ingest)
    assert 'vendure_redis_commands_total{command="evalsha"} 2' in page
    assert not [one for one in [*found, *words] if one in page]


async def test_no_token_of_any_captured_body_is_stored():
    """
    Session keys in debug lines, addresses, bearer tokens.
    """
    secrets = set().union(*(tokens(path.read_bytes().decode("utf-8", "replace")) for path in files()))
    ingest = Ingest()
    await ingest.push_all(*(path.name for path in files()))
    page = shown(ingest)

    assert len(secrets) > 3
    assert not [secret for secret in secrets if secret in page]
    assert "vendure-session-cache:[REDACTED]" in page


async def test_secrets_in_names_are_redacted_in_labels():
    """
    In routes, operations, commands, services and attributes.
    """
    ingest = Ingest()
    bodies = [
        traces(request(route=f"/reset/{KEY}"), operation(f"Op{KEY}"), operation(KEY)),
        traces(span(f"get {KEY}", IOREDIS), span(KEY, IOREDIS), span(f"Cache.{KEY}", CORE)),
        traces(span("EventBus.publish", CORE, event=f"jane@mail.example {KEY}")),
        traces(request(), service=KEY, **{"service.instance.id": f"token={KEY}"}),
        traces(request(events=[("vendure.product_view", {"product.id": KEY})])),
    ]
    for one in bodies:
        assert (await ingest.push("x.traces.json", one)).status == 200
    point = {"attributes": [{"key": "user", "value": {"stringValue": "jane@mail.example"}}], "asDouble": 1}
    await ingest.push("x.metrics.json", metrics({"name": "x", "gauge": {"dataPoints": [point]}}, service=KEY))
    records = logs((17, f"Bearer {KEY}"), service=KEY, context=KEY, password="pa55word", note=f"card {KEY}")
    await ingest.push("x.logs.json", records)
    page = shown(ingest)

    assert KEY not in page
    assert "jane@" not in page
    assert "pa55word" not in page
    assert HTTP not in page


async def test_labels_keep_to_their_cardinality_limits():
    """
    A thousand routes become sixty series and `other`.
    """
    ingest = Ingest()
    for first, last in pairwise(range(0, 1001, 250)):
        spans = [request(route=f"/r{number}") for number in range(first, last)]
        await ingest.push("x.traces.json", traces(*spans, *(span(f"c{one}", IOREDIS) for one in range(first, last))))

    assert len(ingest.values("vendure_api_requests_total")) == 61
    assert ingest.values()['vendure_api_requests_total{endpoint="other",method="POST",status="200"}'] == 940
    assert len(ingest.values("vendure_redis_commands_total")) == 151
