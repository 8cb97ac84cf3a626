"""Reasons of rejected PostgreSQL connections, in any language of the server."""

import asyncio

import psycopg
import pytest

from tests import servers
from tests.fake_postgres import refusing
from tests.integration.scraping import collector_tools, scrape
from toban.collect.collectors.postgres import Postgres
from toban.shop.database import DatabaseFailure, sqlstate_of


@pytest.mark.parametrize(
    ("code", "words", "reason"),
    [
        ("53300", "接続数が多すぎます", DatabaseFailure.TOO_MANY_CONNECTIONS),
        ("28P01", 'ユーザー"toban"のパスワード認証に失敗しました', DatabaseFailure.WRONG_PASSWORD),
        ("28000", "para el usuario no hay una línea en pg_hba.conf", DatabaseFailure.WRONG_PASSWORD),
        ("3D000", 'データベース"vendure"は存在しません', DatabaseFailure.NO_DATABASE),
        ("57P03", "das Datenbanksystem startet", DatabaseFailure.STARTING),
        ("57P01", "завершение подключения по команде администратора", DatabaseFailure.STOPPING),
        ("42501", "\ufffd\ufffd", DatabaseFailure.NO_PRIVILEGE),
        ("XX000", 'C "53300"', DatabaseFailure.OTHER),
    ],
)
async def test_reasons_are_classified_by_sqlstate(code, words, reason):
    """
    It is no `other` for want of English; the server's words stand in the message beside the code.
    """
    async with (
        refusing(code, words) as port,
        collector_tools(database=f"postgresql://toban:x@127.0.0.1:{port}/vendure") as tools,
    ):
        seen = await scrape(Postgres(), tools)
    assert seen.reason == reason
    assert f"({code})" in seen.error
    assert " ".join(words.split()) in seen.error


@pytest.mark.parametrize("version", sorted(servers.postgres_programs()))
async def test_sqlstates_of_real_servers_are_classified(version):
    """
    For no database, a wrong password and a full server: of each PostgreSQL there is.
    """
    with servers.postgres(version, max_connections="4", superuser_reserved_connections="1") as server:
        server.execute("CREATE ROLE guarded LOGIN PASSWORD 'right'")
        server.execute("CREATE ROLE plain LOGIN")
        base = f"host=127.0.0.1 port={server.port} dbname=postgres"
        codes = [f"{base} user=plain dbname=none", f"{base} user=guarded password=wrong", f"{base} user=plain"]
        assert [await asyncio.to_thread(sqlstate_of, code) for code in codes] == ["3D000", "28P01", ""]
        held = [psycopg.connect(f"{base} user=plain") for _ in range(3)]
        try:
            assert await asyncio.to_thread(sqlstate_of, codes[2]) == "53300"
        finally:
            for each in held:
                each.close()
