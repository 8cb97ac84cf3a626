"""`toban init` and `toban check`, as a new user runs them."""

import subprocess
from contextlib import closing
from pathlib import Path

import pytest
import yaml

from tests import program
from tests.fork_server import base_environment
from tests.program import TOBAN
from tests.servers import free_port
from tests.webhook_receiver import WebhookReceiver


@pytest.fixture
def run(tmp_path: Path):
    def run(*arguments: str, answers: str = "", **environment: str) -> "subprocess.CompletedProcess[str]":
        return program.run(
            [*TOBAN, *arguments], {**base_environment(), "HOME": str(tmp_path), **environment}, tmp_path, answers
        )

    return run


def test_urls_are_checked_and_written(run, tmp_path):
    """
    What can't be reached is said and written all the same: exit code 1. `check` then says it again.
    """
    done = run("init", answers="\nredis://127.0.0.1:1\n\nftp://nope\nhttp://127.0.0.1:1/shop-api\n\n\n\nnone\n")

    assert done.returncode == 1, done.stderr
    assert "▲ redis at 127.0.0.1:1: redis 127.0.0.1:1" in done.stdout
    assert "invalid URL 'ftp://nope'" in done.stdout
    written = yaml.safe_load((tmp_path / "toban.yaml").read_text())
    assert written == {"shop": {"redis": "redis://127.0.0.1:1", "shop_api": "http://127.0.0.1:1/shop-api"}}
    assert (tmp_path / "toban.yaml").stat().st_mode & 0o077 == 0

    checked = run("check")
    assert checked.returncode == 1
    assert checked.stdout.startswith("The configuration is valid.")
    assert "memory_heap" in checked.stdout


def test_secrets_of_the_environment_are_not_written(run, tmp_path):
    """
    The file names the variable.
    """
    done = run("init", "--yes", REDIS_URL="redis://:hunter2@127.0.0.1:1")

    assert "hunter2" not in done.stdout + done.stderr + (tmp_path / "toban.yaml").read_text()
    assert yaml.safe_load((tmp_path / "toban.yaml").read_text()) == {"shop": {"redis": "${REDIS_URL}"}}


def test_init_on_fly_discovers_the_machine(run, tmp_path):
    """
    It listens where the others of the private network are, and says what a token would add.
    """
    done = run("init", "--yes", FLY_APP_NAME="shop-toban", FLY_REGION="fra")

    assert done.returncode == 0, done.stderr
    assert "This is a machine of shop-toban on Fly.io, in fra." in done.stdout
    assert "fly tokens create readonly" in done.stdout
    web = {"listen": "[::]:9119", "metrics": "[::]:9120", "token": "${TOBAN_TOKEN}"}
    assert yaml.safe_load((tmp_path / "toban.yaml").read_text()) == {"web": web}


def test_an_existing_file_is_kept(run, tmp_path):
    """
    Unless it is told otherwise.
    """
    (tmp_path / "toban.yaml").write_text("# mine\n")

    done = run("init", "--yes")
    assert (done.returncode, (tmp_path / "toban.yaml").read_text()) == (2, "# mine\n")
    assert "--force" in done.stderr
    assert run("init", "--yes", "--force").returncode == 0
    assert run("check").returncode == 0


def test_an_invalid_file_fails_every_command_that_reads_it(run, tmp_path):
    """
    With 2, and the same words.
    """
    (tmp_path / "toban.yaml").write_text("wep: {}\n")
    words = "toban.yaml: line 1: wep: unknown setting 'wep': did you mean 'web'?\n"

    for command in ("check", "up"):
        done = run(command)
        assert (done.returncode, done.stderr) == (2, words)


def test_init_ends_with_a_test_notification(run, tmp_path):
    """
    After a mistake, and after a message that did not arrive, it asks again.
    """
    with closing(WebhookReceiver()) as hook:
        nowhere = f"http://127.0.0.1:{free_port()}/"
        answers = f"fax\nwebhook\nnowhere\nwebhook\n{nowhere}\nagain\nwebhook\n{hook.url}\n"
        done = run("init", answers="\n" * 5 + answers)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "unknown channel 'fax'" in done.stdout
    assert "channels.webhook.url: invalid URL 'nowhere'" in done.stdout
    assert "▲ webhook: webhook: " in done.stdout
    assert "● webhook: the test message was accepted" in done.stdout
    assert [body["toban"]["kind"] for body in hook.received] == ["notice"]
    written = yaml.safe_load((tmp_path / "toban.yaml").read_text())
    assert written == {"channels": {"webhook": {"kind": "webhook", "url": hook.url}}}


def test_a_channel_of_the_environment_is_tested(run, tmp_path):
    """
    Its secret stays there; unattended nothing is sent.
    """
    with closing(WebhookReceiver()) as hook:
        done = run("init", answers="\n" * 5, SLACK_WEBHOOK_URL=f"{hook.url}\n")
        assert "slack: taken from SLACK_WEBHOOK_URL in the environment." in done.stdout
        assert "● slack: the test message was accepted" in done.stdout
        assert len(hook.received) == 1

        done = run("init", "--yes", "--force", SLACK_WEBHOOK_URL=hook.url)
        assert "`toban alerts test slack` sends a test notification" in done.stdout
        assert len(hook.received) == 1
    assert yaml.safe_load((tmp_path / "toban.yaml").read_text()) is None


def test_missing_answers_take_the_defaults(run, tmp_path):
    """
    As those of a script do: nobody is told then, and it says so.
    """
    done = run("init", answers="\nredis://127.0.0.1:1\n")
    assert done.returncode == 1
    assert "No notification channel is configured yet" in done.stdout
    assert yaml.safe_load((tmp_path / "toban.yaml").read_text()) == {"shop": {"redis": "redis://127.0.0.1:1"}}
