"""What `toban check` and `toban init` say about notification channels."""

import pytest

from tests.fake_log_sinks import FakeLoki
from tests.fake_smtp import FakeSmtp
from toban.core.errors import SettingsError
from toban.preflight import check_log_sinks, not_sent_outside, send_test, unproven, unreachable_hooks
from toban.settings import build_settings

TEAMS = {"kind": "teams", "url": "https://x.logic.azure.com/workflows/1?sig=x"}
PHONE = {"kind": "twilio", "account": "AC" + "0" * 32, "token": "x", "sender": "+15005550006", "to": "+81901234567"}
LINE = {"kind": "line", "token": "x", "to": "C" + "0" * 32}
NTFY = {"kind": "ntfy", "topic": "shop"}
PATHS = {"near": "", "far": "/elsewhere"}


@pytest.mark.parametrize(
    ("channels", "warned"), [({}, False), ({"ops": TEAMS}, True), ({"ops": TEAMS, "phone": NTFY}, False)]
)
def test_channels_that_prove_nothing_are_not_enough(channels, warned):
    found = unproven(build_settings({"channels": channels}, {}, "a test"))
    assert ("whether a notification arrived (ops)" in found) is warned


@pytest.mark.parametrize(
    ("channel", "hook"),
    [
        ({**PHONE, "by": "call", "answers": True}, "/hooks/twilio"),
        ({**PHONE, "by": "call"}, ""),
        ({**LINE, "channel_secret": "s3cret"}, "/hooks/line"),
        (LINE, ""),
        ({"kind": "slack", "token": "xoxb-1", "signing_secret": "s3cret"}, "/hooks/slack"),
        ({"kind": "slack", "token": "xoxb-1", "app_token": "xapp-1"}, ""),
        ({"kind": "pagerduty", "key": "0" * 32, "webhook_secret": "s3cret"}, "/hooks/pagerduty"),
    ],
)
def test_channels_whose_answers_have_no_address_to_come_to_are_named_with_the_setting(channel, hook):
    content = {"channels": {"ops": channel}}
    found = unreachable_hooks(build_settings(content, {}, "a test"))
    assert [it.startswith(f"ops: answers come to {hook} at notify.address") for it in found] == [True] * bool(hook)
    reached = {**content, "notify": {"address": "https://toban.example.com"}}
    assert unreachable_hooks(build_settings(reached, {}, "a test")) == []


def test_answers_in_an_sms_are_refused_with_the_remedy():
    with pytest.raises(SettingsError, match="set `by: call` too"):
        build_settings({"channels": {"ops": {**PHONE, "answers": True}}}, {}, "a test")


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
