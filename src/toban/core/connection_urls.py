"""
Addresses of PostgreSQL and Redis as Node's clients write them, as libpq and redis-py read them.

The shop's own DATABASE_URL and REDIS_URL are written for pg, TypeORM, Prisma or ioredis, which have parameters of their
own: https://www.npmjs.com/package/pg-connection-string, https://www.prisma.io/docs/orm/reference/connection-urls,
https://redis.github.io/ioredis/. What they mean is kept; what only steers those clients is left out.
"""

import re
from collections.abc import Iterator
from typing import Final
from urllib.parse import unquote

from pydantic import SecretStr

SSL_MODES: Final = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
"""https://www.postgresql.org/docs/current/libpq-ssl.html"""

_FOR_POSTGRES: Final = """
    uselibpqcompat schema currentschema search_path pgbouncer supa workaround connection_limit pool_timeout pool_size
    socket_timeout statement_cache_size prepared_statements sslaccept sslidentity ssl family encoding max min binary
    idletimeoutmillis connectiontimeoutmillis statement_timeout query_timeout lock_timeout keepalive max_connections
    idle_in_transaction_session_timeout connection_timeout pool_max pool_min
"""
OF_NODE_FOR_POSTGRES: Final = frozenset(_FOR_POSTGRES.split())
"""Parameters of pg, TypeORM, Prisma and their hosts, in small letters, that are nothing to libpq."""

_FOR_REDIS: Final = """
    family tls ssl rejectunauthorized keyprefix lazyconnect connecttimeout commandtimeout maxretriesperrequest
    enablereadycheck enableofflinequeue enableautopipelining autoresubscribe autoresendunfulfilledcommands
    connectionname keepalive nodelay dropbufferonreconnect offlinequeue readonly showfriendlyerrorstack stringnumbers
    retrystrategy monitor sockettimeout allowusernameinuri disableclientinfo role name servername path
    max_connections retry_on_timeout
"""
OF_NODE_FOR_REDIS: Final = frozenset(_FOR_REDIS.split())
"""Options of ioredis, which reads them from an address, in small letters, that redis-py doesn't know or need."""

CERTIFICATES: Final = {
    "cert_none": "none", "none": "none",
    "cert_optional": "optional", "optional": "optional",
    "cert_required": "required", "required": "required",
}  # fmt: skip  # one row a meaning
"""How much a certificate is asked for, as Python's `ssl`, Celery and redis-py write it."""

_YES: Final = frozenset({"true", "1", "yes", "on"})


def libpq_url(address: SecretStr) -> SecretStr:
    """Return an address of PostgreSQL as libpq reads it. Raises ``ValueError`` that shows nothing of the password."""
    # A question mark before the @ belongs to the password, as libpq has it.
    found = re.match(r"[a-z]+://(?:[^@/]*@)?[^?]*", address.get_secret_value())
    base = found[0] if found else ""
    query = address.get_secret_value()[len(base) + 1 :]
    kept, asked = dict[str, str](), dict[str, str]()
    for name, value in _parameters(query):
        known = name.lower() in OF_NODE_FOR_POSTGRES
        (asked if known else kept)[name.lower() if known else name] = value
    mode = unquote(kept.get("sslmode", ""))
    if not mode and "ssl" in asked:
        mode = _ssl(unquote(asked["ssl"]).lower())
    if mode == "no-verify":
        mode = "require"  # encrypted, and nobody asks by whom; with a root certificate libpq would ask
        kept.pop("sslrootcert", None)
    if mode and mode not in SSL_MODES:
        raise ValueError(f"its `sslmode` must be {', '.join(SSL_MODES[:-1])} or {SSL_MODES[-1]}")
    if mode:
        kept["sslmode"] = mode
    return _joined(base, kept)


def _ssl(value: str) -> str:
    """Return the mode that pg's `ssl` stands for."""
    if value in {"no-verify", "0", "false", "no", "off"}:
        return "no-verify" if value == "no-verify" else "disable"
    return "require"


def redis_url(address: SecretStr) -> SecretStr:
    """Return an address of Redis as redis-py reads it. Raises ``ValueError`` that shows nothing of the password."""
    base, _, query = address.get_secret_value().partition("?")
    kept, asked = dict[str, str](), dict[str, str]()
    for name, value in _parameters(query):
        known = name.lower() in OF_NODE_FOR_REDIS
        (asked if known else kept)[name.lower() if known else name] = value
    encrypted = base.startswith("rediss:")
    if not encrypted and any(asked.get(name, "").lower() in _YES for name in ("tls", "ssl")):
        base, encrypted = base.replace("redis:", "rediss:", 1), True
    wanted = unquote(kept.pop("ssl_cert_reqs", "")).lower()
    if "rejectunauthorized" in asked and not wanted:
        wanted = "required" if asked["rejectunauthorized"].lower() in _YES else "none"
    if wanted and wanted not in CERTIFICATES:
        raise ValueError("its `ssl_cert_reqs` must be none, optional or required")
    if wanted and encrypted:
        kept["ssl_cert_reqs"] = CERTIFICATES[wanted]
        if CERTIFICATES[wanted] == "none":
            kept["ssl_check_hostname"] = "false"
    return _joined(base, kept)


def _parameters(query: str) -> Iterator[tuple[str, str]]:
    """Return names and values of a query as they are written, percent signs and all."""
    for part in filter(None, query.split("&")):
        name, _, value = part.partition("=")
        yield unquote(name), value


def _joined(base: str, parameters: dict[str, str]) -> SecretStr:
    query = "&".join(f"{name}={value}" for name, value in parameters.items())
    return SecretStr(f"{base}?{query}" if query else base)
