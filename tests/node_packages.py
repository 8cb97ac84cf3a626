"""Packages of npm that tests run."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.needs import need
from toban.demo.install import cache_folder, exclusive, fingerprint

PACKAGES = ("package.json", "package-lock.json")


def node_command(folder: Path, script: str, *arguments: str) -> list[str]:
    """Return the command that runs a script of a folder with the packages of its lock file."""
    node = need("node", shutil.which("node"))
    return [str(node), str(_installed(folder) / script), *arguments]


def _installed(folder: Path) -> Path:
    """Return a folder with the scripts and the `node_modules` of a lock file; install it once on a machine."""
    npm = need("npm", shutil.which("npm"))
    cache = cache_folder(os.environ)
    installed = cache / f"{folder.name}-{fingerprint(*(folder / name for name in PACKAGES))}"
    with exclusive(cache / f"{folder.name}.lock"):
        if not installed.exists():
            with tempfile.TemporaryDirectory(dir=cache, prefix=f"installing-{folder.name}-") as new:
                for name in PACKAGES:
                    shutil.copy(folder / name, new)
                command = [npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"]
                subprocess.run(command, cwd=new, stdin=subprocess.DEVNULL, timeout=300, check=True)
                shutil.copytree(new, installed.with_suffix(".new"), symlinks=True)
            installed.with_suffix(".new").rename(installed)
        for script in folder.glob("*.js"):
            copy = installed / script.name
            # Others run it: it is never there in part.
            if not copy.exists() or copy.read_bytes() != script.read_bytes():
                Path(shutil.copy(script, f"{copy}.new")).rename(copy)
    return installed
