"""The shop's processes: a real Vendure server and worker over a database that was populated once."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from toban.demo.install import STORE, Say, exclusive, fingerprint, install_shop, node, quiet
from toban.demo.servers import Postgres, Server, free_port, listening, postgres, run, valkey
from toban.shop.grants import COLUMNS, custom_column, grants

PATIENCE: Final = 120
"""Seconds that a process of the shop may take to start: some six on an idle machine."""

ROLE: Final = "vendure"
READER: Final = "toban"
PLANTED: Final = (
    *(STORE / name for name in ("package-lock.json", "populate.js", "vendure-config.js")),
    *sorted((STORE / "data").iterdir()),
)
"""What a populated database depends on."""

OURS: Final = {"user": None, "group": None, "extra_groups": None}
"""Run as who we are: client programs don't mind root."""


@dataclass(frozen=True, slots=True)
class ShopVariant:
    """What differs from one shop to another."""

    jobs: Literal["sql", "bullmq"] = "sql"
    """Where jobs wait: the table `job_record`, or Redis, which then holds the shop's cache too."""

    telemetry: Literal["off", "plain", "enriched"] = "off"
    """None, as the telemetry plugin's documentation has it, or with the files of `integrations/vendure`."""

    ids: Literal["integer", "uuid"] = "integer"
    precision: Literal[0, 2] = 2
    """Digits after the point of an amount: yen have none."""

    zone: str = "UTC"
    """The time zone of the shop's processes."""

    database_zone: str = "UTC"
    """The time zone of its sessions in the database."""

    customer_status: bool = True
    """Whether customers have the custom field `customerStatus`."""

    @property
    def schema(self) -> dict[str, str]:
        """What the tables depend on."""
        return {"IDS": self.ids, "CUSTOMER_STATUS": "1" if self.customer_status else "0"}


@dataclass
class ShopProcesses:
    """A running shop."""

    mode: ShopVariant
    postgres: Postgres
    valkey: Server | None
    database: str
    server: Server
    worker: Server

    @property
    def url(self) -> str:
        """Where its server listens."""
        return f"http://127.0.0.1:{self.server.port}"

    @property
    def shop_api(self) -> str:
        """What customers' pages speak to."""
        return f"{self.url}/shop-api"

    @property
    def admin_api(self) -> str:
        """What its staff's pages speak to: `superadmin` with the password `superadmin`."""
        return f"{self.url}/admin-api"

    @property
    def worker_health(self) -> str:
        """The worker's page that always says ok."""
        return f"http://127.0.0.1:{self.worker.port}/health"

    @property
    def database_url(self) -> str:
        """Its database, as the role that may only read."""
        return self.postgres.address(self.database, READER)

    @property
    def redis_url(self) -> str | None:
        """Its Redis, where it has one."""
        return f"redis://127.0.0.1:{self.valkey.port}/0" if self.valkey else None

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        """Ask its database as superuser."""
        return self.postgres.query(statement, database=self.database)

    def start(self) -> None:
        """Start server and worker at the same time, and wait until both answer."""
        processes = (self.server, self.worker)
        for process in processes:
            process.launch()
        for process in processes:
            listening(process.port, process.process, process.log, PATIENCE)

    def stop(self) -> None:
        """End both. Without its Redis a process may wait for ever: then it is killed."""
        for process in (self.server, self.worker):
            if hasattr(process, "process"):
                process.stop(patience=8)


@contextmanager
def shop_files(place: Path) -> Iterator[Path]:
    """A folder with the shop's files beside what was installed."""
    with tempfile.TemporaryDirectory(prefix="toban-store-") as name:
        folder = Path(name)
        shutil.copytree(STORE, folder, dirs_exist_ok=True)
        (folder / "node_modules").symlink_to(place / "node_modules")
        yield folder


def populate(place: Path, server: Postgres, mode: ShopVariant, say: Say = quiet) -> str:
    """
    Return the name of a database with the shop's catalogue, to be cloned with ``CREATE DATABASE … TEMPLATE``.

    Populating takes some ten seconds, so it is done once on a machine and kept beside what was installed.
    """
    kind = "_".join(mode.schema.values())
    template, dump = f"populated_{kind}", place / f"populated-{kind}-{fingerprint(*PLANTED)}.dump"
    with exclusive(place / "populated.lock"):
        if not dump.exists():
            say("Filling the shelves (once) ...")
            new = dump.with_suffix(".new")
            try:
                _populate(place, server, mode, new)
                new.rename(dump)
            finally:
                server.execute("DROP DATABASE IF EXISTS populating")
    _role(server)
    if not server.query(f"SELECT FROM pg_database WHERE datname = '{template}'"):
        server.execute(f"CREATE DATABASE restoring OWNER {ROLE}")
        server.run("pg_restore", "-d", "restoring", "--role", ROLE, "--no-owner", dump, **OURS)
        server.execute(f"ALTER DATABASE restoring RENAME TO {template}")
    return template


