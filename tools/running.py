"""
Print the part of requirements.lock that toban needs to run: without what tests, checks and builds need.

``python tools/running.py > running.lock`` in an environment in which all of it is installed; the image is made so.
"""

import re
import sys
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def needed(name: str) -> set[str]:
    """Return the names of all packages that one needs here, by what they say of themselves."""
    found: set[str] = set()
    waiting = [Requirement(name)]
    while waiting:
        wanted = waiting.pop()
        key = canonicalize_name(wanted.name)
        extras = wanted.extras or {""}
        if key in found and not wanted.extras:
            continue
        found.add(key)
        for line in distribution(key).requires or []:
            inner = Requirement(line)
            if not inner.marker or any(inner.marker.evaluate({"extra": extra}) for extra in extras):
                waiting.append(inner)
    return found - {canonicalize_name(name)}


def part(lock: str, names: set[str]) -> str:
    """Return the entries of a lock file for these packages, with their hashes."""
    entries = re.split(r"(?m)^(?=[a-zA-Z0-9])", lock)
    return "".join(it for it in entries if canonicalize_name(re.split(r"[=\[ ;]", it, maxsplit=1)[0]) in names)


if __name__ == "__main__":
    root = Path(__file__).parents[1]
    sys.stdout.write(part((root / "requirements.lock").read_text(encoding="utf-8"), needed("toban")))
