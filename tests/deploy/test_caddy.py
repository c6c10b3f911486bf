"""The Caddyfile of docker-compose.yml and `support-agent cluster`, read and run by a real Caddy."""

import asyncio
import json
import re
import subprocess
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from http import HTTPStatus
from io import BytesIO
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import pytest
import yaml
from httpx_sse import aconnect_sse
from redis.asyncio import Redis
from websockets.asyncio.client import connect

from api.settings import ServiceSettings
from conftest import REPOSITORY, Serve
from harness.caddy import adapted, caddy
from harness.own_redis import own_redis
from harness.planting import plant
from harness.programs import program
from harness.scripted_model import ScriptedModel, tokens
from local.caddy import start_caddy
from local.process import free_port

CADDYFILE = REPOSITORY / "deploy/caddy/Caddyfile"
QUESTION = {"question": "Hello?"}


def server(**variables: str) -> dict[str, Any]:
    """Return the public server in Caddy's own configuration."""
    servers = adapted(CADDYFILE, **variables)["apps"]["http"]["servers"].values()
    [found] = [server for server in servers if not server["listen"][0].startswith("unix/")]
    return found


@asynccontextmanager
async def proxy(*replicas: str) -> AsyncGenerator[httpx.AsyncClient]:
    """Run Caddy in front of replicas and yield a client of it."""
    program("caddy")
    port = free_port()
    places = " ".join(url.removeprefix("http://") for url in replicas)
    variables = {"SUPPORT_DOMAIN": f":{port}", "SUPPORT_BIND": "127.0.0.1", "SUPPORT_REPLICAS": places}
    with start_caddy(CADDYFILE, port, variables) as service:
        await asyncio.to_thread(service.wait)
        async with httpx.AsyncClient(base_url=service.url, timeout=20) as client:
            yield client


# The file


def test_caddy_accepts_the_file() -> None:
    """Caddy provisions the whole file, and its formatter changes nothing."""
    said = caddy("validate", CADDYFILE)
    assert said.returncode == 0, said.stderr
    assert "not formatted" not in said.stderr


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("lb_policy least_conn", "lb_policy least_con"),
        ("health_uri", "health_url"),
        ("health_interval 500ms", "health_interval soon"),
        ("trusted_proxies 0.0.0.0/0", "trusted_proxies 0.0.0.0/33"),
        ("expression `{err.status_code} == 503`", "expression `{err.status_code} =`"),
        ("error /metrics 404", "eror /metrics 404"),
    ],
)
def test_caddy_refuses_what_is_wrong(tmp_path: Path, right: str, wrong: str) -> None:
    """Caddy rejects an unknown directive, a bad duration, a bad network and a bad expression."""
    (tmp_path / "Caddyfile").write_text(plant(CADDYFILE.read_text(), right, wrong))
    assert caddy("validate", tmp_path / "Caddyfile").returncode != 0


def test_a_domain_brings_tls() -> None:
    """With a domain Caddy obtains a certificate; without one it serves plain HTTP."""
    assert server()["listen"] == [":80"]
    secure = server(SUPPORT_DOMAIN="agent.example.com")
    assert secure["listen"] == [":443"]
    assert secure["routes"][0]["match"] == [{"host": ["agent.example.com"]}]
    assert "tls_connection_policies" not in secure
    assert "automatic_https" not in secure


def test_a_replica_that_hangs_is_given_up() -> None:
    """Caddy's time-out is longer than the longest possible answer."""
    servers = json.dumps(adapted(CADDYFILE)["apps"]["http"]["servers"])
    waits = [int(seconds) / 1e9 for seconds in re.findall(r'"response_header_timeout": (\d+)', servers)]
    longest = 2 * ServiceSettings.model_fields["answer_timeout"].default
    assert [longest < wait < longest + 30 for wait in waits] == [True, True]


# The proxy


async def test_streams_pass_token_by_token(serve: Serve, model: ScriptedModel, redis: Redis) -> None:
    """Server-sent and WebSocket events reach the client while the model is still writing."""
    model.script("answer", tokens(["One", " two"], pause=0.6))
    async with serve() as url, proxy(url) as client:
        arrived: list[float] = []
        async with aconnect_sse(client, "POST", "/chat/stream", json={"message": "Hello?"}) as source:
            async for event in source.aiter_sse():
                if event.event == "token":
                    arrived.append(time.monotonic())
        assert arrived[-1] - arrived[0] > 0.4
        async with connect(f"{client.base_url}/chat".replace("http", "ws", 1)) as socket:
            await socket.send("Hello?")
            assert [await socket.recv() for _ in range(3)] == ["One", " two", "[DONE]"]


