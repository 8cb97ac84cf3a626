"""The files for Fly.io say what the program does."""

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from tempfile import gettempdir

import pytest

from toban.settings import load_settings
from toban.web import health_api
from toban.web.endpoint import Permission
from toban.web.settings import split

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
FLY = tomllib.loads((DEPLOY / "fly.toml").read_text(encoding="utf-8"))
SECRETS = {"TOBAN_TOKEN": "t", "DATABASE_URL": "postgresql://a:b@c/d", "REDIS_URL": "redis://x:6379"}


def image():
    """Return what the image sets in its environment."""
    return dict(pair.split("=", 1) for line in re.findall(r"(?m)^ENV (.*)$", DOCKERFILE) for pair in line.split())


def settings():
    return load_settings(DEPLOY / "fly.toban.yaml", {**image(), **SECRETS})


def test_the_configuration_is_in_order_and_asks_for_no_other_secrets():
    """
    With what the document sets as secrets.
    """
    asked = set(re.findall(r"\$\{(\w+)\}", (DEPLOY / "fly.toban.yaml").read_text(encoding="utf-8")))
    document = (ROOT / "docs" / "run-on-fly.md").read_text(encoding="utf-8")
    assert asked == set(SECRETS) <= set(re.findall(r"(?m)^  (\w+)=", document))
    assert settings().shop.database


def test_ports_and_paths_are_the_programs():
    """
    Where it listens, Fly looks; and what Fly looks at needs no token.
    """
    web, check = settings().web, FLY["checks"]["toban"]
    assert (split(web.listen), split(web.metrics)) == (("::", check["port"]), ("::", FLY["metrics"]["port"]))
    assert check["path"] in {it.path for it in health_api.routes(None, []) if it.permission is Permission.PUBLIC}
    assert FLY["metrics"]["path"] == "/metrics"
    assert set(map(int, re.findall(r"(?m)^EXPOSE (.*)$", DOCKERFILE)[0].split())) == {9119, 9120}


def test_all_that_must_stay_lies_on_the_volume():
    """
    A release takes the machine, never the volume.
    """
    (mount,) = FLY["mounts"]
    (file,) = FLY["files"]
    assert settings().data == Path(image()["TOBAN_DATA"])
    assert settings().data.is_relative_to(mount["destination"])
    assert file["guest_path"] == image()["TOBAN_CONFIG"]
    assert (DEPLOY / file["local_path"]).exists()
    assert (DEPLOY / FLY["build"]["dockerfile"]).exists()
    assert "http_service" not in FLY


def test_what_the_image_copies_is_there():
    """
    By its name in the project.
    """
    for line in re.findall(r"(?m)^COPY (?!--from)(.*) \S+$", DOCKERFILE):
        for name in line.split():
            assert (ROOT / name).exists(), name


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"), reason="only root becomes somebody else")
def test_the_start_gives_the_volume_to_toban_and_runs_as_toban(tmp_path):
    """
    Tried with another name: there is no user toban here.
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
