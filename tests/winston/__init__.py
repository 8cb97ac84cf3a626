"""Real winston, which writes lines into files that it rotates."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.needs import need
from toban.demo.install import cache_folder, exclusive, fingerprint

FOLDER = Path(__file__).parent
PACKAGES = ("package.json", "package-lock.json")


def start_winston(folder: Path, count: int) -> subprocess.Popen[bytes]:
    """Write so many lines with each of two transports into the folder."""
    node = need("node", shutil.which("node"))
    script = shutil.copy(FOLDER / "write.js", _installed())
    return subprocess.Popen([node, script, folder, str(count)], stdin=subprocess.DEVNULL)


def _installed() -> Path:
    """Return the folder with winston's `node_modules`; install it once on a machine."""
    npm = need("npm", shutil.which("npm"))
    cache = cache_folder(os.environ)
    folder = cache / f"winston-{fingerprint(*(FOLDER / name for name in PACKAGES))}"
    with exclusive(cache / "winston.lock"):
        if not folder.exists():
            with tempfile.TemporaryDirectory(dir=cache, prefix="installing-winston-") as new:
                for name in PACKAGES:
                    shutil.copy(FOLDER / name, new)
                command = [npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"]
                subprocess.run(command, cwd=new, stdin=subprocess.DEVNULL, timeout=300, check=True)
                shutil.copytree(new, folder.with_suffix(".new"), symlinks=True)
            folder.with_suffix(".new").rename(folder)
    return folder