async def test_a_stream_that_begins_early_is_not_cut_off() -> None:
    """A stream survives when Caddy reads the end of the request body after the answer has begun."""
    begun = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if head.startswith(b"POST"):
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            writer.write(b"5\r\nfirst\r\n")
            begun.set()
            await asyncio.sleep(1)
            writer.write(b"4\r\nlast\r\n0\r\n\r\n")
        else:
            writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    async def body() -> AsyncGenerator[bytes]:
        yield b"one"
        await begun.wait()
        for piece in (b"two", b"six"):
            await asyncio.sleep(0.2)
            yield piece

    async with await asyncio.start_server(answer, "127.0.0.1") as replica:
        address, port = replica.sockets[0].getsockname()
        async with proxy(f"http://{address}:{port}") as client:
            headers = {"Content-Length": "9"}
            streamed = await client.post("/chat/stream", content=body(), headers=headers)
            assert streamed.text == "firstlast"


async def test_a_client_that_hangs_up_ends_its_turn(serve: Serve, model: ScriptedModel, redis: Redis) -> None:
    """The replica notices the disconnect through the proxy and cancels the model call."""
    model.script("answer", tokens(["word "] * 100, pause=0.2))
    async with serve() as url, proxy(url) as client:
        with pytest.raises(httpx.ReadTimeout):
            await client.post("/chat", json={"message": "Hello?"}, timeout=1)
        async with asyncio.timeout(10):
            while not [call for call in model.of("answer") if call.cut]:
                await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    ("trusted", "expected"),
    [("127.0.0.1", [200, 429]), ("127.0.0.1,127.0.0.2", [200, 200])],
    ids=["a stranger", "a proxy of ours before Caddy"],
)
async def test_whoever_is_trusted_says_who_asks(serve: Serve, redis: Redis, trusted: str, expected: list[int]) -> None:
    """X-Forwarded-For counts only from addresses in SUPPORT_TRUSTED_PROXIES; Caddy appends the peer's address."""
    async with serve(SUPPORT_RATE_LIMIT="1/minute", SUPPORT_TRUSTED_PROXIES=trusted) as url, proxy(url) as through:
        transport = httpx.AsyncHTTPTransport(local_address="127.0.0.2")
        async with httpx.AsyncClient(base_url=through.base_url, transport=transport, timeout=20) as client:
            answers = [
                await client.post("/ask", json=QUESTION, headers={"X-Forwarded-For": f"203.0.113.{number}"})
                for number in (1, 2)
            ]
    assert [answer.status_code for answer in answers] == expected


async def test_metrics_stay_inside(serve: Serve, redis: Redis) -> None:
    """Through the proxy /metrics is a 404 problem; Prometheus scrapes each replica directly."""
    async with serve() as url, proxy(url) as client:
        assert (await client.get(f"{url}/metrics")).status_code == 200
        for path in ("/metrics", "/%6Detrics"):
            answer = await client.get(path, headers={"X-Request-ID": "mine"})
            elsewhere = await client.get("/nowhere", headers={"X-Request-ID": "mine"})
            assert (answer.status_code, answer.headers["content-type"]) == (404, elsewhere.headers["content-type"])
            assert answer.json() == {**elsewhere.json(), "instance": "/metrics"}
            assert answer.headers["x-request-id"] == "mine"


async def pieces() -> AsyncGenerator[bytes]:
    for _ in range(160):
        yield b"a" * 65_536


@pytest.mark.parametrize(
    "body",
    [lambda: BytesIO(b"a" * 200_000), lambda: BytesIO(b"a" * 3_000_000), pieces, lambda: BytesIO(b"a" * 10_000_000)],
    ids=["200 kB", "3 MB", "10 MB in chunks", "10 MB"],
)
async def test_a_body_that_is_too_large_is_refused_as_such(
    serve: Serve, redis: Redis, body: Callable[[], BytesIO | AsyncGenerator[bytes]]
) -> None:
    """A body over the limit gets 413, with or without Content-Length, though the answer precedes its end."""
    # Of more than 256 KiB Go's server leaves some unread, and resets the connection half a second after its answer. So
    # the client must read while it writes; httpx begins to read when it has written all.
    headers = {"Content-Type": "application/json"}
    async with serve() as url, proxy(url) as client, aiohttp.ClientSession(str(client.base_url)) as session:
        async with session.post("/ask", data=body(), headers=headers) as refused:
            assert (refused.status, (await refused.json(content_type=None))["type"]) == (413, "too-large")


