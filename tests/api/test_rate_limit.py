"""The rate limit of each caller."""

import asyncio
import json
import re
import time
from collections import Counter
from typing import Any

import aiohttp
import httpx
import pytest
from redis.asyncio import Redis
from starlette.requests import HTTPConnection
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from api.auth import digest, new_key
from api.proxies import client_address
from conftest import MakeSettings, Serve

QUESTION = {"question": "Why was I charged twice?"}


async def test_every_answer_says_what_is_left(serve: Serve, redis: Redis) -> None:
    """Answers and errors have RateLimit headers, and 429 has Retry-After."""
    async with serve(SUPPORT_RATE_LIMIT="4/minute") as url, httpx.AsyncClient(base_url=url) as client:
        answers = [
            await client.post("/ask", content="{", headers={"Content-Type": "application/json"}),
            await client.post("/ask", json=QUESTION),
            await client.get("/stream", params={"question": ""}),
            await client.post("/chat/stream", json={"message": "Hello?"}),
            await client.post("/chat", json={"message": "Hello?"}),
        ]
        assert [answer.status_code for answer in answers] == [400, 200, 422, 200, 429]
        for answer, left in zip(answers, (3, 2, 1, 0, 0), strict=True):
            assert answer.headers["RateLimit-Policy"] == '"requests";q=4;w=60'
            said = re.fullmatch(r'"requests";r=(\d+);t=(\d+)', answer.headers["RateLimit"])
            assert said
            assert int(said[1]) == left
            assert 55 <= int(said[2]) <= 60
        refused = answers[-1]
        assert refused.json()["type"] == "rate-limited"
        assert 55 <= int(refused.headers["Retry-After"]) <= 60
        for path in ("/health", "/ready", "/sessions/s-1"):
            assert "RateLimit" not in (await client.get(path)).headers


async def test_the_limit_holds_across_replicas(serve: Serve, redis: Redis) -> None:
    """Of 50 concurrent requests over two replicas exactly 5 pass at 5 a minute, whatever address they claim."""
    limit = {"SUPPORT_RATE_LIMIT": "5/minute"}
    async with serve(**limit) as one, serve(**limit) as other, aiohttp.ClientSession() as session:

        async def status(number: int) -> int:
            headers = {"X-Forwarded-For": f"10.0.{number % 250}.1"}
            async with session.post(f"{(one, other)[number % 2]}/ask", json=QUESTION, headers=headers) as answer:
                return answer.status

        statuses = await asyncio.gather(*(status(number) for number in range(50)))
    assert Counter(statuses) == {200: 5, 429: 45}


async def test_each_key_has_its_own_limit(serve: Serve, redis: Redis) -> None:
    """Keys of one name share a limit; without keys each address has one."""
    keys = {name: new_key() for name in ("a", "b")}
    configured = ",".join(f"{name}:{digest(key).hex()}" for name, key in keys.items())
    async with serve(SUPPORT_RATE_LIMIT="2/minute", SUPPORT_API_KEYS=configured) as url:
        async with httpx.AsyncClient(base_url=url) as client:
            statuses = {
                name: [
                    (await client.post("/ask", json=QUESTION, headers={"X-API-Key": key})).status_code for _ in range(3)
                ]
                for name, key in keys.items()
            }
    assert statuses == {"a": [200, 200, 429], "b": [200, 200, 429]}


