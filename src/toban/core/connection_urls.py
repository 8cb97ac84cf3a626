"""
Converts URLs of PostgreSQL and Redis from the form of Node's clients to that of libpq and redis-py.

The shop's own DATABASE_URL and REDIS_URL are written for pg, TypeORM, Prisma or ioredis, which have parameters of their
own: https://www.npmjs.com/package/pg-connection-string, https://www.prisma.io/docs/orm/reference/connection-urls,
https://redis.github.io/ioredis/. Parameters that concern the server are converted, others are removed.
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
NODE_POSTGRES_PARAMETERS: Final = frozenset(_FOR_POSTGRES.split())
"""Parameters of pg, TypeORM, Prisma and their hosting services, in lower case, that libpq does not know."""

_FOR_REDIS: Final = """
    family tls ssl rejectunauthorized keyprefix lazyconnect connecttimeout commandtimeout maxretriesperrequest
    enablereadycheck enableofflinequeue enableautopipelining autoresubscribe autoresendunfulfilledcommands
    connectionname keepalive nodelay dropbufferonreconnect offlinequeue readonly showfriendlyerrorstack stringnumbers
    retrystrategy monitor sockettimeout allowusernameinuri disableclientinfo role name servername path
    max_connections retry_on_timeout
"""
NODE_REDIS_PARAMETERS: Final = frozenset(_FOR_REDIS.split())
"""Options that ioredis reads from a URL, in lower case, that redis-py does not know or need."""

CERTIFICATE_CHECKS: Final = {
    "cert_none": "none", "none": "none",
    "cert_optional": "optional", "optional": "optional",
    "cert_required": "required", "required": "required",
}  # fmt: skip  # a row for each value
"""How a certificate is verified, as Python's `ssl`, Celery and redis-py write it."""

_TRUE: Final = frozenset({"true", "1", "yes", "on"})


def libpq_url(url: SecretStr) -> SecretStr:
    """Return a PostgreSQL URL for libpq. Raises ``ValueError``, whose message has no part of the password."""
    # A question mark before the @ belongs to the password, as in libpq.
    found = re.match(r"[a-z]+://(?:[^@/]*@)?[^?]*", url.get_secret_value())
    base = found[0] if found else ""
    query = url.get_secret_value()[len(base) + 1 :]
    kept, node_parameters = dict[str, str](), dict[str, str]()
    for name, value in _parameters(query):
        known = name.lower() in NODE_POSTGRES_PARAMETERS
        (node_parameters if known else kept)[name.lower() if known else name] = value
    mode = unquote(kept.get("sslmode", ""))
    if not mode and "ssl" in node_parameters:
        mode = _ssl_mode(unquote(node_parameters["ssl"]).lower())
    if mode == "no-verify":
        mode = "require"  # encrypted but not verified; with a root certificate libpq would verify
        kept.pop("sslrootcert", None)
    if mode and mode not in SSL_MODES:
        raise ValueError(f"its `sslmode` must be {', '.join(SSL_MODES[:-1])} or {SSL_MODES[-1]}")
    if mode:
        kept["sslmode"] = mode
    return _url(base, kept)


def _ssl_mode(value: str) -> str:
    """Return the SSL mode of a value of pg's `ssl`."""
    if value in {"no-verify", "0", "false", "no", "off"}:
        return "no-verify" if value == "no-verify" else "disable"
    return "require"


def redis_url(url: SecretStr) -> SecretStr:
    """Return a Redis URL for redis-py. Raises ``ValueError``, whose message has no part of the password."""
    base, _, query = url.get_secret_value().partition("?")
    kept, node_parameters = dict[str, str](), dict[str, str]()
    for name, value in _parameters(query):
        known = name.lower() in NODE_REDIS_PARAMETERS
        (node_parameters if known else kept)[name.lower() if known else name] = value
    encrypted = base.startswith("rediss:")
    if not encrypted and any(node_parameters.get(name, "").lower() in _TRUE for name in ("tls", "ssl")):
        base, encrypted = base.replace("redis:", "rediss:", 1), True
    wanted = unquote(kept.pop("ssl_cert_reqs", "")).lower()
    if "rejectunauthorized" in node_parameters and not wanted:
        wanted = "required" if node_parameters["rejectunauthorized"].lower() in _TRUE else "none"
    if wanted and wanted not in CERTIFICATE_CHECKS:
        raise ValueError("its `ssl_cert_reqs` must be none, optional or required")
    if wanted and encrypted:
        kept["ssl_cert_reqs"] = CERTIFICATE_CHECKS[wanted]
        if CERTIFICATE_CHECKS[wanted] == "none":
            kept["ssl_check_hostname"] = "false"
    return _url(base, kept)


def _parameters(query: str) -> Iterator[tuple[str, str]]:
    """Yield the names of a query, decoded, and its values, still encoded."""
    for part in filter(None, query.split("&")):
        name, _, value = part.partition("=")
        yield unquote(name), value


def _url(base: str, parameters: dict[str, str]) -> SecretStr:
    query = "&".join(f"{name}={value}" for name, value in parameters.items())
    return SecretStr(f"{base}?{query}" if query else base)
