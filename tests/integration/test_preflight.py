"""What `toban check` and `toban init` say about notification channels."""

import pytest

from tests.fake_log_sinks import FakeLoki
from tests.fake_smtp import FakeSmtp
from toban.preflight import check_log_sinks, not_sent_outside, send_test, unproven
from toban.settings import build_settings

TEAMS = {"kind": "teams", "url": "https://x.logic.azure.com/workflows/1?sig=x"}
NTFY = {"kind": "ntfy", "topic": "shop"}
PATHS = {"near": "", "far": "/elsewhere"}


@pytest.mark.parametrize(
    ("channels", "warned"), [({}, False), ({"ops": TEAMS}, True), ({"ops": TEAMS, "phone": NTFY}, False)]
)
def test_channels_that_prove_nothing_are_not_enough(channels, warned):
    found = unproven(build_settings({"channels": channels}, {}, "a test"))
    assert ("whether a notification arrived (ops)" in found) is warned


async def test_a_test_notification_names_the_recipients_that_were_rejected(tmp_path):
    async with FakeSmtp(tmp_path) as mail:
        mail.refuse["bob@example.com"] = "550 5.1.1 unknown"
        channel = {
            "kind": "email",
            "host": "127.0.0.1",
            "port": str(mail.port),
            "ca": str(mail.ca),
            "username": mail.user,
            "password": mail.password,
            "sender": "toban@example.com",
            "to": "ann@example.com, bob@example.com",
        }
        found = await send_test(build_settings({"channels": {"mail": channel}}, {}, "a test"), "mail")
    assert (found.ok, found.message.startswith("refused for bob@example.com: ")) == (False, True), found.message
    assert [it.to for it in mail.mails] == [["ann@example.com"]]


@pytest.mark.parametrize(
    ("sinks", "said"),
    [
        ({}, "No log sink of the kind loki sends lines to logs.outside"),
        ({"other": {"kind": "otlp", "url": "http://otel:4318"}}, "No log sink of the kind loki"),
        ({"loki": {"kind": "loki", "url": "http://loki:3100", "level": "warn"}}, "log_sinks.loki has level: warn"),
        ({"loki": {"kind": "loki", "url": "http://loki:3100"}}, ""),
    ],
)
def test_lines_that_no_sink_sends_to_the_outside_engine_are_named(sinks, said):
    content = {"log_sinks": sinks, "logs": {"outside": {"kind": "loki", "url": "http://loki:3100"}}}
    found = not_sent_outside(build_settings(content, {}, "a test"))
    assert said in found
    assert bool(found) is bool(said)


async def test_log_sinks_are_tried_by_name():
    async with FakeLoki() as fake_loki:
        content = {"log_sinks": {name: {"kind": "loki", "url": fake_loki.url + path} for name, path in PATHS.items()}}
        found = await check_log_sinks(build_settings(content, {}, "a test"))
        assert [(name, check.ok) for name, check in found] == [("near", True), ("far", False)]
        assert fake_loki.lines == []
