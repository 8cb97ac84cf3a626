"""The shipped rules beside a shop: each fault and its recovery are notified once."""

import asyncio
import random

import pytest
import yaml

from tests.fake_http import broken, busy, half, reset
from tests.fake_pagerduty import FakePagerDuty
from tests.fake_slack import FakeSlack
from tests.fake_smtp import FakeSmtp
from tests.program import eventually, toban
from tests.small_shop import CATALOGUE, COLLECT_EACH_SECOND, DATABASE_ERROR, shop, write_fast_rules


def configured(folder, slack, mail, pagerduty):
    """Write a configuration with all three channels of the original."""
    write_fast_rules(folder)
    settings = yaml.safe_load(COLLECT_EACH_SECOND) | {
        "alerting": {"rules": ["vendure.yaml", "infrastructure.yaml"], "evaluation_interval": "1s"},
        "channels": {
            "slack": {"kind": "slack", "token": slack.token, "api": slack.api},
            "email": {
                "kind": "email",
                "host": "127.0.0.1",
                "port": mail.port,
                "ca": str(mail.ca),
                "username": mail.user,
                "password": mail.password,
                "sender": "alerts@example.com",
                "to": ["admin@example.com", "dev@example.com"],
            },
            "pagerduty": {"kind": "pagerduty", "key": pagerduty.key, "api": pagerduty.url},
        },
        "notify": {"group_wait": "1s", "group_interval": "1s", "flapping": {"settle": "1s"}},
    }
    (folder / "toban.yaml").write_text(yaml.safe_dump(settings))


def states(slack):
    """Return each message that people see: how it ended, and what it is about."""
    return {
        it.attachment["title"].partition(" (")[0]: it.attachment["footer"].removeprefix("toban · ")
        for it in slack.messages
    }


async def soon(ask, well=bool):
    """Wait until something is so; the servers of this test answer meanwhile."""
    return await asyncio.to_thread(eventually, ask, well)


async def test_each_fault_and_its_recovery_are_notified_once(tmp_path):
    """
    Also when toban is killed between the two, and when a channel has bad days: one message in Slack, one incident at
    PagerDuty, one conversation of mails.
    """
    async with FakeSlack() as slack, FakePagerDuty() as pagerduty, FakeSmtp(tmp_path) as mail:
        configured(tmp_path, slack, mail, pagerduty)
        with shop() as piece:

            def start():
                return toban(tmp_path / "data", **piece.environment)

            with start() as program:
                await asyncio.to_thread(program.until, "is on duty")
                slack.next(busy(1), broken)
                piece.api.body = DATABASE_ERROR
                await soon(lambda: states(slack), lambda it: it == {"Vendure application is down": "Firing"})
                await soon(
                    lambda: list(pagerduty.alerts.values()), lambda it: [each.status for each in it] == ["triggered"]
                )
                await soon(lambda: mail.mails)
                # Perhaps before toban has marked what Slack answered: it looks there when it is back.
                await asyncio.to_thread(program.kill)
            with start() as program:
                await asyncio.to_thread(program.until, "is on duty")
                piece.api.body = CATALOGUE
                await soon(lambda: states(slack), lambda it: it == {"Vendure application is down": "Resolved"})
                (incident,) = pagerduty.alerts.values()
                await soon(lambda: incident.status == "resolved")
                assert incident.paged == 1
                await soon(lambda: len(mail.mails) >= 2)
                assert mail.mails[-1].message["In-Reply-To"] == mail.mails[0].message["Message-ID"]
                assert "[FIRING critical] 127.0.0.1: Vendure application is down" in mail.mails[0].message["Subject"]

                piece.redis.kill()
                await soon(lambda: states(slack).get("Redis connection failed") == "Firing")
                piece.redis.start()
                await soon(lambda: states(slack).get("Redis connection failed") == "Resolved")
                assert sorted(states(slack)) == sorted(
                    it.attachment["title"].partition(" (")[0] for it in slack.messages
                )
                assert pagerduty.dropped == []


async def test_a_storefront_fault_and_its_recovery_are_notified(tmp_path):
    """
    By itself: what explains it inhibits it for a minute longer than it lasts.
    """
    async with FakeSlack() as slack, FakePagerDuty() as pagerduty, FakeSmtp(tmp_path) as mail:
        configured(tmp_path, slack, mail, pagerduty)
        with shop() as piece, toban(tmp_path / "data", **piece.environment) as program:
            await asyncio.to_thread(program.until, "is on duty")
            piece.storefront.status = 503
            await soon(lambda: states(slack) == {"The storefront is down": "Firing"})
            piece.storefront.status = 200
            await soon(lambda: states(slack) == {"The storefront is down": "Resolved"})


@pytest.mark.parametrize("seed", [pytest.param(seed, marks=[pytest.mark.soak] * (seed >= 2)) for seed in range(20)])
async def test_firing_and_resolved_are_notified_whenever_toban_is_killed(tmp_path, seed, record_property):
    """
    Between "it is wrong" and "it was told", and between "it is well" and "that was told": once each, whatever the
    channels answer; a mail may come twice, and is counted.
    """
    chance = random.Random(seed)
    async with FakeSlack() as slack, FakePagerDuty() as pagerduty, FakeSmtp(tmp_path) as mail:
        configured(tmp_path, slack, mail, pagerduty)
        with shop() as piece:

            async def killed(body):
                """Change how the shop is under a running toban, and kill that at any moment."""
                slack.next(*chance.sample([busy(1), broken, reset, half], chance.randrange(3)))
                pagerduty.next(*chance.sample([busy(1), broken, reset, half], chance.randrange(3)))
                mail.next(*chance.sample(["451 4.3.0 try again", "250 2.0.0 queued"], chance.randrange(3)))
                with toban(tmp_path / "data", **piece.environment) as program:
                    await asyncio.to_thread(program.until, "is on duty")
                    piece.api.body = body
                    await asyncio.sleep(chance.uniform(0, 9))
                    await asyncio.to_thread(program.kill)

            async def settled(state, incident, mails, replies=0):
                with toban(tmp_path / "data", **piece.environment) as program:
                    await soon(lambda: states(slack), lambda it: it == {"Vendure application is down": state})
                    await soon(lambda: len(slack.messages[0].replies), lambda it: it == replies)
                    statuses = [incident]
                    await soon(lambda: [it.status for it in pagerduty.alerts.values()], lambda it: it == statuses)
                    await soon(lambda: kinds(mail), lambda it: it == mails)
                    await asyncio.to_thread(program.kill)

            await killed(DATABASE_ERROR)
            await settled("Firing", "triggered", {"firing"})
            await killed(CATALOGUE)
            await settled("Resolved", "resolved", {"firing", "resolved"}, 1)
        (message,) = slack.messages
        assert len(message.replies) == 1
        assert [incident.paged for incident in pagerduty.alerts.values()] == [1]
        record_property("mails that came twice", len(mail.mails) - 2)


def kinds(mail):
    """Return what mails told of."""
    return {it.message["X-Toban-Kind"] for it in mail.mails}
