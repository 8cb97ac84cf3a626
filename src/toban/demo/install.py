"""
Installs the shop's packages once on a machine, into the user's cache folder.

The folder is named by a hash of the lock file and is renamed into folder when it is complete, so that an interrupted
install is never used. Concurrent installs wait for the first.
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

from toban.core.child_process import child_options
from toban.demo.servers import DemoError

STORE: Final = Path(__file__).parent / "store"
"""The shop's own files."""

MIN_NODE_VERSION: Final = 20
NODE_REQUIREMENT: Final = (
    f"Node.js {MIN_NODE_VERSION} or newer, with npm (on Debian: apt-get install nodejs npm; else https://nodejs.org)"
)
INSTALL_TIMEOUT: Final = 900
"""Seconds that an install may take, on a slow line."""

REGISTRY_TIMEOUT: Final = 12
"""Seconds that npm's registry may take to respond."""

PROBE_PACKAGE: Final = "reflect-metadata"
"""One of the shop's packages, by which the registry is checked."""

POLL_INTERVAL: Final = 0.5
"""Seconds between two reports of progress."""

Say = Callable[[str], None]


def quiet(_: str) -> None:
    """Print nothing."""


def node() -> Path:
    """Return the path of Node.js. Raises ``DemoError`` when it or npm is missing or too old."""
    found, npm = shutil.which("node"), shutil.which("npm")
    if not found or not npm:
        raise DemoError(f"the shop needs {NODE_REQUIREMENT}: no {'npm' if found else 'node'} was found")
    output = subprocess.run([found, "--version"], capture_output=True, text=True, check=False).stdout  # noqa: S603  # ours
    version = re.match(r"v(\d+)", output)
    if not version or int(version[1]) < MIN_NODE_VERSION:
        raise DemoError(f"the shop needs {NODE_REQUIREMENT}: {found} is {output.strip() or 'of unknown version'}")
    return Path(found)


def cache_folder(environment: Mapping[str, str]) -> Path:
    """Return the cache folder by the XDG specification."""
    cache = environment.get("XDG_CACHE_HOME") or str(Path(environment.get("HOME", "/")) / ".cache")
    return Path(cache) / "toban"


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Lock a file, for one process at a time; the kernel releases the lock when the process ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def fingerprint(*files: Path) -> str:
    """Return a short hash of the files' contents."""
    return hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()[:16]


def install_shop(say: Say = quiet) -> Path:
    """
    Return the folder with the shop's `node_modules`; install it if it is missing.

    Raises ``DemoError``.
    """
    node()
    cache = cache_folder(os.environ)
    folder = cache / f"store-{fingerprint(STORE / 'package-lock.json')}"
    with exclusive(cache / "store.lock"):
        if not folder.exists():
            for left in cache.glob("installing-*"):
                shutil.rmtree(left, ignore_errors=True)  # of an interrupted install: none is running
            new = Path(tempfile.mkdtemp(dir=cache, prefix="installing-"))
            try:
                _install(new, say)
                new.rename(folder)
            finally:
                shutil.rmtree(new, ignore_errors=True)
    return folder


def _check_registry(npm: str) -> None:
    """Request one package from the registry. Raises ``DemoError`` soon if there is no network."""
    command = [npm, "view", PROBE_PACKAGE, "version", "--fetch-retries=0", f"--fetch-timeout={REGISTRY_TIMEOUT * 1000}"]
    try:
        done = subprocess.run(  # noqa: S603  # the command is ours
            command, capture_output=True, text=True, check=False, timeout=REGISTRY_TIMEOUT + 5, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired:
        reason = f"npm: still running after {REGISTRY_TIMEOUT + 5} s"
    else:
        if done.returncode == 0:
            return
        lines = [line.removeprefix("npm error ") for line in done.stderr.splitlines()]
        reason = next((line for line in lines if "http" in line), done.stderr.strip()[-500:])
    raise DemoError(
        f"the npm registry does not answer ({reason}): the shop is installed from there, once. "
        "Connect to a network that reaches it, or set npm's registry or proxy (npm config)"
    )


def _install(folder: Path, say: Say) -> None:
    for name in ("package.json", "package-lock.json"):
        shutil.copy(STORE / name, folder)
    packages = [name for name in json.loads((STORE / "package-lock.json").read_text())["packages"] if name]
    npm = shutil.which("npm") or "npm"
    say("Installing the shop (once): asking npm's registry")
    _check_registry(npm)
    # `npm ci` fails on this lock file: it requires the entries of all other platforms.
    command = [npm, "install", "--no-save", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"]
    log, deadline = folder / "npm.log", time.monotonic() + INSTALL_TIMEOUT
    with log.open("wb") as out:
        process = subprocess.Popen(  # noqa: S603  # the command is ours
            command, cwd=folder, stdin=subprocess.DEVNULL, stdout=out, stderr=out, **child_options()
        )
    try:
        ended = False
        while not ended:
            ended = process.poll() is not None
            # npm creates all folders before it fills them, so this is almost complete early.
            installed = sum((folder / name / "package.json").exists() for name in packages)
            say(f"Installing the shop (once): {installed} of {len(packages)} packages")
            if time.monotonic() > deadline:
                raise DemoError(f"npm install: still running after {INSTALL_TIMEOUT} s")
            time.sleep(0 if ended else POLL_INTERVAL)
    finally:
        process.kill()
        process.wait()
    if process.returncode:
        raise DemoError(f"npm install failed: {log.read_text(errors='replace')[-2000:].strip()}")
