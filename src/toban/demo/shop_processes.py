"""Runs the processes of a real Vendure shop: server and worker, over a clone of a populated database."""

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from toban.demo.install import STORE, Say, exclusive, fingerprint, install_shop, node, quiet
from toban.demo.servers import Postgres, Server, free_port, postgres, run, valkey, wait_until_listening
from toban.shop.grants import COLUMNS, custom_column, grants

START_TIMEOUT: Final = 120
"""Seconds that a process of the shop may take to start: some six on an idle machine."""

LOGS: Final = "logs"
"""The folder of winston's files, in that of the shop's files."""

ROLE: Final = "vendure"
READER: Final = "toban"
POPULATE_INPUTS: Final = (
    *(STORE / name for name in ("package-lock.json", "populate.js", "vendure-config.js")),
    *sorted((STORE / "data").iterdir()),
)
"""The files that a populated database depends on."""

AS_CURRENT_USER: Final = {"user": None, "group": None, "extra_groups": None}
"""Options of a program that runs as the user of this process, also as root."""


@dataclass(frozen=True, slots=True)
class ShopVariant:
    """The variants of a shop."""

    jobs: Literal["sql", "bullmq"] = "sql"
    """Where jobs are queued: the table `job_record`, or Redis, which then has the shop's cache too."""

    telemetry: Literal["off", "plain", "enriched"] = "off"
    """None, as in the documentation of the telemetry plugin, or with the files of `integrations/vendure`."""

    ids: Literal["integer", "uuid"] = "integer"
    precision: Literal[0, 2] = 2
    """Decimal places of an amount: yen have none."""

    zone: str = "UTC"
    """The time zone of the shop's processes."""

    database_zone: str = "UTC"
    """The time zone of its sessions in the database."""

    customer_status: bool = True
    """Whether customers have the custom field `customerStatus`."""

    logs: bool = False
    """Whether it logs with winston into files too, and a line for each order that is placed."""

    @property
    def schema(self) -> dict[str, str]:
        """The variables that the tables depend on."""
        return {"IDS": self.ids, "CUSTOMER_STATUS": "1" if self.customer_status else "0"}


@dataclass
class ShopProcesses:
    """A running shop."""

    variant: ShopVariant
    postgres: Postgres
    valkey: Server | None
    database: str
    server: Server
    worker: Server

    @property
    def is_running(self) -> bool:
        """Whether all of its processes run."""
        servers = (self.postgres, self.valkey, self.server, self.worker)
        return all(server.is_running for server in servers if server)

    @property
    def url(self) -> str:
        """The URL of its server."""
        return f"http://127.0.0.1:{self.server.port}"

    @property
    def shop_api(self) -> str:
        """The URL of the Shop API."""
        return f"{self.url}/shop-api"

    @property
    def admin_api(self) -> str:
        """The URL of the Admin API: user `superadmin`, password `superadmin`."""
        return f"{self.url}/admin-api"

    @property
    def worker_health(self) -> str:
        """The URL of the worker's health page, which always says ok."""
        return f"http://127.0.0.1:{self.worker.port}/health"

    @property
    def database_url(self) -> str:
        """The URL of its database, for the read-only role."""
        return self.postgres.address(self.database, READER)

    @property
    def redis_url(self) -> str | None:
        """The URL of its Redis, if it has one."""
        return f"redis://127.0.0.1:{self.valkey.port}/0" if self.valkey else None

    @property
    def console_logs(self) -> Mapping[str, Path]:
        """What its processes print, by their names as services."""
        return {f"vendure-{process.name}": process.log for process in (self.server, self.worker)}

    def log_files(self) -> Sequence[Mapping[str, str]]:
        """Return the files with its log lines, as `logs.files` has them."""
        files = [
            {"path": str(path), "service": service, "timezone": self.variant.zone}
            for service, path in self.console_logs.items()
        ]
        return [{"path": f"{self.server.folder}/{LOGS}/*.json"}, *files] if self.variant.logs else files

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        """Return the rows of a query to its database, run as superuser."""
        return self.postgres.query(statement, database=self.database)

    def start(self) -> None:
        """Start server and worker concurrently, and wait until both listen."""
        processes = (self.server, self.worker)
        for process in processes:
            process.launch()
        for process in processes:
            wait_until_listening(process.port, process.process, process.log, START_TIMEOUT)

    def stop(self) -> None:
        """Stop both. Without Redis a process may never end: it is killed then."""
        for process in (self.server, self.worker):
            if hasattr(process, "process"):
                process.stop(timeout=8)


@contextmanager
def shop_files(installed: Path) -> Iterator[Path]:
    """Create a folder with the shop's files and its installed packages."""
    with tempfile.TemporaryDirectory(prefix="toban-store-") as name:
        folder = Path(name)
        shutil.copytree(STORE, folder, dirs_exist_ok=True)
        (folder / "node_modules").symlink_to(installed / "node_modules")
        yield folder


