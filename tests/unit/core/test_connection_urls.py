"""Addresses as Node's clients write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from toban.core.connection_urls import libpq_url, redis_url
from toban.core.errors import SettingsError
from toban.shop.database import ShopDatabase
from toban.shop.redis import ShopRedis

DATABASE = "postgres://u:p@h:1/db"


@pytest.mark.parametrize(
    ("query", "meant"),
    [
        ("?sslmode=no-verify", "?sslmode=require"),
        ("?sslmode=no-verify&sslrootcert=/ca", "?sslmode=require"),
        ("?uselibpqcompat=true&sslmode=require", "?sslmode=require"),
        ("?ssl=true", "?sslmode=require"),
        ("?ssl=no-verify", "?sslmode=require"),
        ("?ssl=0", "?sslmode=disable"),
        ("?ssl=false&sslmode=verify-full", "?sslmode=verify-full"),
        ("?family=6", ""),
        ("?schema=public&connection_limit=5&pool_timeout=0&pgbouncer=true", ""),
        ("?options=endpoint%3Dx&channel_binding=require", "?options=endpoint%3Dx&channel_binding=require"),
        ("?", ""),
    ],
)
def test_a_postgresql_url_means_the_same_as_for_node(query, meant):
    """
    And libpq reads it.
    """
    address = libpq_url(SecretStr(DATABASE + query))
    assert address.get_secret_value() == DATABASE + meant
    assert ShopDatabase(address).address == "h:1/db"


def test_a_question_mark_in_a_password_belongs_to_it():
    """
    As libpq reads it.
    """
    address = "postgres://u:p?schema=x@h/db"
    assert libpq_url(SecretStr(f"{address}?schema=y")).get_secret_value() == address


@pytest.mark.parametrize(
    ("address", "meant"),
    [
        ("redis://default:p@h:1/0?family=6", "redis://default:p@h:1/0"),
        ("redis://h?family=0", "redis://h"),
        ("redis://h?tls=true", "rediss://h"),
        ("redis://h?keyPrefix=shop&lazyConnect=true&db=2", "redis://h?db=2"),
        ("rediss://h?ssl_cert_reqs=CERT_NONE", "rediss://h?ssl_cert_reqs=none&ssl_check_hostname=false"),
        ("rediss://h?ssl_cert_reqs=CERT_REQUIRED", "rediss://h?ssl_cert_reqs=required"),
        ("rediss://h?rejectUnauthorized=false", "rediss://h?ssl_cert_reqs=none&ssl_check_hostname=false"),
        ("redis://h?ssl_cert_reqs=CERT_NONE", "redis://h"),
    ],
)
def test_a_redis_url_means_the_same_as_for_node(address, meant):
    """
    And redis-py reads it.
    """
    found = redis_url(SecretStr(address))
    assert found.get_secret_value() == meant
    assert ShopRedis(found).address.startswith("h")


@pytest.mark.parametrize(
    ("address", "words"),
    [
        (f"{DATABASE}?sslmode=no_verify", "its `sslmode` must be disable, allow"),
        (f"{DATABASE}?sslmod=require", r"unknown parameter 'sslmod' \(did you mean sslmode\?\): remove it"),
        ("rediss://:hunter2@h?ssl_cert_reqs=never", "its `ssl_cert_reqs` must be none, optional or required"),
        ("redis://:hunter2@h/mydb", "must be the number of a database"),
        ("redis://:hunter2@h:1,g:2", "it must name one host"),
        ("redis://:hunter2@h?db=x", "its parameter 'db' is wrong"),
        ("redis://:hunter2@h?socket_timeout=x", "its parameter 'socket_timeout' is wrong"),
        ("redis://:hunter2@h?colour=red", "unknown parameter 'colour': remove it"),
        ("redis://:hunter#2@h", "percent-encoded"),
    ],
)
def test_an_unknown_parameter_is_rejected_with_the_remedy(address, words):
    """
    Without its password, and never with a traceback.
    """
    with pytest.raises((SettingsError, ValueError), match=words) as error:
        opened(address)
    assert "hunter" not in str(error.value)


def opened(address: str) -> None:
    if address.startswith("postgres"):
        ShopDatabase(libpq_url(SecretStr(address)))
    else:
        ShopRedis(redis_url(SecretStr(address)))


parameters = st.lists(
    st.tuples(
        st.sampled_from(["sslmode", "ssl", "family", "tls", "ssl_cert_reqs", "db", "protocol", "host", "port", "x"]),
        st.sampled_from(["true", "6", "no-verify", "CERT_NONE", "%", "%00", "-1", "9999999999999999999", "a=b", "/"])
        | st.text(),
    ),
    max_size=4,
)


@given(
    st.sampled_from(["postgres://u:p@h/db", "postgresql:///", "redis://u:p@h:1/0", "rediss://h", "redis://"]),
    parameters,
    st.text(max_size=20),
)
def test_any_url_is_accepted_or_rejected_with_a_message(base, query, more):
    """
    Whatever its parameters are.
    """
    try:
        opened(f"{base}{more}?{'&'.join('='.join(pair) for pair in query)}")
    except (SettingsError, ValueError) as error:
        assert "is invalid: " in str(error) or "its `ssl" in str(error)