def _populate(place: Path, server: Postgres, mode: ShopVariant, dump: Path) -> None:
    _role(server)
    server.execute(f"CREATE DATABASE populating OWNER {ROLE}")
    with shop_files(place) as folder:
        given = {**_environment(server, "populating", mode, None), "DB_SYNC": "1", "POLL_INTERVAL": "20"}
        run(node(), "populate.js", cwd=folder, env={**given, "PORT": str(free_port()), "TELEMETRY": "off"}, **OURS)
    server.run("pg_dump", "-Fc", "-d", "populating", "-f", dump, **OURS)


def _role(server: Postgres) -> None:
    if not server.query(f"SELECT FROM pg_roles WHERE rolname = '{ROLE}'"):
        server.execute(f"CREATE ROLE {ROLE} LOGIN")


def _environment(server: Postgres, database: str, mode: ShopVariant, cache: Server | None) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "HOME": os.environ.get("HOME", "/"),
        "TZ": mode.zone,
        "VENDURE_DISABLE_TELEMETRY": "true",  # what Vendure would send to its makers
        "DB_PORT": str(server.port),
        "DB_NAME": database,
        "DB_USER": ROLE,
        "REDIS_PORT": str(cache.port) if cache else "",
        "POLL_INTERVAL": "200",
        "PRECISION": str(mode.precision),
        "TELEMETRY": mode.telemetry,
        **mode.schema,
    }


@contextmanager
def run_shop(
    mode: ShopVariant,
    telemetry: str = "http://127.0.0.1:9119",
    *,
    postgresql: Postgres | None = None,
    redis: Server | None = None,
    say: Say = quiet,
    **environment: str,
) -> Iterator[ShopProcesses]:
    """
    Run a shop that sends its telemetry to an address, with a PostgreSQL and a Valkey of its own unless given.

    ``environment`` holds variables for its processes. Raises ``DemoError``.
    """
    place = install_shop(say)
    with ExitStack() as stack:
        server = postgresql or stack.enter_context(postgres())
        cache = redis or stack.enter_context(valkey()) if mode.jobs == "bullmq" else None
        database = _database(place, server, mode, say)
        folder = stack.enter_context(shop_files(place))
        given = {**_environment(server, database, mode, cache), **_telemetry(mode, telemetry), **environment}
        shop = ShopProcesses(
            mode,
            server,
            cache,
            database,
            _process("server", folder, mode, given),
            _process("worker", folder, mode, given),
        )
        stack.callback(shop.stop)
        say("Opening the shop ...")
        shop.start()
        yield shop


def _database(place: Path, server: Postgres, mode: ShopVariant, say: Say) -> str:
    """Clone the populated database, and let toban's role read it."""
    template = populate(place, server, mode, say)
    number = len(server.query("SELECT FROM pg_database WHERE datname LIKE 'shop%'")) + 1
    name = f"shop{number}"
    server.execute(
        f"CREATE DATABASE {name} OWNER {ROLE} TEMPLATE {template}",
        f"ALTER DATABASE {name} SET TimeZone = '{mode.database_zone}'",
    )
    if mode.jobs == "bullmq":
        # A shop that keeps its jobs in Redis has no such tables.
        server.execute("DROP TABLE job_record, job_record_buffer", database=name)
    if not server.query(f"SELECT FROM pg_roles WHERE rolname = '{READER}'"):
        server.execute(
            f"CREATE ROLE {READER} LOGIN",
            f"ALTER ROLE {READER} SET default_transaction_read_only = on",
            f"GRANT pg_monitor TO {READER}",
        )
    server.execute("CREATE EXTENSION pg_stat_statements", *_grants(server, name), database=name)
    return name


def _grants(server: Postgres, database: str) -> list[str]:
    """Return what lets the reader see the shop's tables, without secrets and without customers' data."""
    columns = [(table, column) for table, column in server.query(COLUMNS, database=database)]
    return grants(columns, READER, [custom_column("customerStatus")])


def _telemetry(mode: ShopVariant, address: str) -> dict[str, str]:
    if mode.telemetry == "plain":
        soon = {f"OTEL_{name}_SCHEDULE_DELAY": "500" for name in ("BSP", "BLRP")}
        return {"OTEL_EXPORTER_OTLP_ENDPOINT": address, **soon}
    return {"TOBAN_URL": address, "TOBAN_TRACES": "enriched"} if mode.telemetry == "enriched" else {}


def _process(name: str, folder: Path, mode: ShopVariant, environment: dict[str, str]) -> Server:
    first = {"off": [], "plain": ["--require", "./plain.js"], "enriched": ["--require", "./instrumentation.js"]}
    port = free_port()
    given = {**environment, "PORT": str(port)}
    if mode.telemetry == "plain":
        given.setdefault("OTEL_SERVICE_NAME", f"vendure-{name}")
    command = [str(node()), *first[mode.telemetry], f"{name}.js"]
    return Server(port, folder, command, name=name, environment=given, privileged=True)
