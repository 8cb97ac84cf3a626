"""
The tables of a Vendure, without a Vendure: a database with its schema, and rows as its processes write them.

```python
with vendure(postgres) as shop:
    shop.order("A1", at=ago(minutes=5))
```

What a real one writes is tested with a real one (`tests.vendure_shop`); this is for many rows, or unusual ones.
"""

import itertools
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import psycopg

from tests.servers import Postgres
from toban.shop.grants import COLUMNS, custom_column, grants

DATA = Path(__file__).parent / "data" / "vendure"
NUMBERS = itertools.count(1)
READER = "toban_reader"


@dataclass
class Vendure:
    """A shop's database; its processes' zone is ``zone``, its sessions' ``database_zone``."""

    server: Postgres
    name: str
    connection: psycopg.Connection[tuple[Any, ...]]
    zone: str = "UTC"
    database_zone: str = "UTC"
    ids: dict[str, Any] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """Its database, as the role that may only read."""
        return self.server.address(self.name, READER)

    def execute(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Do something as its owner."""
        cursor = self.connection.execute(statement.encode(), values)
        return cursor.fetchall() if cursor.description else []

    def written(self, at: datetime) -> datetime:
        """Return a time as its processes write it."""
        return at.astimezone(ZoneInfo(self.zone)).replace(tzinfo=None)

    def defaulted(self, at: datetime) -> datetime:
        """Return a time as its database writes it."""
        return at.astimezone(ZoneInfo(self.database_zone)).replace(tzinfo=None)

    def channel(self, code: str) -> Any:
        """Return a channel's id; it is there from now on."""
        if code not in self.ids:
            ((self.ids[code],),) = self.execute(
                """INSERT INTO channel (code, token, description, "defaultLanguageCode", "availableLanguageCodes",
                     "defaultCurrencyCode", "availableCurrencyCodes", "trackInventory", "outOfStockThreshold",
                     "pricesIncludeTax") VALUES (%s, %s, '', 'en', 'en', 'USD', 'USD', true, 0, false) RETURNING id""",
                [code, code],
            )
        return self.ids[code]

    def customer(self, status: str | None) -> Any:
        """Add a customer of a sort."""
        names = """("firstName", "lastName", "emailAddress", "customFieldsCustomerstatus")"""
        statement = f"INSERT INTO customer {names} VALUES ('', '', '', %s) RETURNING id"
        return self.execute(statement, [status])[0][0]

    def order(
        self,
        code: str,
        at: datetime | None = None,
        *,
        state: str = "PaymentSettled",
        history: Sequence[tuple[str, str]] = (),
        net: int = 1000,
        gross: int = 1200,
        currency: str = "USD",
        channels: Sequence[str] = ("__default_channel__",),
        status: str | None = None,
        type: str = "Regular",
    ) -> Any:
        """Add an order; without a time it is not placed."""
        ((order,),) = self.execute(
            """INSERT INTO "order" (type, code, state, active, "orderPlacedAt", "couponCodes", "shippingAddress",
                 "billingAddress", "currencyCode", "subTotal", "subTotalWithTax", shipping, "shippingWithTax",
                 "customerId") VALUES (%s, %s, %s, %s, %s, '', '{}', '{}', %s, %s, %s, 0, 0, %s) RETURNING id""",
            [
                *(type, code, state, at is None, self.written(at) if at else None, currency, net, gross),
                self.customer(status) if status else None,
            ],
        )
        for channel in channels:
            self.execute("INSERT INTO order_channels_channel VALUES (%s, %s)", [order, self.channel(channel)])
        for before, after in history:
            self.execute(
                """INSERT INTO history_entry (type, "isPublic", data, discriminator, "orderId", "createdAt")
                   VALUES ('ORDER_STATE_TRANSITION', true, %s, 'order-history-entry', %s, clock_timestamp())""",
                [json.dumps({"from": before, "to": after}), order],
            )
        return order

    def payment(
        self, order: Any, at: datetime, state: str = "Declined", message: str = "", method: str = "card"
    ) -> Any:
        """Add an attempt to pay."""
        return self.execute(
            """INSERT INTO payment (method, state, "errorMessage", metadata, amount, "orderId", "createdAt")
               VALUES (%s, %s, %s, '{}', 1000, %s, %s) RETURNING id""",
            [method, state, message, order, self.defaulted(at)],
        )[0][0]

    def job(
        self,
        queue: str,
        state: str,
        at: datetime,
        *,
        started: datetime | None = None,
        ended: datetime | None = None,
        attempts: int = 1,
        retries: int = 0,
    ) -> None:
        """Add a job."""
        self.execute(
            """INSERT INTO job_record ("queueName", state, progress, "isSettled", retries, attempts, "createdAt",
                 "startedAt", "settledAt", data) VALUES (%s, %s, 0, %s, %s, %s, %s, %s, %s, '"secret"')""",
            [
                queue,
                state,
                ended is not None,
                retries,
                attempts,
                self.defaulted(at),
                started and self.written(started),
                ended and self.written(ended),
            ],
        )

    def grant(self) -> None:
        """Let the reader read what toban prints, and nothing else."""
        for statement in grants(self.execute(COLUMNS), READER, [custom_column("customerStatus")]):
            self.execute(statement)


@contextmanager
def vendure(
    server: Postgres, *, ids: str = "integer", zone: str = "UTC", database_zone: str = "UTC", granted: bool = True
) -> Iterator[Vendure]:
    """Make a database with Vendure's tables, and no row in any."""
    name = f"vendure_{ids}_{next(NUMBERS)}"
    schema = DATA / ("schema-uuid.sql" if ids == "uuid" else "schema.sql")
    template = f"schema_{ids}"
    if not server.query(f"SELECT FROM pg_database WHERE datname = '{template}'"):
        server.execute(f"CREATE DATABASE {template}")
        server.execute(schema.read_text(encoding="utf-8"), database=template)
    if not server.query(f"SELECT FROM pg_roles WHERE rolname = '{READER}'"):
        server.execute(f"CREATE ROLE {READER} LOGIN", f"ALTER ROLE {READER} SET default_transaction_read_only = on")
    server.execute(
        f"CREATE DATABASE {name} TEMPLATE {template}", f"ALTER DATABASE {name} SET TimeZone = '{database_zone}'"
    )
    with psycopg.connect(server.address(name), autocommit=True) as connection:
        shop = Vendure(server, name, connection, zone, database_zone)
        if granted:
            shop.grant()
        yield shop
