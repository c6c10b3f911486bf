"""Actions while replicas are killed or end, and Redis pauses."""

import asyncio
import os
import random
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from conftest import REPOSITORY, Report, Serve
from graph.state import Action
from harness.acting import BOOK_CALL, BOOKING, EMAIL, SEND_EMAIL, Effects, RemoteTools, effects, proposed
from harness.conversations import several
from harness.fault_proxy import fault_proxy
from harness.own_redis import own_redis
from harness.replica import replica
from harness.scripted_model import ScriptedModel

BOTH = ((BOOK_CALL, BOOKING), (SEND_EMAIL, EMAIL))
SERVE = [sys.executable, "-m", "harness.acting_replica", "serve"]

Replica = tuple[subprocess.Popen[bytes], httpx.AsyncClient]


async def told(client: httpx.AsyncClient, action: Action) -> str:
    """Confirm an action, again while the service says that it can't answer, and return its status."""
    async with asyncio.timeout(60):
        while (response := await client.post(f"/actions/{action.id}", json={"confirm": True})).status_code == 503:
            await asyncio.sleep(0.1)
    return response.json()["status"]


@asynccontextmanager
async def process_with(tools: Effects, model: ScriptedModel, redis_url: str, articles: Path) -> AsyncGenerator[Replica]:
    """Run the service in a process of its own, with tools."""
    path = os.pathsep.join(map(str, (REPOSITORY / "tests", REPOSITORY)))
    variables = {"EFFECTS_URL": tools.url, "PYTHONPATH": path}
    async with replica(model, redis_url, articles, command=SERVE, **variables) as (process, url):
        async with httpx.AsyncClient(base_url=url, timeout=60) as client:
            yield process, client


async def under_way(tools: Effects, client: httpx.AsyncClient, actions: list[Action]) -> list[asyncio.Task[str]]:
    """Confirm actions, and wait until their tools have done them; their answers are late."""
    tools.late = [2.0] * len(actions)
    confirming = [asyncio.create_task(told(client, action)) for action in actions]
    async with asyncio.timeout(60):
        while len(tools.calls) < len(actions):
            await asyncio.sleep(0.02)
    return confirming


@pytest.mark.soak
async def test_a_replica_is_killed_between_begun_and_done(
    serve: Serve, model: ScriptedModel, redis: Redis, redis_url: str, articles: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one finishes the booking, once, and sends no second e-mail; everybody is told the same."""
    async with AsyncExitStack() as stack:
        tools = await stack.enter_async_context(effects())
        caller = RemoteTools(tools.url)
        stack.push_async_callback(caller.close)
        monkeypatch.setattr("graph.agent.open_tools", caller.opened)
        dies, one = await stack.enter_async_context(process_with(tools, model, redis_url, articles))
        url = await stack.enter_async_context(serve())
        other = await stack.enter_async_context(httpx.AsyncClient(base_url=url, timeout=60))
        actions = [await proposed(redis, *each, session_id=f"s-{n}") for n, each in enumerate(BOTH)]
        confirming = await under_way(tools, one, actions)
        dies.kill()
        await asyncio.gather(*confirming, return_exceptions=True)
        outcomes = await asyncio.gather(*(told(other, actions[n % 2]) for n in range(50)))
        assert set(zip(outcomes, (0, 1) * 25, strict=True)) == {("done", 0), ("unknown", 1)}
        assert sorted(tools.done) == sorted(action.id for action in actions)
        assert [call["key"] for call in tools.calls].count(actions[1].id) == 1


@pytest.mark.soak
async def test_a_replica_that_drains_finishes_what_it_has_begun(
    model: ScriptedModel, redis: Redis, redis_url: str, articles: Path
) -> None:
    """Within its seven seconds; it begins nothing more, and exits with 0."""
    async with effects() as tools, process_with(tools, model, redis_url, articles) as (process, client):
        actions = [await proposed(redis, *each, session_id=f"s-{n}") for n, each in enumerate(BOTH)]
        late = await proposed(redis, session_id="s-9")
        confirming = await under_way(tools, client, actions)
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(60):
            while (await client.get("/ready")).status_code != 503:
                await asyncio.sleep(0.02)
        await asyncio.sleep(0.2)
        refused = await client.post(f"/actions/{late.id}", json={"confirm": True})
        assert (refused.status_code, refused.json()["type"]) == (503, "shutting-down")
        assert await asyncio.gather(*confirming) == ["done", "done"]
        assert await asyncio.to_thread(process.wait, 30) == 0
        assert sorted(tools.done) == sorted(action.id for action in actions)


@pytest.mark.soak
async def test_a_redis_that_pauses_for_a_second_changes_nothing(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, report: Report
) -> None:
    """Wherever the pause falls: each action is done once, and whoever confirms it over two replicas is told so."""
    seed = random.randrange(10**6)  # noqa: S311 - no secret
    report(f"seed {seed}")
    chance = random.Random(seed)  # noqa: S311 - no secret
    with own_redis(tmp_path) as own:
        async with effects() as tools:
            client = RemoteTools(tools.url, 5)
            monkeypatch.setattr("graph.agent.open_tools", client.opened)
            async with several(serve, 2, REDIS_URL=own.url) as clients, Redis.from_url(own.url) as redis:
                for _ in range(3):
                    actions = [await proposed(redis, *each, session_id=f"s-{n}") for n, each in enumerate(BOTH)]
                    tools.late = [chance.uniform(0, 0.3) for _ in actions]
                    asked = [told(clients[n % 2], actions[n // 2 % 2]) for n in range(20)]
                    confirming = asyncio.gather(*asked)
                    await asyncio.sleep(chance.uniform(0, 0.4))
                    own.freeze()
                    await asyncio.sleep(1)
                    own.thaw()
                    assert await confirming == ["done"] * 20, seed
                    assert sorted(tools.done) == sorted(action.id for action in actions), seed
                    tools.done.clear()
            await client.close()


@pytest.mark.parametrize(("tool", "arguments"), BOTH, ids=["booking", "e-mail"])
@pytest.mark.parametrize("lost", [b'"status": "begun"', b'"status": "done"'], ids=["begun", "done"])
async def test_a_change_whose_answer_is_lost_is_made_once(
    serve: Serve, redis: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch, lost: bytes, tool: Any, arguments: Any
) -> None:
    """The client of Redis sends it a second time; the action is begun by one, and done once."""
    port = int(redis_url.rsplit(":", 1)[1].split("/")[0])
    async with effects() as tools, fault_proxy("127.0.0.1", port) as proxy:
        caller = RemoteTools(tools.url)
        monkeypatch.setattr("graph.agent.open_tools", caller.opened)
        async with serve(REDIS_URL=redis_url.replace(str(port), str(proxy.port))) as url:
            async with httpx.AsyncClient(base_url=url, timeout=30) as client:
                action = await proposed(redis, tool, arguments)
                proxy.lose_answer(lost)
                assert await told(client, action) == "done"
                assert proxy.unanswered == b""
                assert (tools.done, len(tools.calls)) == ([action.id], 1)
        await caller.close()
