"""`toban init` and `toban check`, as somebody new would use them."""

import os
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.program import TOBAN


@pytest.fixture
def run(tmp_path: Path):
    def run(*arguments: str, answers: str = "", **environment: str) -> "subprocess.CompletedProcess[str]":
        kept = {name: os.environ[name] for name in ("PATH", "PYTHONDONTWRITEBYTECODE") if name in os.environ}
        return subprocess.run(
            [*TOBAN, *arguments],
            cwd=tmp_path,
            env={**kept, "HOME": str(tmp_path), **environment},
            input=answers,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    return run


def test_addresses_are_tried_and_written(run, tmp_path):
    """
    What can't be reached is said and written all the same: exit code 1. `check` then says it again.
    """
    done = run("init", answers="\nredis://127.0.0.1:1\nftp://nope\nhttp://127.0.0.1:1/shop-api\n\n\n")

    assert done.returncode == 1, done.stderr
    assert "▲ redis at 127.0.0.1:1: redis 127.0.0.1:1" in done.stdout
    assert "'ftp://nope' is no address" in done.stdout
    written = yaml.safe_load((tmp_path / "toban.yaml").read_text())
    assert written == {"shop": {"redis": "redis://127.0.0.1:1", "shop_api": "http://127.0.0.1:1/shop-api"}}
    assert (tmp_path / "toban.yaml").stat().st_mode & 0o077 == 0

    checked = run("check")
    assert checked.returncode == 1
    assert checked.stdout.startswith("The configuration is in order.")
    assert "memory_heap" in checked.stdout


def test_secrets_of_the_environment_stay_there(run, tmp_path):
    """
    The file names the variable.
    """
    done = run("init", "--yes", REDIS_URL="redis://:hunter2@127.0.0.1:1")

    assert "hunter2" not in done.stdout + done.stderr + (tmp_path / "toban.yaml").read_text()
    assert yaml.safe_load((tmp_path / "toban.yaml").read_text()) == {"shop": {"redis": "${REDIS_URL}"}}


def test_on_fly_it_knows_where_it_is(run, tmp_path):
    """
    It listens where the others of the private network are, and says what a token would add.
    """
    done = run("init", "--yes", FLY_APP_NAME="shop-toban", FLY_REGION="fra")

    assert done.returncode == 0, done.stderr
    assert "This is a machine of shop-toban on Fly.io, in fra." in done.stdout
    assert "fly tokens create readonly" in done.stdout
    web = {"listen": "[::]:9119", "metrics": "[::]:9120", "token": "${TOBAN_TOKEN}"}
    assert yaml.safe_load((tmp_path / "toban.yaml").read_text()) == {"web": web}


def test_a_file_that_is_there_is_kept(run, tmp_path):
    """
    Unless it is told otherwise.
    """
    (tmp_path / "toban.yaml").write_text("# mine\n")

    done = run("init", "--yes")
    assert (done.returncode, (tmp_path / "toban.yaml").read_text()) == (2, "# mine\n")
    assert "--force" in done.stderr
    assert run("init", "--yes", "--force").returncode == 0
    assert run("check").returncode == 0


def test_a_mistake_in_the_file_ends_every_command_that_reads_it(run, tmp_path):
    """
    With 2, and the same words.
    """
    (tmp_path / "toban.yaml").write_text("wep: {}\n")
    words = "toban.yaml: line 1: wep: there is no setting 'wep' here: did you mean 'web'?\n"

    for command in ("check", "up"):
        done = run(command)
        assert (done.returncode, done.stderr) == (2, words)
