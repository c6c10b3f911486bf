"""The connections to a Redis that allows few, closes them, or is far away."""

import asyncio
import contextlib
import ssl
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
import trustme
from redis import exceptions as redis_exceptions
from redis.asyncio import Redis

from conftest import MakeSettings, Serve
from graph import redis_pool
from graph.redis import open_redis
from graph.redis_faults import kind_of, trouble_of
from harness.own_redis import own_redis
from harness.scripted_model import ScriptedModel

FEW = ("--maxclients", "20")


async def chat(client: httpx.AsyncClient) -> int:
    return (await client.post("/chat", json={"message": "Hello?"})).status_code


@asynccontextmanager
async def clients(serve: Serve, **variables: object) -> AsyncGenerator[httpx.AsyncClient]:
    async with serve(**variables) as url:
        limits = httpx.Limits(max_connections=100)
        async with httpx.AsyncClient(base_url=url, timeout=30, limits=limits) as client:
            yield client


@pytest.mark.parametrize("connections", [10, 50], ids=["fewer than Redis allows", "more than Redis allows"])
async def test_sixty_chats_at_once_are_answered_by_a_redis_that_allows_twenty_clients(
    serve: Serve, model: ScriptedModel, tmp_path: Path, connections: int
) -> None:
    """Each waits its turn, and the service never has more connections than it may."""
    with own_redis(tmp_path, *FEW) as own:
        async with clients(serve, REDIS_URL=own.url, SUPPORT_REDIS_CONNECTIONS=connections) as client:
            assert Counter(await asyncio.gather(*(chat(client) for _ in range(60)))) == {200: 60}
            assert [await chat(client) for _ in range(3)] == [200] * 3
            if connections < 20:
                async with Redis.from_url(own.url) as redis:
                    assert len(await redis.client_list()) <= connections + 1


async def test_a_redis_that_is_full_of_other_clients_is_used_again_when_they_are_gone(
    serve: Serve, model: ScriptedModel, tmp_path: Path
) -> None:
    """503 until there is room; then it comes back by itself."""
    with own_redis(tmp_path, *FEW) as own:
        others = [Redis.from_url(own.url) for _ in range(20)]
        await asyncio.gather(*(other.ping() for other in others))
        async with clients(serve, REDIS_URL=own.url) as client:
            assert await chat(client) == 503
            for other in others[:3]:
                await other.aclose()
            async with asyncio.timeout(10):
                while await chat(client) != 200:
                    await asyncio.sleep(0.1)
            assert Counter(await asyncio.gather(*(chat(client) for _ in range(30)))) == {200: 30}
        await asyncio.gather(*(other.aclose() for other in others))


async def test_connections_that_the_server_has_closed_are_replaced(make_settings: MakeSettings, redis: Redis) -> None:
    """No command fails, and none is counted as a failure of Redis."""
    async with open_redis(make_settings(SUPPORT_REDIS_CONNECTIONS=5)) as pooled:
        for _ in range(3):
            assert await asyncio.gather(*(pooled.ping() for _ in range(40))) == [True] * 40
            await redis.client_kill_filter(_type="normal", skipme=True)


async def test_commands_that_are_cancelled_take_no_connection_with_them(
    make_settings: MakeSettings, redis: Redis
) -> None:
    """After many disconnects all connections are still there to use."""
    async with open_redis(make_settings(SUPPORT_REDIS_CONNECTIONS=3)) as pooled:
        for number in range(200):
            task = asyncio.ensure_future(pooled.set("key", number))
            for _ in range(number % 20):
                await asyncio.sleep(0)
            task.cancel()
        await asyncio.sleep(0)
        assert await asyncio.gather(*(pooled.ping() for _ in range(20))) == [True] * 20


async def test_commands_are_served_in_the_order_of_their_arrival(make_settings: MakeSettings, redis: Redis) -> None:
    """A command that comes later does not overtake one that waits."""
    async with open_redis(make_settings(SUPPORT_REDIS_CONNECTIONS=1)) as pooled:
        await asyncio.gather(*(pooled.rpush("order", number) for number in range(50)))
    assert [int(value) for value in await redis.lrange("order", 0, -1)] == list(range(50))  # pyright: ignore[reportGeneralTypeIssues] - redis-py's types cover sync too


