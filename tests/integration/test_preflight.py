"""What `toban check` and `toban init` say about notification channels."""

import pytest

from tests.fake_smtp import FakeSmtp
from toban.preflight import send_test, unproven
from toban.settings import build_settings

TEAMS = {"kind": "teams", "url": "https://x.logic.azure.com/workflows/1?sig=x"}
NTFY = {"kind": "ntfy", "topic": "shop"}


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
