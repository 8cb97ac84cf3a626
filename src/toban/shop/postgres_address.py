"""Addresses of PostgreSQL, as libpq reads them; its driver is imported when one is used."""

from collections.abc import Mapping

from pydantic import SecretStr

from toban.core.errors import ActionError


def address_parts(address: SecretStr) -> Mapping[str, str]:
    """Return the parameters of an address. Raises ``ActionError`` for one that libpq does not know."""
    from psycopg import ProgrammingError
    from psycopg.conninfo import conninfo_to_dict

    try:
        return {name: str(value) for name, value in conninfo_to_dict(address.get_secret_value()).items()}
    except ProgrammingError as error:
        raise ActionError("the address of the database is invalid") from error


def address_with(address: SecretStr, **parts: str) -> SecretStr:
    """Return an address with other parameters."""
    from psycopg.conninfo import make_conninfo

    return SecretStr(make_conninfo(address.get_secret_value(), **parts))
