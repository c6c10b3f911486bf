"""A Redis that answers but does not take what a turn needs: what callers see, what is logged, and the way back."""

import asyncio
import re
import secrets
from collections.abc import Callable, Generator
from pathlib import Path

import httpx
import pytest

from api import readiness
from api.settings import ServiceSettings
from conftest import MakeSettings, Serve
from graph.errors import SettingsError
from graph.redis import open_redis
from harness.fault_proxy import fault_proxy
from harness.measured import measured
from harness.own_redis import OwnRedis, own_redis
from harness.redis_setups import clustered, demote, fill, mend, promote, sentinel, with_user
from harness.scripted_model import ScriptedModel, tokens

MESSAGE = {"message": "Why was I charged twice?", "session_id": "s-1"}
QUESTION = {"question": "Why was I charged twice?"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[OwnRedis]:
    with own_redis(tmp_path_factory.mktemp("redis"), "--repl-diskless-sync-delay", "0") as own:
        yield own


@pytest.fixture
def own(server: OwnRedis) -> Generator[OwnRedis]:
    """A Redis, one for all tests, which is mended after each."""
    yield server
    mend(server)


@pytest.fixture(autouse=True)
def short_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the result of a check for a moment only."""
    monkeypatch.setattr(readiness, "_FRESH", 0.05)


async def redis_of(client: httpx.AsyncClient) -> tuple[int, str | None]:
    """Return the status of /ready, and what it says of Redis."""
    await asyncio.sleep(0.06)
    response = await client.get("/ready")
    return response.status_code, response.json()["checks"]["redis"].get("reason")


async def chat(client: httpx.AsyncClient) -> int:
    return (await client.post("/chat", json=MESSAGE)).status_code


def lack_xadd(own: OwnRedis) -> None:
    own.send("ACL", "SETUSER", "agent", "-xadd")


def lack_sessions(own: OwnRedis) -> None:
    own.send(
        "ACL",
        "SETUSER",
        "agent",
        "resetkeys",
        "~turn:*",
        "~run:*",
        "~idempotency:*",
        "~answer*",
        "~feedback*",
        "~action*",
    )


@pytest.mark.parametrize(
    ("trouble", "kind", "reason"),
    [
        (fill, "OOM", "is full"),
        (demote, "READONLY", "is a read-only replica"),
        (lack_xadd, "NOPERM", "does not let its user run XADD"),
        (lack_sessions, "NOPERM", "does not let its user use the keys session:*, LIMITS:*"),
    ],
)
async def test_what_redis_refuses_is_named_counted_and_decides_readiness(
    own: OwnRedis,
    serve: Serve,
    model: ScriptedModel,
    caplog: pytest.LogCaptureFixture,
    trouble: Callable[[OwnRedis], None],
    kind: str,
    reason: str,
) -> None:
    """Conversations are 503, questions are answered, the log names it once; when it is over, no restart is needed."""
    url = with_user(own, "~*", "+@all")
    async with serve(REDIS_URL=url) as url, httpx.AsyncClient(base_url=url, timeout=20) as client:
        assert (await chat(client), (await client.get("/ready")).status_code) == (200, 200)
        before = await measured(client, "support_agent_redis_errors_total", kind=kind)
        trouble(own)
        assert {await chat(client) for _ in range(3)} == {503}
        assert (await client.post("/ask", json=QUESTION)).status_code == 200
        assert await redis_of(client) == (503, reason)
        assert await measured(client, "support_agent_redis_errors_total", kind=kind) >= before + 3
        assert caplog.text.count(f"({kind});") == 1
        assert "acl-canary" not in caplog.text
        mend(own)
        with_user(own, "~*", "+@all")
        assert await redis_of(client) == (200, None)
        assert await chat(client) == 200


async def test_a_start_says_what_redis_refuses(
    own: OwnRedis, serve: Serve, model: ScriptedModel, caplog: pytest.LogCaptureFixture
) -> None:
    """With the remedy, once; the service starts, and is ready when Redis has room."""
    fill(own)
    async with serve(REDIS_URL=own.url) as url, httpx.AsyncClient(base_url=url) as client:
        assert [record.getMessage() for record in caplog.records if record.name.startswith("graph.redis")] == [
            (
                "Redis is full (OOM); raise its maxmemory, or lower SUPPORT_RATABLE_ANSWERS, SUPPORT_SESSION_TTL "
                "and SUPPORT_CACHE_TTL"
            )
        ]
        assert (await client.get("/ready")).json()["status"] == "starting"
        mend(own)
        assert await redis_of(client) == (200, None)


async def test_what_only_the_cache_and_limits_lack_costs_no_replica(
    own: OwnRedis, serve: Serve, model: ScriptedModel, caplog: pytest.LogCaptureFixture
) -> None:
    """Conversations work, so /ready is 200; the start names what is refused."""
    url = with_user(own, "~*", "+@all", "-zadd", "-hincrby")
    async with (
        serve(REDIS_URL=url, SUPPORT_RATE_LIMIT="9/minute", SUPPORT_CACHE_TTL=60, SUPPORT_LANGGRAPH_API="off") as url,
        httpx.AsyncClient(base_url=url) as client,
    ):
        assert "does not let its user run HINCRBY, ZADD (NOPERM)" in caplog.text
        assert (await client.get("/ready")).status_code == 200
        assert await chat(client) == 200
        assert (await client.post("/ask", json=QUESTION)).status_code == 200


async def test_a_user_that_may_not_ping_is_ready(own: OwnRedis, serve: Serve, model: ScriptedModel) -> None:
    """No probe needs a command that no turn needs."""
    url = with_user(own, "~*", "+@all", "-ping", "-info", "-client", "-hello", "-@dangerous")
    async with serve(REDIS_URL=url) as url, httpx.AsyncClient(base_url=url) as client:
        for _ in range(2):
            assert await redis_of(client) == (200, None)
        assert await chat(client) == 200


async def test_probes_write_nothing_while_redis_is_well(own: OwnRedis, serve: Serve, model: ScriptedModel) -> None:
    """They cost one GET."""
    async with serve(REDIS_URL=own.url) as url, httpx.AsyncClient(base_url=url) as client:
        assert (await client.get("/ready")).status_code == 200
        own.send("CONFIG", "RESETSTAT")
        assert await redis_of(client) == (200, None)
        commands = {name.removeprefix("cmdstat_") for name in own.send("INFO", "commandstats")}
    assert commands - {"config|resetstat", "info", "hello", "client|setinfo"} == {"get"}


async def test_a_full_redis_still_forgets_a_session(own: OwnRedis, serve: Serve, model: ScriptedModel) -> None:
    """Which is 204 once, and 404 then; other conversations can still be read."""
    async with serve(REDIS_URL=own.url) as url, httpx.AsyncClient(base_url=url, timeout=20) as client:
        assert await chat(client) == 200
        assert (await client.post("/chat", json=MESSAGE | {"session_id": "s-2"})).status_code == 200
        fill(own)
        assert await chat(client) == 503
        codes = [(await client.delete("/sessions/s-1")).status_code for _ in range(2)]
        assert codes == [204, 404]
        assert len((await client.get("/sessions/s-2")).json()["messages"]) == 2


async def test_a_session_whose_turn_runs_is_not_forgotten(own: OwnRedis, serve: Serve, model: ScriptedModel) -> None:
    """It is 409 for as long as the turn holds its lock, as before."""
    async with serve(REDIS_URL=own.url) as url, httpx.AsyncClient(base_url=url, timeout=20) as client:
        assert await chat(client) == 200
        lock = f"session:{own.send('KEYS', 'turn:*')[0].removeprefix('turn:')}:lock"
        own.send("SET", lock, "another replica", "EX", 10)
        assert (await client.delete("/sessions/s-1")).status_code == 409
        own.send("DEL", lock)
        assert (await client.delete("/sessions/s-1")).status_code == 204


async def test_the_turn_after_a_failover_reaches_the_new_primary(
    own: OwnRedis, serve: Serve, model: ScriptedModel, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """Though the old one still answers on the connections that are open: it would show an old conversation."""
    with own_redis(tmp_path) as replica:
        demote(replica, own.port)
        async with fault_proxy("127.0.0.1", own.port) as address:
            settings = {"REDIS_URL": f"redis://127.0.0.1:{address.port}/0"}
            async with serve(**settings) as url, httpx.AsyncClient(base_url=url, timeout=20) as client:
                assert set(await asyncio.gather(*(chat_in(client, f"s-{n}") for n in range(8)))) == {200}
                async with asyncio.timeout(10):
                    while len(replica.send("KEYS", "turn:*")) < 8:
                        await asyncio.sleep(0.05)
                promote(replica)
                demote(own, replica.port)
                address.move(replica.port)
                assert set(await asyncio.gather(*(chat_in(client, f"s-{n}") for n in range(8)))) == {200}
                histories = [len((await client.get(f"/sessions/s-{n}")).json()["messages"]) for n in range(8)]
                assert histories == [4] * 8
                assert await redis_of(client) == (200, None)
        assert caplog.text.count("(READONLY);") == 1


async def test_a_session_is_free_soon_after_a_failover_in_the_middle_of_its_turn(
    own: OwnRedis, serve: Serve, model: ScriptedModel
) -> None:
    """The lock that a replica refused to release does not keep the session busy until it expires."""
    model.script("answer", tokens(["Well, "] * 6, pause=0.1), tokens(["Yes."]))
    async with serve(REDIS_URL=own.url) as url, httpx.AsyncClient(base_url=url, timeout=20) as client:
        turn = asyncio.create_task(chat(client))
        async with asyncio.timeout(10):
            while not model.of("answer"):
                await asyncio.sleep(0.01)
        demote(own)
        assert await turn == 503
        promote(own)
        async with asyncio.timeout(3):
            while await chat(client) != 200:
                await asyncio.sleep(0.1)


async def chat_in(client: httpx.AsyncClient, session: str) -> int:
    return (await client.post("/chat", json=MESSAGE | {"session_id": session})).status_code


async def test_a_redis_that_loads_its_data_is_waited_for(
    serve: Serve, model: ScriptedModel, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """And named, since it accepts connections meanwhile."""
    with own_redis(tmp_path) as own:
        for n in range(30):
            own.send("SET", n, secrets.token_hex(1000))
        own.send("SAVE")
        async with serve(REDIS_URL=own.url) as url, httpx.AsyncClient(base_url=url, timeout=20) as client:
            assert await chat(client) == 200
            own.kill()
            own.restart("--key-load-delay", "50000", "--loading-process-events-interval-bytes", "1024")
            assert await chat(client) == 503
            assert await redis_of(client) == (503, "is loading its data")
            assert "Redis is loading its data (LOADING); wait until it has" in caplog.text
            async with asyncio.timeout(10):
                while await chat(client) != 200:
                    await asyncio.sleep(0.2)


@pytest.mark.parametrize("kind", ["a cluster", "a sentinel"])
async def test_a_redis_of_another_kind_is_refused_at_the_start(
    own: OwnRedis, make_settings: MakeSettings, tmp_path: Path, kind: str
) -> None:
    """By name, with what to use instead."""
    with clustered(tmp_path) if kind == "a cluster" else sentinel(tmp_path, own) as other:
        with pytest.raises(SettingsError) as error:
            async with open_redis(make_settings(REDIS_URL=other.url)):
                pass
    words = "runs in cluster mode.*choose the clustering policy Non-clustered" if kind == "a cluster" else "a Sentinel"
    assert re.match(f"REDIS_URL: Redis .*{words}", str(error.value))


@pytest.mark.parametrize("scheme", ["redis+sentinel", "sentinel"])
def test_the_scheme_of_a_sentinel_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    """Other clients know it."""
    monkeypatch.setenv("REDIS_URL", f"{scheme}://127.0.0.1:26379/mymaster")
    with pytest.raises(SettingsError, match="REDIS_URL: must be the address of the primary; Sentinel is not supported"):
        ServiceSettings.load()
