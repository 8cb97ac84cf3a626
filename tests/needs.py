"""What a test needs of the machine it runs on."""

import os
from pathlib import Path

import pytest


def need(program: str, found: str | Path | None) -> Path:
    """
    Return where a program was found.

    Where it is missing, the test is skipped by name; in CI, where nothing may be missing, it fails.
    """
    if found:
        return Path(found)
    if os.environ.get("CI") == "true":
        pytest.fail(f"{program} is missing")
    pytest.skip(f"{program} is missing")
