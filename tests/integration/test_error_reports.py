"""toban's own unexpected errors at Sentry: with the real SDK, against a strict fake."""

import asyncio
import json
import subprocess
import sys

import httpx2
import pytest
import structlog
from pydantic import SecretStr

from tests.fake_http import broken, late
from tests.fake_log_sinks import FakeSentry
from tests.program import run
from toban.core.clock import SystemClock
from toban.core.errors import CollectError, SettingsError
from toban.core.log_setup import configure_logging
from toban.core.metric_registry import MetricRegistry
from toban.daemon import open_daemon
from toban.instruments import error_reports
from toban.instruments.error_reports import REPORTS, ErrorSettings, open_error_reports
from toban.settings import build_settings


@pytest.fixture
async def sentry():
    async with FakeSentry() as sentry:
        yield sentry


@pytest.fixture
def log(tmp_path):
    """Toban's log, in a file; structlog is as before afterwards."""
    before = structlog.get_config()
    with (tmp_path / "log").open("w") as file:
        configure_logging("info", file, "json")
        # A module's logger would go on with this file for ever.
        structlog.configure(cache_logger_on_first_use=False)
        yield structlog.get_logger("toban.test")
    structlog.configure(**before)


def settings(sentry):
    return ErrorSettings(sentry_dsn=SecretStr(sentry.dsn), environment="test")


def fail(number=0):
    raise ValueError(f"password=hunter2-Zq9 {number}")


async def test_an_error_that_repeats_is_reported_once(sentry, log):
    meters = MetricRegistry()
    async with open_error_reports(settings(sentry), meters):
        for number in range(5):
            try:
                fail(number)
            except ValueError:
                log.exception("rule evaluation failed", rule="x")
        try:
            raise CollectError("expected trouble")
        except CollectError:
            log.exception("collection failed")
        log.error("no exception")
    (event,) = sentry.lines
    assert event["exception"]["values"][0]["value"] == "password=[REDACTED] 0"
    assert (event["environment"], event["tags"]) == ("test", {"event": "rule evaluation failed"})
    assert event["release"].startswith("toban@")
    assert "breadcrumbs" not in event or not event["breadcrumbs"]["values"]
    assert "sys.argv" not in json.dumps(event)
    assert (meters.value(REPORTS, outcome="reported"), meters.value(REPORTS, outcome="repeated")) == (1, 4)


async def test_what_ends_toban_is_reported(sentry, log):
    with pytest.raises(ExceptionGroup):
        async with open_error_reports(settings(sentry), MetricRegistry()), asyncio.TaskGroup() as group:
            group.create_task(asyncio.to_thread(fail))
    (event,) = sentry.lines
    assert event["tags"] == {"event": "service failed"}
    assert {it["type"] for it in event["exception"]["values"]} == {"ExceptionGroup", "ValueError"}


async def test_what_ends_the_daemon_is_reported(sentry, log, tmp_path):
    given = {"web": {"listen": "127.0.0.1:0"}, "errors": {"sentry_dsn": sentry.dsn}}
    with pytest.raises(ValueError, match="hunter2"):
        async with open_daemon(build_settings(given, {"TOBAN_DATA": str(tmp_path / "data")}, "a test"), SystemClock()):
            fail()
    assert [it["environment"] for it in sentry.lines] == ["production"]


async def test_errors_that_are_remembered_are_limited(sentry, log, monkeypatch):
    monkeypatch.setattr(error_reports, "MAX_DIFFERENT", 2)
    async with open_error_reports(settings(sentry), MetricRegistry()) as reports:
        for error in (KeyError(), ValueError(), TypeError(), KeyError()):
            reports.report(error, "x")
        assert len(reports._reported) == 2
    assert len(sentry.lines) == 4


async def test_reports_follow_a_reload(sentry, log):
    async with FakeSentry() as other, open_error_reports(settings(sentry), MetricRegistry()) as reports:
        await reports.configure(settings(other))
        log.error("x", exc_info=KeyError("1"))
        await reports.configure(ErrorSettings())
        log.error("x", exc_info=IndexError("2"))
        assert (len(sentry.lines), len(other.lines)) == (0, 1)


async def test_the_requests_of_toban_get_no_header(sentry, log):
    async with open_error_reports(settings(sentry), MetricRegistry()), httpx2.AsyncClient() as http:
        await http.get(
            f"{sentry.url}/x",
            headers={
                "content-type": "application/x-sentry-envelope",
                "x-sentry-auth": "sentry_key=1, sentry_version=7, sentry_client=x",
            },
        )
    assert not {"sentry-trace", "baggage"} & set(sentry.requests[0].headers)


@pytest.mark.parametrize("fault", [broken, late])
async def test_a_sentry_that_fails_does_not_delay_the_end(sentry, log, monkeypatch, fault):
    monkeypatch.setattr(error_reports, "FLUSH_SECONDS", 0.1)
    sentry.next(fault)
    async with asyncio.timeout(5), open_error_reports(settings(sentry), MetricRegistry()):
        log.error("x", exc_info=KeyError("1"))


def test_the_sdk_is_imported_only_where_it_is_used():
    program = "import sys; import toban.daemon; print('sentry_sdk' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_check_names_an_invalid_dsn(tmp_path):
    (tmp_path / "toban.yaml").write_text("errors: {sentry_dsn: 'https://sentry.io/hunter2'}\n")
    done = run([sys.executable, "-m", "toban", "check"], {"TOBAN_DATA": str(tmp_path / "data")}, tmp_path)
    assert done.returncode
    assert "errors.sentry_dsn: a DSN looks like https://KEY@HOST/PROJECT" in done.stdout + done.stderr
    assert "hunter2" not in done.stdout + done.stderr


def test_a_missing_extra_is_a_problem_of_the_settings(monkeypatch):
    monkeypatch.setattr("toban.settings.importlib.util.find_spec", lambda name: None)
    with pytest.raises(SettingsError, match=r"errors.sentry_dsn: .*pip install 'toban\[sentry\]'"):
        build_settings({"errors": {"sentry_dsn": "https://key@sentry.io/1"}}, {}, "a test")
