"""
Installs what the shop is made of: once on a machine, into the cache folder of who runs it.

The folder is named after the lock file, and is there as a whole or not at all: an install that is cut off leaves
nothing that would be taken for one. Several that come at once wait for the first.
"""

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from toban.demo.servers import DemoError, with_us

STORE: Final = Path(__file__).parent / "store"
"""The shop's own files."""

OLDEST_NODE: Final = 20
NEEDED: Final = (
    f"Node.js {OLDEST_NODE} or newer, with npm (on Debian: apt-get install nodejs npm; else https://nodejs.org)"
)
PATIENCE: Final = 900
"""Seconds that an install may take, on a slow line."""

REACHED: Final = 12
"""Seconds that npm's registry may take to answer."""

SMALL: Final = "reflect-metadata"
"""One of the shop's packages, to ask the registry for."""

PAUSE: Final = 0.5
"""Seconds between two looks at how far it has come."""

Say = Callable[[str], None]


def quiet(_: str) -> None:
    """Say nothing."""


def node() -> Path:
    """Return where Node.js is. Raises ``DemoError`` when it or npm is missing or too old."""
    found, npm = shutil.which("node"), shutil.which("npm")
    if not found or not npm:
        raise DemoError(f"the shop needs {NEEDED}: no {'npm' if found else 'node'} was found")
    said = subprocess.run([found, "--version"], capture_output=True, text=True, check=False).stdout  # noqa: S603  # ours
    version = re.match(r"v(\d+)", said)
    if not version or int(version[1]) < OLDEST_NODE:
        raise DemoError(f"the shop needs {NEEDED}: {found} is {said.strip() or 'silent'}")
    return Path(found)


def cache_folder(environment: Mapping[str, str]) -> Path:
    """Return the place that the XDG specification gives to what can be made again."""
    cache = environment.get("XDG_CACHE_HOME") or str(Path(environment.get("HOME", "/")) / ".cache")
    return Path(cache) / "toban"


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Let one process at a time through. The kernel lets go when its holder ends, however it ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def fingerprint(*files: Path) -> str:
    """Return a short name for what these files hold."""
    return hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()[:16]


def install_shop(say: Say = quiet) -> Path:
    """
    Return the folder whose `node_modules` the shop runs on, after installing it where it is missing.

    Raises ``DemoError``.
    """
    node()
    cache = cache_folder(os.environ)
    place = cache / f"store-{fingerprint(STORE / 'package-lock.json')}"
    with exclusive(cache / "store.lock"):
        if not place.exists():
            for left in cache.glob("installing-*"):
                shutil.rmtree(left, ignore_errors=True)  # of one that was cut off: nobody else is at it now
            new = Path(tempfile.mkdtemp(dir=cache, prefix="installing-"))
            try:
                _install(new, say)
                new.rename(place)
            finally:
                shutil.rmtree(new, ignore_errors=True)
    return place


def _reach(npm: str) -> None:
    """Ask the registry for one of the packages. Raises ``DemoError`` soon where there is no network."""
    command = [npm, "view", SMALL, "version", "--fetch-retries=0", f"--fetch-timeout={REACHED * 1000}"]
    try:
        done = subprocess.run(  # noqa: S603  # the command is ours
            command, capture_output=True, text=True, check=False, timeout=REACHED + 5, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired:
        said = f"npm: no end after {REACHED + 5} s"
    else:
        if done.returncode == 0:
            return
        lines = [line.removeprefix("npm error ") for line in done.stderr.splitlines()]
        said = next((line for line in lines if "http" in line), done.stderr.strip()[-500:])
    raise DemoError(
        f"the npm registry does not answer ({said}): the shop is installed from there, once. "
        "Connect to a network that reaches it, or set npm's registry or proxy (npm config)"
    )


def _install(place: Path, say: Say) -> None:
    for name in ("package.json", "package-lock.json"):
        shutil.copy(STORE / name, place)
    packages = [name for name in json.loads((STORE / "package-lock.json").read_text())["packages"] if name]
    npm = shutil.which("npm") or "npm"
    say("Installing the shop (once): asking npm's registry")
    _reach(npm)
    # `npm ci` fails on this lock file: it wants entries for machines of every other kind.
    command = [npm, "install", "--no-save", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"]
    log, deadline = place / "npm.log", time.monotonic() + PATIENCE
    with log.open("wb") as out:
        process = subprocess.Popen(  # noqa: S603  # the command is ours
            command, cwd=place, stdin=subprocess.DEVNULL, stdout=out, stderr=out, **with_us()
        )
    try:
        ended = False
        while not ended:
            ended = process.poll() is not None
            # npm makes the folders first and fills them later, so this is nearly there before the end.
            there = sum((place / name / "package.json").exists() for name in packages)
            say(f"Installing the shop (once): {there} of {len(packages)} packages")
            if time.monotonic() > deadline:
                raise DemoError(f"npm install: no end after {PATIENCE} s")
            time.sleep(0 if ended else PAUSE)
    finally:
        process.kill()
        process.wait()
    if process.returncode:
        raise DemoError(f"npm install failed: {log.read_text(errors='replace')[-2000:].strip()}")
