"""
Real servers on free ports in temporary folders: for tests, benches and drills alike.

Each is a context manager that yields when the server answers and leaves nothing behind. Those that `toban demo` needs
too are `toban.demo.servers`; here they are named when a machine lacks them.
"""

import atexit
import json
import shutil
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import cache
from pathlib import Path

from tests.needs import need
from toban.demo import servers
from toban.demo.servers import START_TIMEOUT, Postgres, Server, folder, free_port, running
from toban.shop.postgres_programs import wheel_folder, wheel_postgres

__all__ = [
    "START_TIMEOUT",
    "Postgres",
    "Server",
    "folder",
    "free_port",
    "nats",
    "pgbouncer",
    "postgres",
    "postgres_programs",
    "prometheus",
    "redis",
    "running",
    "valkey",
    "victoria",
    "wheel_folder",
]


def postgres_programs() -> dict[int, Path]:
    """Return where PostgreSQL's programs are, by major version: Debian's and the wheel's."""
    debian = {int(path.parent.name): path for path in Path("/usr/lib/postgresql").glob("[0-9]*/bin")}
    wheel = wheel_postgres()
    found = {**debian, **({18: wheel} if wheel else {})}
    return {version: path for version, path in found.items() if (path / "initdb").exists()}


def postgres(version: int = 18, **settings: str) -> AbstractContextManager[Postgres]:
    """Run a PostgreSQL with these settings."""
    programs = need(f"PostgreSQL {version}", postgres_programs().get(version))
    return servers.postgres(programs, create=_copy_cluster, **settings)


def _copy_cluster(programs: Path, data: Path) -> None:
    """Copy a new cluster: creating one takes a second of CPU time."""
    servers.run("cp", "-R", "--preserve=mode", _cluster(programs), data)


@cache
def _cluster(programs: Path) -> Path:
    """Return a new cluster of a version, which is deleted when the tests end."""
    place = ExitStack()
    atexit.register(place.close)
    data = place.enter_context(folder()) / "data"
    servers.create_cluster(programs, data)
    return data


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
def prometheus(
    configuration: str = "{}", prepare: Callable[[Path], None] | None = None, *, port: int = 0
) -> Iterator[Server]:
    """Run Debian's Prometheus; ``prepare`` may put blocks into `data` of its folder beforehand."""
    program = need("prometheus", shutil.which("prometheus"))
    with folder() as path:
        (path / "prometheus.yml").write_text(configuration)
        (path / "prometheus.yml").chmod(0o644)
        if prepare:
            prepare(path)
            for file in path.rglob("*"):
                shutil.chown(file, path.owner(), path.group())
        port = port or free_port()
        options = [
            "--config.file=prometheus.yml",
            "--storage.tsdb.path=data",
            "--storage.tsdb.retention.time=100y",
            f"--web.listen-address=127.0.0.1:{port}",
            "--web.enable-remote-write-receiver",
        ]
        with running(Server(port, path, [str(program), *options])) as server:
            _ready(f"http://127.0.0.1:{port}/-/ready")
            yield server


@contextmanager
def victoria() -> Iterator[Server]:
    """Run Debian's VictoriaMetrics."""
    program = need("victoria-metrics", shutil.which("victoria-metrics"))
    with folder() as path:
        port = free_port()
        options = [
            "-storageDataPath=data",
            f"-httpListenAddr=127.0.0.1:{port}",
            "-retentionPeriod=100y",
            "-search.latencyOffset=0s",
            "-search.disableCache",
        ]
        with running(Server(port, path, [str(program), *options])) as server:
            _ready(f"http://127.0.0.1:{port}/health")
            yield server


@contextmanager
def alertmanager(configuration: str) -> Iterator[Server]:
    """Run Debian's Alertmanager."""
    program = need("prometheus-alertmanager", shutil.which("prometheus-alertmanager"))
    with folder() as path:
        (path / "alertmanager.yml").write_text(configuration)
        (path / "alertmanager.yml").chmod(0o644)
        port = free_port()
        options = [
            "--config.file=alertmanager.yml",
            "--storage.path=data",
            f"--web.listen-address=127.0.0.1:{port}",
            "--cluster.listen-address=",
        ]
        with running(Server(port, path, [str(program), *options])) as server:
            _ready(f"http://127.0.0.1:{port}/-/ready")
            yield server


def _ready(address: str) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while True:
        try:
            urllib.request.urlopen(address).close()
            return
        except urllib.error.HTTPError as error:
            error.close()
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def valkey(**settings: str) -> AbstractContextManager[Server]:
    """Run a Valkey 9."""
    return servers.valkey(need("valkey-server", servers.wheel_valkey()), **settings)


def redis(**settings: str) -> AbstractContextManager[Server]:
    """Run Debian's Redis 7."""
    return servers.valkey(need("redis-server", shutil.which("redis-server")), **settings)


@contextmanager
def nats(user: str, password: str, port: int = 0) -> Iterator[Server]:
    """Run Debian's nats-server on ::1, for one user."""
    program = need("nats-server", shutil.which("nats-server"))
    with folder() as path:
        port = port or free_port()
        shown = f"user: {json.dumps(user)}, password: {json.dumps(password)}"
        written = path / "nats.conf"
        written.write_text(f'listen: "[::1]:{port}"\nauthorization {{ {shown} }}\n')
        written.chmod(0o644)
        with running(Server(port, path, [str(program), "-c", str(written)], host="::1")) as server:
            yield server
