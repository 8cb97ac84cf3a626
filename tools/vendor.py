"""Fetches the browser libraries of the console from the npm registry into `web/static/vendor`, with their hashes."""

import base64
import hashlib
import json
import subprocess
import tarfile
import tempfile
import tomllib
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "src" / "toban" / "web" / "static" / "vendor"


def fetched(package: str, version: str, members: dict[str, str]) -> dict[str, bytes]:
    """Return the files of a package by the names that they have here."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["npm", "pack", "--silent", "--pack-destination", folder, f"{package}@{version}"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        (archive,) = Path(folder).iterdir()
        with tarfile.open(archive) as files:
            found = {name: files.extractfile(f"package/{member}") for name, member in members.items()}
            return {name: file.read() for name, file in found.items() if file}


def integrity(content: bytes) -> str:
    """Return a hash as browsers write it."""
    return f"sha384-{base64.b64encode(hashlib.sha384(content).digest()).decode()}"


def main() -> None:
    """Fetch what `vendor.toml` names, and renew the hashes there."""
    described = tomllib.loads((FOLDER / "vendor.toml").read_text(encoding="utf-8"))
    lines = ["# Browser libraries: `python tools/vendor.py` fetches these versions and renews the hashes.\n"]
    for name, library in described.items():
        files = fetched(name, library["version"], {here: one["member"] for here, one in library["files"].items()})
        lines.append(f'[{json.dumps(name)}]\nversion = "{library["version"]}"\nlicence = "{library["licence"]}"\n')
        for here, content in files.items():
            (FOLDER / here).write_bytes(content)
            member = library["files"][here]["member"]
            lines.append(f'[{json.dumps(name)}.files."{here}"]\nmember = "{member}"\nhash = "{integrity(content)}"\n')
    (FOLDER / "vendor.toml").write_text("\n".join(lines), encoding="utf-8")


main()
