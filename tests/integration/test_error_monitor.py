"""`ErrorMonitor` with the real SDK in a process of its own, against a strict fake of Sentry."""

import asyncio
import json
import os
import subprocess
import sys

import pytest

from tests.fake_log_sinks import FakeSentry

SECRET = "hunter2-Zq9"

PROGRAM = """
import logging
from toban.instruments.error_monitor import ErrorMonitor
PASSWORD = "hunter2-Zq9"
print(ErrorMonitor.init())
logging.getLogger("shop").warning("connecting, password=%s", PASSWORD)
logging.getLogger("shop").error("another system failed")
try:
    local = PASSWORD
    raise ValueError("no connection to postgresql://shop:hunter2-Zq9@db/shop")
except ValueError as error:
    ErrorMonitor.capture_exception(error, {"order": "A1", "card": {"apiKey": PASSWORD}})
ErrorMonitor.capture_message("stock is low, token=hunter2-Zq9", "warning")
ErrorMonitor.capture_graphql_error("Forbidden", "addItemToOrder", ["addItemToOrder", 0, "lines"])
import sentry_sdk
with sentry_sdk.start_transaction(name="job", op="task") as transaction:
    with sentry_sdk.start_span(op="db", description="select password='hunter2-Zq9'"):
        pass
    transaction.set_data("authorization", "Bearer hunter2-Zq9")
ErrorMonitor.flush(10)
"""


async def run(program, *arguments, **environment):
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    return await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", program, *arguments],
        env={**kept, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


async def test_errors_are_reported_without_secrets():
    async with FakeSentry() as sentry:
        done = await run(
            PROGRAM, "--password", SECRET, SENTRY_DSN=sentry.dsn, NODE_ENV="development", FLY_MACHINE_ID="d1"
        )
        assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr
        events = {(it["level"], it.get("message") or it["exception"]["values"][0]["type"]): it for it in sentry.lines}
        assert set(events) == {
            ("error", "ValueError"),
            ("warning", "stock is low, token=[REDACTED]"),
            ("error", "GraphQL Error: Forbidden"),
        }
        error = events["error", "ValueError"]
        assert error["contexts"]["additional"] == {"order": "A1", "card": {"apiKey": "[REDACTED]"}}
        assert (error["environment"], error["server_name"]) == ("development", "d1")
        (exception,) = error["exception"]["values"]
        assert exception["value"] == "no connection to postgresql://[REDACTED]@db/shop"
        assert all("vars" not in it and "context_line" not in it for it in exception["stacktrace"]["frames"])
        assert error["breadcrumbs"]["values"][0]["message"] == "connecting, password=[REDACTED]"
        assert error["extra"]["sys.argv"] == ["-c", "--password", "[REDACTED]"]
        graphql = events["error", "GraphQL Error: Forbidden"]
        assert graphql["contexts"]["additional"] == {"operation": "addItemToOrder", "path": "addItemToOrder.0.lines"}
        assert graphql["tags"]["graphql.operation"] == "addItemToOrder"
        assert [type_ for type_, _ in sentry.items].count("transaction") == 1
        assert SECRET not in json.dumps(sentry.items)
        assert all(request.headers["content-encoding"] == "gzip" for request in sentry.requests)


@pytest.mark.parametrize(("environment", "rate"), [("production", 0.1), ("staging", 1.0), ("", 1.0)])
async def test_the_trace_rate_follows_the_environment(environment, rate):
    program = (
        "from toban.instruments.error_monitor import ErrorMonitor; import sentry_sdk; ErrorMonitor.init();"
        "it = sentry_sdk.get_client().options; print(it['environment'], it['traces_sample_rate'])"
    )
    done = await run(program, SENTRY_DSN="http://key@127.0.0.1:1/42", NODE_ENV=environment)
    assert done.stdout == f"{environment or 'development'} {rate}\n", done.stderr


async def test_nothing_is_sent_without_a_dsn():
    """
    The SDK is not even imported.
    """
    program = PROGRAM.partition("import sentry_sdk")[0] + "\nimport sys; print('sentry_sdk' in sys.modules)"
    done = await run(program)
    assert (done.returncode, done.stdout) == (0, "False\nFalse\n"), done.stderr


@pytest.mark.parametrize(
    ("dsn", "before", "words"),
    [
        ("http://key@127.0.0.1:1/42", "sys.modules['sentry_sdk'] = None", "pip install 'toban[sentry]'"),
        (f"http://127.0.0.1/{SECRET}", "", "SENTRY_DSN: a DSN looks like https://KEY@HOST/PROJECT"),
    ],
)
async def test_a_missing_extra_and_an_invalid_dsn_are_readable_errors(dsn, before, words):
    program = f"""
import sys
{before}
from toban.core.errors import SettingsError
from toban.instruments.error_monitor import ErrorMonitor
try:
    ErrorMonitor.init()
except SettingsError as error:
    print(error)
"""
    done = await run(program, SENTRY_DSN=dsn)
    assert words in done.stdout, done.stderr
    assert SECRET not in done.stdout
