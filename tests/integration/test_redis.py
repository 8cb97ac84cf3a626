"""The redis collector against real servers, and against a fake of Upstash."""

import asyncio
import datetime as dt
import ipaddress
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from redis import Redis as Client

from tests import servers
from tests.fakes import FakeClock, ListSink
from tests.integration.scraping import collector_tools, poll_until, scrape
from tests.upstash import QUOTA, upstash
from toban.collect.collectors.redis.redis import Redis
from toban.collect.service import ScrapeLoop
from toban.collect.tools import CollectorTools

KINDS = {"redis": servers.redis, "valkey": servers.valkey}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Redis 7 and Valkey 9, each in turn."""
    return str(request.param)


@pytest.fixture
def server(kind: str) -> Iterator[servers.Server]:
    """A server of one's own."""
    with KINDS[kind](maxmemory="100mb") as running:
        yield running


def address(server: servers.Server, user: str = "") -> str:
    return f"redis://{user}127.0.0.1:{server.port}"


def advance(tools: CollectorTools, seconds: float) -> None:
    assert isinstance(tools.clock, FakeClock)
    tools.clock.advance(seconds)


async def test_samples_are_present_and_correct(server: servers.Server, kind: str) -> None:
    """
    Keys, reads that hit and miss, commands, clients and memory are as a client has just made them.
    """
    collector = Redis()
    with closing(Client(port=server.port, protocol=2)) as client:
        for number in range(10):
            client.set(f"key:{number}", "x" * 1000, ex=60 if number < 3 else None)
        client.get("key:1")
        client.get("nothing")
        with pytest.raises(Exception, match="wrong kind"):
            client.lpush("key:1", "x")
        async with collector_tools(redis=address(server)) as tools:
            seen = await scrape(collector, tools)

    assert not seen.error
    assert seen.one("redis_connected_clients") == 2
    assert seen.one("redis_keyspace_keys", db="db0") == 10
    assert seen.one("redis_keyspace_expiring_keys", db="db0") == 3
    assert seen.one("redis_commands_processed_total", command="set") == 10
    assert seen.one("redis_commands_processed_total", command="get") == 2
    assert seen.one("redis_commands_failed_total", command="lpush") == 1
    assert ("command", "all") not in {label for labels in seen["redis_commands_processed_total"] for label in labels}
    assert seen.one("redis_keyspace_hits_total") >= 1
    assert seen.one("redis_keyspace_misses_total") >= 1
    assert seen.one("redis_memory_usage_bytes") > 10_000
    assert seen.one("redis_memory_limit_bytes") == 100 * 2**20
    assert seen.one("redis_rejected_connections_total") == 0
    assert seen.one("redis_uptime_seconds") >= 0
    assert seen.one("redis_aof_enabled") == 0
    assert "redis_last_save_age_seconds" in seen
    assert "redis_data_size_bytes" not in seen
    ((labels, _),) = seen["redis_info"].items()
    assert {"product": kind, "mode": "standalone"}.items() <= dict(labels).items()
    assert dict(labels)["version"].startswith({"redis": "7.", "valkey": "9."}[kind])
    assert seen.reason == ""


async def test_a_scrape_is_one_command_and_commands_are_counted(server: servers.Server) -> None:
    """
    What toban says that it sent is what the server counted.
    """
    async with collector_tools(redis=address(server)) as tools:
        for _ in range(5):
            seen = await scrape(Redis(), tools)
    with closing(Client(port=server.port, protocol=2)) as client:
        stats = client.info("commandstats")
    assert seen.one("toban_redis_commands_total") == 5
    assert stats["cmdstat_info"]["calls"] == 5


async def test_a_database_without_keys_has_zero_keys(server: servers.Server) -> None:
    """
    A database without keys is not listed by the server; its number is nought, not gone.
    """
    with closing(Client(port=server.port, protocol=2)) as client:
        client.set("last", "1")
        async with collector_tools(redis=address(server)) as tools:
            assert (await scrape(Redis(), tools)).one("redis_keyspace_keys", db="db0") == 1
            client.delete("last")
            assert (await scrape(Redis(), tools)).one("redis_keyspace_keys", db="db0") == 0