async def test_connections_that_nobody_needs_are_left_to_others(
    make_settings: MakeSettings, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a burst, the idle ones are closed one by one."""
    monkeypatch.setattr(redis_pool, "_IDLE", 0.05)
    async with open_redis(make_settings()) as pooled:
        await asyncio.gather(*(pooled.ping() for _ in range(30)))
        before = len(await redis.client_list())
        await asyncio.sleep(0.1)
        for _ in range(30):
            await pooled.ping()
        assert len(await redis.client_list()) < before - 20


async def test_a_wait_for_a_connection_that_is_too_long_is_named(
    make_settings: MakeSettings, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reason names the setting that would allow more."""
    monkeypatch.setattr(redis_pool, "_WAIT", 0.05)
    async with open_redis(make_settings(SUPPORT_REDIS_CONNECTIONS=1)) as pooled:
        connection = await pooled.connection_pool.get_connection()
        with pytest.raises(redis_exceptions.TimeoutError) as error:
            await pooled.ping()
        await pooled.connection_pool.release(connection)
        assert "SUPPORT_REDIS_CONNECTIONS" in trouble_of(kind_of(error.value)).reason
        assert await pooled.ping()


@asynccontextmanager
async def far_redis(url: str, directory: Path, each_way: float) -> AsyncGenerator[str]:
    """Yield the URL of this Redis as if behind TLS in another part of the world."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(directory / "ca.pem")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    login, _, address = url.removeprefix("redis://").rpartition("@")
    host, port = address.partition("/")[0].split(":")
    tasks: set[asyncio.Task[None]] = set()

    async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while chunk := await source.read(65536):
            await asyncio.sleep(each_way)
            sink.write(chunk)
        sink.close()

    async def link(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(OSError):
            await asyncio.sleep(4 * each_way)  # the TCP and TLS handshakes
            far_reader, far_writer = await asyncio.open_connection(host, int(port))
            with contextlib.closing(far_writer):
                await asyncio.gather(pump(reader, far_writer), pump(far_reader, writer))

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(task := asyncio.create_task(link(reader, writer)))
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=context)
    try:
        own = server.sockets[0].getsockname()[1]
        yield f"rediss://{login}@127.0.0.1:{own}/0?ssl_ca_certs={directory / 'ca.pem'}"
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.soak
async def test_a_far_redis_works_with_a_longer_time_limit(
    serve: Serve, model: ScriptedModel, redis_url: str, redis: Redis, tmp_path: Path
) -> None:
    """With TLS and 150 ms each way a conversation is kept."""
    async with (
        far_redis(redis_url, tmp_path, 0.15) as url,
        clients(serve, REDIS_URL=url, SUPPORT_REDIS_TIMEOUT=2) as client,
    ):
        assert await chat(client) == 200


async def test_a_certificate_that_is_not_trusted_is_named(
    serve: Serve, model: ScriptedModel, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A company's own authority is trusted once SSL_CERT_FILE names it."""
    async with far_redis(redis_url, tmp_path, 0) as url:
        url = url.partition("?")[0]
        async with clients(serve, REDIS_URL=url) as client:
            check = (await client.get("/ready")).json()["checks"]["redis"]
        assert check["reason"] == "has a certificate of an authority that is not trusted"
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        async with clients(serve, REDIS_URL=url, SUPPORT_REDIS_TIMEOUT=2) as client:
            assert await chat(client) == 200


async def test_a_time_limit_that_is_too_short_is_named(
    serve: Serve, model: ScriptedModel, redis_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The log and /ready name the setting, also while the circuit breaker is open."""
    async with (
        far_redis(redis_url, tmp_path, 0.15) as url,
        clients(serve, REDIS_URL=url, SUPPORT_REDIS_TIMEOUT=0.05) as client,
    ):
        ready = (await client.get("/ready")).json()
    reason = "does not answer within SUPPORT_REDIS_TIMEOUT"
    assert reason in caplog.text
    assert reason in str(ready)
