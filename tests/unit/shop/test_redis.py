"""The shop's Redis: its URL, and its failures."""

import pytest
from pydantic import SecretStr
from redis import exceptions

from toban.core.errors import SettingsError
from toban.shop.redis import ADVICE, RedisFailure, ShopRedis, failure_reason


@pytest.mark.parametrize(
    ("address", "shown", "database"),
    [
        ("rediss://default:hunter2@name.upstash.io:6379", "name.upstash.io:6379", "db0"),
        ("redis://:hunter2@127.0.0.1:6380/2", "127.0.0.1:6380", "db2"),
        ("redis://[fdaa::3]:6379", "[fdaa::3]:6379", "db0"),
    ],
)
async def test_a_url_is_shown_without_user_and_password(address: str, shown: str, database: str) -> None:
    """
    The label `instance` and every message say where, never with what secret.
    """
    redis = ShopRedis(SecretStr(address))
    assert (redis.address, redis.database) == (shown, database)


@pytest.mark.parametrize("address", ["redis://:hunter/2@host:6379", "redis://default:hunter2@host:port"])
async def test_an_invalid_url_is_rejected_and_not_shown(address: str) -> None:
    """
    The remedy is named, the password is not.
    """
    with pytest.raises(SettingsError, match="percent-encoded") as error:
        ShopRedis(SecretStr(address))
    assert "hunter" not in str(error.value)


async def test_an_unknown_parameter_of_redis_is_named() -> None:
    """
    Addresses written for another library carry parameters of its own.
    """
    with pytest.raises(SettingsError, match="'family'"):
        ShopRedis(SecretStr("redis://:hunter2@host:6379?family=6"))


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (exceptions.ResponseError("max number of clients reached"), RedisFailure.TOO_MANY_CLIENTS),
        (exceptions.ResponseError("ERR max concurrent connections exceeded"), RedisFailure.TOO_MANY_CLIENTS),
        (
            exceptions.AuthenticationError("invalid username-password pair or user is disabled."),
            RedisFailure.WRONG_PASSWORD,
        ),
        (exceptions.AuthenticationError("Client sent AUTH, but no password is set"), RedisFailure.WRONG_PASSWORD),
        (
            exceptions.ResponseError("max daily request limit exceeded. Limit: 1, Usage: 1."),
            RedisFailure.QUOTA_EXCEEDED,
        ),
        (exceptions.ResponseError("max requests limit exceeded"), RedisFailure.QUOTA_EXCEEDED),
        (exceptions.ResponseError("DB capacity quota exceeded"), RedisFailure.QUOTA_EXCEEDED),
        (exceptions.BusyLoadingError("Redis is loading the dataset in memory"), RedisFailure.LOADING),
        (
            exceptions.NoPermissionError("this user has no permissions to run the 'info' command"),
            RedisFailure.NO_PRIVILEGE,
        ),
        (exceptions.TimeoutError("Timeout reading from host:6379"), RedisFailure.TIMED_OUT),
        (exceptions.ConnectionError("Error 111 connecting to host:6379."), RedisFailure.UNREACHABLE),
        (
            exceptions.ResponseError("unknown command 'INFO', with args beginning with: 'all'"),
            RedisFailure.NO_PRIVILEGE,
        ),
        (exceptions.ResponseError("DB index is out of range"), RedisFailure.OTHER),
    ],
)
def test_failures_are_classified(error: exceptions.RedisError, reason: RedisFailure) -> None:
    """
    By what Redis said, else by what happened.
    """
    assert failure_reason(error) is reason


def test_each_failure_has_a_text() -> None:
    """
    No trouble goes without a sentence for people.
    """
    assert set(ADVICE) == set(RedisFailure)