async def test_maxclients_has_a_reason_of_its_own(kind: str) -> None:
    """
    At maxclients the look fails with a reason of its own.
    """
    with KINDS[kind](maxclients="1") as server, closing(Client(port=server.port, protocol=2)) as client:
        client.ping()
        async with collector_tools(redis=address(server)) as tools:
            seen = await poll_until(lambda: scrape(Redis(), tools), lambda seen: seen.reason != "unreachable")
    assert seen.reason == "too_many_clients"


async def test_connection_failures_have_their_reasons(kind: str) -> None:
    """
    A wrong password, none at all, and a closed port have reasons of their own; no message shows the password.
    """
    with KINDS[kind](requirepass="right") as server:
        reasons = {}
        for user in (":hunter2@", "default:hunter2@", "", ":right@"):
            async with collector_tools(redis=address(server, user)) as tools:
                seen = await scrape(Redis(), tools)
            reasons[user] = seen.reason
            assert "hunter2" not in seen.error
    assert reasons == {
        ":hunter2@": "wrong_password",
        "default:hunter2@": "wrong_password",
        "": "wrong_password",
        ":right@": "",
    }
    async with collector_tools(redis=f"redis://:hunter2@127.0.0.1:{servers.free_port()}") as tools:
        assert (await scrape(Redis(), tools)).reason == "unreachable"


async def test_a_user_without_permission_is_down_with_the_remedy(server: servers.Server) -> None:
    """
    Nothing of it can be seen; its reason is one of its own, that pages nobody. +info is all it takes.
    """
    collector = Redis()
    with closing(Client(port=server.port, protocol=2)) as client:
        client.execute_command("ACL", "SETUSER", "toban", "on", ">secret", "+ping")
        async with collector_tools(redis=address(server, "toban:secret@")) as tools:
            seen = await scrape(collector, tools)
            client.execute_command("ACL", "SETUSER", "toban", "+info")
            again = await scrape(collector, tools)
    assert seen.reason == "no_privilege"
    assert seen.error.endswith(": ACL SETUSER toban +info")
    assert "redis_connected_clients" not in seen
    assert (again.error, again.reason) == ("", "")
    assert "redis_connected_clients" in again


@pytest.mark.parametrize("kind", sorted(KINDS))
async def test_a_renamed_info_command_is_an_error_with_the_remedy(kind: str) -> None:
    """
    It is there, and nobody may ask: that is no lost connection.
    """
    with KINDS[kind](rename_command="INFO hidden") as server:
        async with collector_tools(redis=address(server)) as tools:
            seen = await scrape(Redis(), tools)
    assert seen.reason == "no_privilege"
    assert "take the line rename-command INFO out of redis.conf" in seen.error


async def test_a_server_that_is_killed_is_down_and_up_again(server: servers.Server) -> None:
    """
    After kill -9 the target is down; when the server is back, so are its numbers.
    """
    sink = ListSink()
    async with collector_tools(redis=address(server)) as tools:
        loop = ScrapeLoop(Redis(), sink, tools)
        ups = []
        await loop.collect()
        ups.append(loop.status.up)
        server.kill()
        await loop.collect()
        ups.append(loop.status.up)
        server.start()
        await loop.collect()
        ups.append(loop.status.up)
    assert ups == [True, False, True]
    assert loop.status.labels == {"job": "redis", "instance": f"127.0.0.1:{server.port}"}


async def test_a_replica_reports_its_link(server: servers.Server, kind: str) -> None:
    """
    A replica says that it is one and how its link is; its master counts it.
    """
    with KINDS[kind](replicaof=f"127.0.0.1 {server.port}") as replica:
        async with (
            collector_tools(redis=address(server)) as at_master,
            collector_tools(redis=address(replica)) as at_replica,
        ):
            seen = await poll_until(
                lambda: scrape(Redis(), at_replica), lambda seen: seen.one("redis_replica_link_up") == 1
            )
            master = await scrape(Redis(), at_master)
    assert seen.one("redis_replica") == 1
    assert seen.one("redis_replica_lag_bytes") >= 0
    assert master.one("redis_replica") == 0
    assert master.one("redis_connected_replicas") == 1


