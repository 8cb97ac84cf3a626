"""
toban as its image starts it on a machine of 256 MB: same paths, user, environment and limits, beside a shop that sells.

A folder stands for the image (`chroot`), a cgroup for the machine's memory. Only root can do both, so this is part of
the soak alone.
"""

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.program import eventually
from tests.vendure_shop import ShopVariant, place_orders, run_vendure
from toban.demo.ground_truth import GroundTruth

MINUTES = int(os.environ.get("IMAGE_MINUTES", "60"))
MEMORY = 256 * 2**20
ROOT = Path(__file__).parents[2]
TOKEN = "t0ken-of-toban"
CGROUP = Path("/sys/fs/cgroup/memory/toban-drill")
MOUNT = """
set -e
echo $$ > {cgroup}/cgroup.procs
for place in usr dev proc; do mount --rbind /$place {root}/$place; done
exec chroot {root} /usr/bin/env -i {environment} /start toban up
"""


class Image:
    """What the Dockerfile builds, in a folder; `data` is the volume."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.dockerfile = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8")

    @property
    def environment(self) -> dict[str, str]:
        """The variables that the image sets."""
        lines = re.findall(r"(?m)^ENV (.*)$", self.dockerfile)
        return dict(pair.split("=", 1) for line in lines for pair in line.split())

    @property
    def extras(self) -> list[str]:
        """The extras that it installs."""
        return re.findall(r"--extra (\w+)", self.dockerfile)

    def build(self, settings: str) -> None:
        """Install the programs, and the file that `[[files]]` of fly.toml adds."""
        for name in ("usr", "dev", "proc", "etc/toban", "data", "tmp"):
            (self.root / name).mkdir(parents=True)
        (self.root / "tmp").chmod(0o1777)
        for name in ("bin", "lib", "lib64", "sbin"):
            (self.root / name).symlink_to(f"usr/{name}")
        for name in ("ld.so.cache", "hosts", "nsswitch.conf", "ssl"):
            place = Path("/etc") / name
            if place.exists():
                (shutil.copytree if place.is_dir() else shutil.copy)(place, self.root / "etc" / name)
        (self.root / "etc" / "passwd").write_text("root:x:0:0::/:/bin/sh\ntoban:x:9119:9119::/data:/bin/sh\n")
        (self.root / "etc" / "group").write_text("root:x:0:\ntoban:x:9119:\n")
        (self.root / "etc" / "toban" / "toban.yaml").write_text(settings)
        shutil.copy(ROOT / "deploy" / "start", self.root / "start")
        self._install()

    def _install(self) -> None:
        venv, uv = self.root / "toban", shutil.which("uv", path=str(Path(sys.executable).parent))
        subprocess.run(["/usr/bin/python3", "-m", "venv", "--without-pip", venv], check=True)
        install = [uv, "pip", "install", "--quiet", "-p", venv]
        build = ["--build-constraints", ROOT / "requirements-dev.lock", "--require-build-hashes"]
        subprocess.run([*install, "--require-hashes", "-r", ROOT / "requirements.lock"], check=True)
        extras = [word for it in self.extras for word in ("--extra", it)]
        constraints = ["--constraints", ROOT / "requirements-dev.lock"]
        subprocess.run([*install, *constraints, "-r", ROOT / "pyproject.toml", *extras], check=True)
        subprocess.run([*install, "--no-deps", *build, ROOT], check=True)
        subprocess.run(["/usr/bin/python3", "-m", "compileall", "-q", venv / "lib"], check=True)
        for script in (venv / "bin").iterdir():
            # It names the Python of this folder, which has another path inside.
            if script.is_file() and not script.is_symlink() and str(self.root) in (text := script.read_text()):
                script.write_text(text.replace(str(self.root), ""))

    def start(self, log: Path, **secrets: str) -> "subprocess.Popen[bytes]":
        """Start it as the machine does, in a limited memory."""
        given = " ".join(f"'{name}={value}'" for name, value in {**self.environment, **secrets}.items())
        script = MOUNT.format(cgroup=CGROUP, root=self.root, environment=given)
        with log.open("ab") as out:
            return subprocess.Popen(["unshare", "--mount", "sh", "-c", script], stdout=out, stderr=out)


@contextmanager
def limited() -> Iterator[None]:
    """Make a cgroup with as much memory as the machine."""
    if os.geteuid() != 0 or not CGROUP.parent.is_dir():
        pytest.skip("root and a cgroup of memory are missing")
    CGROUP.mkdir(exist_ok=True)
    (CGROUP / "memory.limit_in_bytes").write_text(str(MEMORY))
    (CGROUP / "memory.max_usage_in_bytes").write_text("0")
    try:
        yield
    finally:
        eventually(lambda: not [os.kill(pid, signal.SIGKILL) for pid in members()])
        CGROUP.rmdir()


def members() -> list[int]:
    """Return the processes of the cgroup."""
    return [int(pid) for pid in (CGROUP / "cgroup.procs").read_text().split()]


def value(expression: str) -> float:
    """Query the running toban over IPv6, and return the only value."""
    (one,) = exchange(f"/api/v1/query?query={urllib.request.quote(expression)}")["data"]["result"]
    return float(one["value"][1])


def exchange(path: str, body: bytes | None = None) -> Any:
    """Get a JSON response of the running toban, or post some JSON to it."""
    headers = {"authorization": f"Bearer {TOKEN}", "content-type": "application/json"}
    request = urllib.request.Request(f"http://[::1]:9119{path}", body, headers)
    with urllib.request.urlopen(request, timeout=20) as response:
        return json.load(response)


@pytest.mark.soak
@pytest.mark.timeout(MINUTES * 60 + 900)
async def test_an_hour_in_the_image_and_a_new_release(tmp_path: Path):
    """
    Its memory suffices, no run is missed, every order is counted; a new release loses nothing.
    """
    readable(tmp_path)
    ground_truth = GroundTruth()
    mode = ShopVariant(telemetry="enriched")
    log = tmp_path / "log"
    with limited(), run_vendure(mode, "http://127.0.0.1:9119", TOBAN_TOKEN=TOKEN) as shop:
        deployed = (ROOT / "deploy" / "fly.toban.yaml").read_text(encoding="utf-8")
        settings = deployed.replace("http://shop.internal:3000/shop-api", shop.shop_api)
        settings = settings.replace('  redis: "${REDIS_URL}"\n', "")
        settings = settings.replace("shop:\n", "shop:\n  backups: {path: /data/backups}\n", 1)
        settings = settings.replace("https://shop.example/", f"{shop.url}/health")
        secrets = {"TOBAN_TOKEN": TOKEN, "DATABASE_URL": shop.database_url}
        images = [Image(tmp_path / name) for name in ("first", "second")]
        images[0].build(settings)
        images[1].build(settings)
        process = images[0].start(log, **secrets)
        eventually(lambda: value('up{job="vendure"}'))
        proved = [run_task(name) for name in ("backup", "restore_drill")]
        began, rounds = time.monotonic(), 0
        while time.monotonic() - began < MINUTES * 60:
            rounds += 1
            sold = await place_orders(shop, seed=rounds, orders=5)
            ground_truth.orders.extend(sold.orders)
            await asyncio.sleep(10)
        orders = "sum(vendure_orders_created_total)"
        eventually(lambda: value(orders), lambda many: many == len(ground_truth.orders))
        most = int((CGROUP / "memory.max_usage_in_bytes").read_text())
        stat = dict(line.split() for line in (CGROUP / "memory.stat").read_text().splitlines())
        rss = int(stat["rss"])
        uid = user()
        missed = value("sum(toban_job_missed_runs_total or vector(0)) + sum(toban_job_timeouts_total or vector(0))")
        queries = value("sum(increase(vendure_api_requests_total[1h]))")

        process.terminate()
        assert process.wait(60) == 0
        # The volume is attached to the next machine.
        shutil.rmtree(images[1].root / "data")
        shutil.move(images[0].root / "data", images[1].root / "data")
        process = images[1].start(log, **secrets)
        eventually(lambda: value('up{job="vendure"}'))
        again = eventually(lambda: value(orders), lambda many: many == len(ground_truth.orders))
        before = value(f"count_over_time(up{{job='vendure'}}[{MINUTES}m])")
        process.terminate()
        assert process.wait(60) == 0
    print(f"\n{MINUTES} minutes, {len(ground_truth.orders)} orders, {queries:.0f} requests in the last hour;")
    print(f"resident {rss / 2**20:.0f} MB, with the files' cache {most / 2**20:.0f} of {MEMORY >> 20} MB at most")
    assert proved == ["succeeded", "succeeded"]
    assert uid == "9119"
    assert missed == 0
    assert again == len(ground_truth.orders)
    assert before > MINUTES * 60 / 15 * 0.95
    assert rss < 0.8 * MEMORY


def run_task(name: str) -> str:
    """Run a maintenance task of the running toban; return its state when it has ended."""
    run = exchange("/api/maintenance/start", json.dumps({"task": name, "dry": False}).encode())
    ended = eventually(lambda: exchange(f"/api/maintenance/run?id={run['id']}"), lambda it: it["ended"])
    print(ended["text"])
    return str(ended["state"])


def user() -> str:
    """Return the id of the user that toban runs as."""
    found = [pid for pid in members() if b"toban" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    return Path(f"/proc/{found[0]}/status").read_text().split("Uid:")[1].split()[0]


def readable(folder: Path) -> None:
    """Let other users than root enter a folder."""
    for place in (folder, *folder.parents[:2]):
        place.chmod(0o755)
