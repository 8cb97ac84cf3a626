"""Programs that tests need on the machine."""

import os
from pathlib import Path

import pytest


def need(program: str, found: str | Path | None) -> Path:
    """
    Return the path of a program.

    If it is missing, the test is skipped with its name; in CI the test fails.
    """
    if found:
        return Path(found)
    if os.environ.get("CI") == "true":
        pytest.fail(f"{program} is missing")
    pytest.skip(f"{program} is missing")