async def test_a_hanging_server_fails_one_scrape(server: servers.Server) -> None:
    """
    A look that is cut off in the middle leaves no half-read answer behind: the next one is true again.
    """
    async with collector_tools(redis=address(server)) as tools:
        assert not (await scrape(Redis(), tools)).error
        server.process.send_signal(19)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await scrape(Redis(), tools)
        server.process.send_signal(18)
        seen = await scrape(Redis(), tools)
        assert not seen.error
        assert seen.one("redis_connected_clients") >= 1


def certificate(place: Path) -> Path:
    """Write a certificate for the loopback that signs itself, and its key; return where they are."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "toban")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file = place / "both.pem"
    file.write_bytes(made.public_bytes(serialization.Encoding.PEM) + secret)
    file.chmod(0o644)
    return file


async def test_rediss_verifies_the_certificate() -> None:
    """
    With rediss:// the server's certificate is checked; one that nobody vouches for is refused.
    """
    with servers.folder() as place:
        file, port = str(certificate(place)), str(servers.free_port())
        given = {"tls_cert_file": file, "tls_key_file": file, "tls_ca_cert_file": file, "tls_auth_clients": "no"}
        with servers.redis(**given, tls_port=port):
            async with collector_tools(redis=f"rediss://127.0.0.1:{port}?ssl_ca_certs={file}") as tools:
                assert not (await scrape(Redis(), tools)).error
            async with collector_tools(redis=f"rediss://127.0.0.1:{port}") as tools:
                assert "certificate" in (await scrape(Redis(), tools)).error
            async with collector_tools(redis=f"redis://127.0.0.1:{port}") as tools:
                assert (await scrape(Redis(), tools)).error


async def test_upstash_is_queried_once_a_minute() -> None:
    """
    It bills each command: of four looks within two minutes two ask, with one INFO each; all four bring the numbers.
    """
    collector = Redis()
    async with upstash() as stand_in, collector_tools(redis=stand_in.address) as tools:
        for _ in range(4):
            seen = await scrape(collector, tools)
            assert not seen.error
            advance(tools, 30)
    assert stand_in.billed == ["AUTH", "INFO", "INFO"]
    assert seen.one("toban_redis_commands_total") == 3
    assert seen.one("redis_commands_processed_total", command="all") == 1500
    assert seen.one("redis_data_size_bytes") / seen.one("redis_data_size_limit_bytes") == 2048 / 268435456
    assert "redis_memory_limit_bytes" not in seen, "its memory is a cache in front of the disk"
    assert seen.one("redis_keyspace_keys", db="db0") == 15
    assert seen.one("redis_info", product="upstash", version="1.13.3", mode="standalone") == 1


async def test_closed_idle_connections_of_upstash_fail_no_scrape() -> None:
    """
    The next look connects again.
    """
    collector = Redis()
    async with upstash() as stand_in, collector_tools(redis=stand_in.address) as tools:
        await scrape(collector, tools)
        await stand_in.hang_up()
        advance(tools, 60)
        assert not (await scrape(collector, tools)).error
        assert stand_in.billed == ["AUTH", "INFO", "AUTH", "INFO"]


async def test_an_exceeded_upstash_quota_has_a_reason_of_its_own() -> None:
    """
    A plan that is used up has a reason of its own, also when toban has only just started.
    """
    collector = Redis()
    async with upstash() as stand_in, collector_tools(redis=stand_in.address) as tools:
        stand_in.error = QUOTA
        for _ in range(4):
            seen = await scrape(collector, tools)
            assert seen.reason == "quota_exceeded"
            advance(tools, 30)
        assert stand_in.billed == ["AUTH", "INFO", "INFO"]
        stand_in.error = ""
        assert not (await scrape(collector, tools)).error
