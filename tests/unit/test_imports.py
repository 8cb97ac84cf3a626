"""Heavy modules are imported only when they are needed."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("start", "kept_out"),
    [
        ("import toban.cli.program", ["numpy", "pydantic", "sqlalchemy", "starlette", "structlog", "httpx2"]),
        ("import toban.cli.commands.status", ["numpy", "pydantic", "sqlalchemy", "starlette", "structlog", "httpx2"]),
        (
            "from toban.maintenance.settings import all_tasks; all_tasks({})",
            ["psycopg", "redis", "alembic", "cryptography", "opentelemetry", "google.protobuf"],
        ),
        ("import toban.daemon", ["psycopg", "redis", "alembic", "cryptography", "opentelemetry", "google.protobuf"]),
    ],
)
def test_heavy_modules_are_imported_on_demand(start, kept_out):
    """
    It would cost memory all day, or the patience of whoever types a command.
    """
    code = f"import sys; {start}; print([name for name in {kept_out!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"