async def test_the_limit_holds_in_the_process_while_redis_is_away(serve: Serve) -> None:
    """Without Redis each process enforces the limit itself."""
    async with serve(SUPPORT_RATE_LIMIT="2/minute", REDIS_URL="redis://127.0.0.1:1/0") as url:
        async with httpx.AsyncClient(base_url=url) as client:
            answers = [await client.post("/ask", json=QUESTION) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert answers[0].headers["RateLimit"].startswith('"requests";r=1;')


@pytest.mark.parametrize("subprotocols", [None, [Subprotocol("support.v1")]], ids=["text", "typed"])
async def test_a_websocket_message_counts_as_a_request(serve: Serve, redis: Redis, subprotocols: Any) -> None:
    """Over the limit the text form closes with 1013; the typed form sends an error event and stays open."""
    async with serve(SUPPORT_RATE_LIMIT="1/minute") as url:
        async with connect(url.replace("http", "ws") + "/chat", subprotocols=subprotocols) as socket:
            message = json.dumps({"message": "Hello?"}) if subprotocols else "Hello?"
            await socket.send(message)
            while "[DONE]" not in (frame := str(await socket.recv())) and '"done"' not in frame:
                pass
            await socket.send(message)
            if subprotocols:
                assert json.loads(await socket.recv())["data"]["type"] == "rate-limited"
            else:
                with pytest.raises(ConnectionClosed):
                    await socket.recv()
                assert (socket.close_code, socket.close_reason) == (1013, "rate-limited")


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("203.0.113.9", ["198.51.100.1"], "203.0.113.9"),
        ("10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["1.1.1.1, 198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["1.1.1.1", "198.51.100.1, 10.0.0.2"], "198.51.100.1"),
        ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ("10.0.0.1", ["198.51.100.1, nonsense"], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.1:5100"], "198.51.100.1"),
        ("10.0.0.1", ["[2001:db8:0:1:ffff::1]:5100"], "2001:db8:0:1::/64"),
        ("10.0.0.1", ["[2001:db8:0:1:ffff::1]"], "2001:db8:0:1::/64"),
        ("10.0.0.1", ["198.51.100.1, [::ffff:10.0.0.2]:443"], "198.51.100.1"),
        ("10.0.0.1", ["[nonsense]:5100"], "10.0.0.1"),
        ("10.0.0.1", [""], "10.0.0.1"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("::ffff:10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("2001:db8::1", ["198.51.100.1"], "2001:db8::/64"),
        ("10.0.0.1", ["2001:db8:0:1:ffff::1"], "2001:db8:0:1::/64"),
        (None, ["198.51.100.1"], "None"),
    ],
)
def test_only_a_trusted_proxy_is_believed(
    make_settings: MakeSettings, peer: str | None, forwarded: list[str], client: str
) -> None:
    """The right-most address that is not a trusted proxy counts; of IPv6, its network."""
    headers = [(b"x-forwarded-for", value.encode()) for value in forwarded]
    connection = HTTPConnection({"type": "http", "client": (peer, 1) if peer else None, "headers": headers})
    trusted = make_settings(SUPPORT_TRUSTED_PROXIES="10.0.0.0/8, 192.0.2.1").trusted_proxies
    assert client_address(connection, trusted) == client


async def test_a_forwarded_address_counts_behind_a_trusted_proxy(serve: Serve, redis: Redis) -> None:
    """Addresses that a client prepends do not help it; each client has its own limit."""
    async with serve(SUPPORT_RATE_LIMIT="2/minute", SUPPORT_TRUSTED_PROXIES="127.0.0.1") as url:
        async with httpx.AsyncClient(base_url=url) as client:
            statuses = [
                (await client.post("/ask", json=QUESTION, headers={"X-Forwarded-For": forwarded})).status_code
                for forwarded in ("1.1.1.1, 198.51.100.1", "2.2.2.2, 198.51.100.1", "3.3.3.3, 198.51.100.1", "2.2.2.2")
            ]
    assert statuses == [200, 200, 429, 200]


@pytest.mark.parametrize("skew", [-120, 120], ids=["behind", "ahead"])
async def test_replicas_whose_clocks_differ_keep_the_limit_together(
    serve: Serve, redis: Redis, monkeypatch: pytest.MonkeyPatch, skew: int
) -> None:
    """Two minutes apart, they allow no request too many, refuse none too early, and name the right time to wait."""
    real = time.time
    async with serve(SUPPORT_RATE_LIMIT="4/minute") as one, serve(SUPPORT_RATE_LIMIT="4/minute") as other:
        answers: list[httpx.Response] = []
        async with httpx.AsyncClient() as client:
            for number in range(8):
                url, clock = ((one, real), (other, lambda: real() + skew))[number % 2]
                monkeypatch.setattr(time, "time", clock)
                answers.append(await client.post(f"{url}/ask", json=QUESTION))
                monkeypatch.setattr(time, "time", real)
    assert [answer.status_code for answer in answers] == [200] * 4 + [429] * 4
    assert all(50 <= int(answer.headers["Retry-After"]) <= 60 for answer in answers[4:])
