"""Clients that disconnect: none of their turns keeps running or holds a lock."""

import asyncio
import time
from typing import Any

import httpx
import psutil
import pytest
from redis.asyncio import Redis

from conftest import Serve
from harness.conversations import echo, several
from harness.scripted_model import ScriptedModel, stall, tokens


def open_connections(client: httpx.AsyncClient) -> int:
    """Count the open connections of a service in this process."""
    sockets = psutil.Process().net_connections("tcp")
    return sum(one.laddr.port == client.base_url.port and one.status == "ESTABLISHED" for one in sockets)


@pytest.mark.parametrize("count", [5, pytest.param(100, marks=pytest.mark.soak)])
@pytest.mark.parametrize("path", ["/chat", "/chat/stream"])
@pytest.mark.parametrize("reply", [stall, tokens(["Hello"], then=stall)], ids=["before", "after"])
async def test_a_client_that_leaves_holds_nothing(
    neighbours: list[httpx.AsyncClient],
    redis: Redis,
    model: ScriptedModel,
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    reply: Any,
    count: int,
) -> None:
    """After disconnects no call, lock, task or connection is left: for /chat at once, for streams shortly after."""
    monkeypatch.setattr("graph.runs.sessions.UNREAD", 0.5)
    model.script("answer", reply)
    tasks, connections = len(asyncio.all_tasks()), open_connections(neighbours[0])
    posts = [
        asyncio.create_task(neighbours[0].post(path, json={"message": "Hello?", "session_id": f"s-{number}"}))
        for number in range(count)
    ]
    while len(model.of("answer")) < count:
        assert not [post.result().text for post in posts if post.done()]
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.3)
    for post in posts:
        post.cancel()
    hung_up = time.monotonic()
    while not all(call.cut for call in model.of("answer")) and time.monotonic() < hung_up + 5:
        await asyncio.sleep(0.01)
    limit = (0.5 if path == "/chat" else 2) + count / 100  # each takes milliseconds of this process
    assert max(call.cut or hung_up + 9 for call in model.of("answer")) - hung_up < limit
    await asyncio.sleep(0.5)
    assert await redis.keys("session:*") == []
    assert await redis.keys("run:*:alive") == []
    assert len(asyncio.all_tasks()) <= tasks
    assert open_connections(neighbours[0]) <= connections
    model.script("answer", echo)
    await neighbours[1].post("/chat", json={"message": "Again?", "session_id": "s-3"})
    assert model.of("answer")[-1].prompt[1:] == [("user", "Again?")]


@pytest.mark.parametrize("delay", [0.0, 0.002, 0.005, 0.01, 0.02, 0.05])
async def test_a_client_that_leaves_at_once_holds_nothing(
    redis: Redis, serve: Serve, model: ScriptedModel, delay: float
) -> None:
    """However early POST /chat is disconnected, nothing of it is left a second later."""
    model.script("answer", tokens(["Hello"], then=stall))
    body = b'{"message": "Hello?"}'
    async with several(serve, 1) as (client,):

        async def leave() -> None:
            _, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port)
            headers = f"Host: a\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
            writer.write(f"POST /chat HTTP/1.1\r\n{headers}\r\n\r\n".encode() + body)
            await asyncio.sleep(delay)
            writer.close()

        await asyncio.gather(*(leave() for _ in range(10)))
        await asyncio.sleep(1)
        assert await redis.keys("session:*") == []
        assert [call for call in model.of("answer") if call.cut is None] == []