def populate(installed: Path, server: Postgres, variant: ShopVariant, say: Say = quiet) -> str:
    """
    Return the name of a database with the shop's catalogue, to be cloned with ``CREATE DATABASE … TEMPLATE``.

    Populating takes some ten seconds; its dump is stored beside the installed packages and reused.
    """
    kind = "_".join(variant.schema.values())
    template, dump = f"populated_{kind}", installed / f"populated-{kind}-{fingerprint(*POPULATE_INPUTS)}.dump"
    with exclusive(installed / "populated.lock"):
        if not dump.exists():
            say("Populating the database (once) ...")
            new = dump.with_suffix(".new")
            try:
                _populate(installed, server, variant, new)
                new.rename(dump)
            finally:
                server.execute("DROP DATABASE IF EXISTS populating")
    _role(server)
    if not server.query(f"SELECT FROM pg_database WHERE datname = '{template}'"):
        server.execute(f"CREATE DATABASE restoring OWNER {ROLE}")
        server.run("pg_restore", "-d", "restoring", "--role", ROLE, "--no-owner", dump, **AS_CURRENT_USER)
        server.execute(f"ALTER DATABASE restoring RENAME TO {template}")
    return template


def _populate(installed: Path, server: Postgres, variant: ShopVariant, dump: Path) -> None:
    _role(server)
    server.execute(f"CREATE DATABASE populating OWNER {ROLE}")
    with shop_files(installed) as folder:
        given = {**_environment(server, "populating", variant, None), "DB_SYNC": "1", "POLL_INTERVAL": "20"}
        run(
            node(),
            "populate.js",
            cwd=folder,
            env={**given, "PORT": str(free_port()), "TELEMETRY": "off"},
            **AS_CURRENT_USER,
        )
    server.run("pg_dump", "-Fc", "-d", "populating", "-f", dump, **AS_CURRENT_USER)


def _role(server: Postgres) -> None:
    if not server.query(f"SELECT FROM pg_roles WHERE rolname = '{ROLE}'"):
        server.execute(f"CREATE ROLE {ROLE} LOGIN")


def _environment(server: Postgres, database: str, variant: ShopVariant, redis_server: Server | None) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "HOME": os.environ.get("HOME", "/"),
        "TZ": variant.zone,
        "VENDURE_DISABLE_TELEMETRY": "true",  # sent to the developers of Vendure
        "DB_PORT": str(server.port),
        "DB_NAME": database,
        "DB_USER": ROLE,
        "REDIS_PORT": str(redis_server.port) if redis_server else "",
        "POLL_INTERVAL": "200",
        "PRECISION": str(variant.precision),
        "TELEMETRY": variant.telemetry,
        **variant.schema,
    }


@contextmanager
def run_shop(
    variant: ShopVariant,
    telemetry: str = "http://127.0.0.1:9119",
    *,
    postgresql: Postgres | None = None,
    redis: Server | None = None,
    say: Say = quiet,
    **environment: str,
) -> Iterator[ShopProcesses]:
    """
    Run a shop that sends its telemetry to a URL, with its own PostgreSQL and Valkey unless given.

    ``environment`` has variables for its processes. Raises ``DemoError``.
    """
    installed = install_shop(say)
    with ExitStack() as stack:
        server = postgresql or stack.enter_context(postgres())
        redis_server = redis or stack.enter_context(valkey()) if variant.jobs == "bullmq" else None
        database = _database(installed, server, variant, say)
        folder = stack.enter_context(shop_files(installed))
        given = {
            **_environment(server, database, variant, redis_server),
            **_telemetry(variant, telemetry),
            **({"LOG_FOLDER": str(folder / LOGS)} if variant.logs else {}),
            **environment,
        }
        shop = ShopProcesses(
            variant,
            server,
            redis_server,
            database,
            _process("server", folder, variant, given),
            _process("worker", folder, variant, given),
        )
        stack.callback(shop.stop)
        say("Starting the shop ...")
        shop.start()
        yield shop


def _database(installed: Path, server: Postgres, variant: ShopVariant, say: Say) -> str:
    """Clone the populated database, and grant toban's role to read it."""
    template = populate(installed, server, variant, say)
    number = len(server.query("SELECT FROM pg_database WHERE datname LIKE 'shop%'")) + 1
    name = f"shop{number}"
    server.execute(
        f"CREATE DATABASE {name} OWNER {ROLE} TEMPLATE {template}",
        f"ALTER DATABASE {name} SET TimeZone = '{variant.database_zone}'",
    )
    if variant.jobs == "bullmq":
        # A shop with its jobs in Redis has no such tables.
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
    """Return the grants by which the reader sees the shop's tables without secrets and personal data."""
    columns = [(table, column) for table, column in server.query(COLUMNS, database=database)]
    return grants(columns, READER, [custom_column("customerStatus")])


def _telemetry(variant: ShopVariant, address: str) -> dict[str, str]:
    if variant.telemetry == "plain":
        soon = {f"OTEL_{name}_SCHEDULE_DELAY": "500" for name in ("BSP", "BLRP")}
        return {"OTEL_EXPORTER_OTLP_ENDPOINT": address, **soon}
    return {"TOBAN_URL": address, "TOBAN_TRACES": "enriched"} if variant.telemetry == "enriched" else {}


def _process(name: str, folder: Path, variant: ShopVariant, environment: dict[str, str]) -> Server:
    first = {"off": [], "plain": ["--require", "./plain.js"], "enriched": ["--require", "./instrumentation.js"]}
    port = free_port()
    given = {**environment, "PORT": str(port)}
    if variant.telemetry == "plain":
        given.setdefault("OTEL_SERVICE_NAME", f"vendure-{name}")
    command = [str(node()), *first[variant.telemetry], f"{name}.js"]
    return Server(port, folder, command, name=name, environment=given, privileged=True)
