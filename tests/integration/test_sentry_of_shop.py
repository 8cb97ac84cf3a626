"""A shop that reports its errors with Sentry's SDK for Node, and toban that ships lines to the same project."""

import asyncio
import json
from pathlib import Path

import pytest

from tests import node_clients
from tests.captured_telemetry import body
from tests.fake_log_sinks import FakeSentry
from tests.program import eventually, toban

FAILURE = "connect ECONNREFUSED 127.0.0.1:55432"
"""What the captured shop says of its database."""


def fail_a_request(folder: Path, sentry: FakeSentry, *, is_reported_by_shop: bool) -> None:
    """Let one request of the shop fail: toban receives its spans, and where toban reports it, the shop's own lines."""
    settings = {
        "log_sinks": {"sentry": {"kind": "sentry", "dsn": sentry.dsn}},
        "shop": {"services": {"graphql_errors": not is_reported_by_shop}},
    }
    (folder / "toban.yaml").write_text(json.dumps(settings))
    with toban(folder / "data", "--config", str(folder / "toban.yaml")) as program:
        protobuf = {"content-type": "application/x-protobuf"}
        for signal in ("traces",) if is_reported_by_shop else ("logs", "traces"):
            assert program.post(f"/v1/{signal}", body(f"pg-down.{signal}.pb"), **protobuf)[0] == 200
        if is_reported_by_shop:
            node_clients.report(sentry.dsn, FAILURE)
        # Another error marks the end: lines are shipped in their order.
        assert program.post("/api/logs", b'{"level":"error","message":"the last"}')[0] == 200
        eventually(lambda: any(line["message"] == "the last" for line in sentry.lines))


@pytest.mark.parametrize("is_reported_by_shop", [True, False], ids=["by the shop", "by toban"])
async def test_a_failed_request_is_reported_once(tmp_path, is_reported_by_shop):
    """
    Without the shop's own SDK there are three lines about it: two of Vendure's logger, and the failed GraphQL request.
    """
    async with FakeSentry() as sentry:
        await asyncio.to_thread(fail_a_request, tmp_path, sentry, is_reported_by_shop=is_reported_by_shop)
        events = [line for line in sentry.lines if line["message"] != "the last"]
        assert [line for line in events if FAILURE in json.dumps(line)] == events
        (event,) = events
        assert event["platform"] == "node"
        assert ("exception" in event) == is_reported_by_shop
        if is_reported_by_shop:
            assert event["sdk"]["name"] == "sentry.javascript.node"