@pytest.mark.parametrize(
    ("path", "offered", "instance"),
    [("/chat", ["mine"], "/chat"), ("/a%22b", ['not "mine"'], "/"), ("/chat", ["mine", 'x","y":"'], "/chat")],
    ids=["plain", "odd", "two"],
)
async def test_without_a_replica_the_proxy_says_so_itself(
    serve: Serve, redis: Redis, path: str, offered: list[str], instance: str
) -> None:
    """With no replica Caddy answers with a problem like the service's own, whatever the client sends."""
    async with AsyncExitStack() as replica, proxy(await replica.enter_async_context(serve())) as client:
        await replica.aclose()
        for _ in range(2):
            answer = await client.post(path, json=QUESTION, headers=[("X-Request-ID", one) for one in offered])
            assert answer.status_code in (502, 503)
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.headers["retry-after"] == "5"
            named = answer.headers["x-request-id"]
            assert named == "mine" if offered == ["mine"] else len(named) == 36
            assert answer.json() == {
                "type": "about:blank",
                "title": HTTPStatus(answer.status_code).phrase,
                "status": answer.status_code,
                "detail": "The service did not answer. Try again, with the same Idempotency-Key if you sent one.",
                "instance": instance,
                "request_id": named,
            }
            await asyncio.sleep(1)  # so that Caddy's health check marks the replica as not ready


async def test_another_protocol_is_offered_in_vain(serve: Serve, redis: Redis, model: ScriptedModel) -> None:
    """A request that offers h2c is answered like any other."""
    offered = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": "AAMAAABk"}
    async with serve() as url, proxy(url) as client:
        for _ in range(2):
            answer = await client.post("/chat", json={"message": "Why?"}, headers=offered)
            assert (answer.status_code, answer.json()["messages_in_history"]) == (200, 2)


async def test_a_request_has_one_name(serve: Serve, redis: Redis) -> None:
    """The client's request id is kept; without one, proxy and service share the same new id."""
    async with serve() as url, proxy(url) as client:
        answer = await client.get("/nowhere")
        assert answer.json()["request_id"] == answer.headers["x-request-id"]
        assert len(answer.headers.get_list("x-request-id")) == 1


async def test_its_health_check_tells_whether_it_answers(serve: Serve, redis: Redis) -> None:
    """The health check in docker-compose.yml tests Caddy itself, not the replicas."""
    program("wget")
    services = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text())["services"]
    [kind, command] = services["caddy"]["healthcheck"]["test"]
    assert kind == "CMD-SHELL"
    assert "http://127.0.0.1/metrics" in command
    async with serve() as url, proxy(url) as client:
        check = ["sh", "-c", command.replace("http://127.0.0.1", str(client.base_url).rstrip("/"))]
        assert (await asyncio.to_thread(subprocess.run, check, timeout=20, check=False)).returncode == 0
    assert (await asyncio.to_thread(subprocess.run, check, timeout=20, check=False)).returncode == 1


async def test_without_redis_the_proxy_still_lets_ask_through(
    serve: Serve, model: ScriptedModel, tmp_path: Path
) -> None:
    """With Redis down no replica is ready, but /ask still answers and /chat returns 503."""
    with own_redis(tmp_path) as own:
        async with serve(REDIS_URL=own.url) as url, proxy(url) as client:
            own.kill()
            async with asyncio.timeout(10):
                while (await client.get("/ready")).status_code == 200:
                    await asyncio.sleep(0.1)
            await asyncio.sleep(1)  # so that Caddy's health check sees it too
            assert (await client.post("/ask", json=QUESTION)).status_code == 200
            refused = await client.post("/chat", json={"message": "Hello?"})
            assert (refused.status_code, refused.json()["type"]) == (503, "memory-unavailable")


async def test_without_redis_it_still_says_who_asks(serve: Serve, tmp_path: Path) -> None:
    """With Redis down the rate limit still counts per client address."""
    with own_redis(tmp_path) as own:
        settings = {"REDIS_URL": own.url, "SUPPORT_RATE_LIMIT": "1/minute", "SUPPORT_TRUSTED_PROXIES": "127.0.0.1"}
        async with serve(**settings) as url, proxy(url) as client:
            own.kill()
            async with asyncio.timeout(10):
                while (await client.get("/ready")).status_code == 200:
                    await asyncio.sleep(0.1)
            await asyncio.sleep(1)  # so that Caddy's health check sees it too
            transport = httpx.AsyncHTTPTransport(local_address="127.0.0.2")
            async with httpx.AsyncClient(base_url=client.base_url, transport=transport, timeout=20) as other:
                statuses = [(await one.post("/ask", json=QUESTION)).status_code for one in (client, other, client)]
            assert statuses == [200, 200, 429]
