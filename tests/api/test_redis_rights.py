"""The rights that docs/deploy.md lists for a Redis user: with them everything works, and none is superfluous."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
from redis.asyncio import Redis

from conftest import Serve
from graph.unanswered import MARK
from harness.acl import documented_rules
from harness.acting import proposed
from harness.handing import SECRET
from harness.langsmith import traced
from harness.own_redis import OwnRedis, own_redis
from harness.redis_setups import with_user
from harness.scripted_model import ScriptedModel, tokens

QUESTION = {"question": "Why was I charged twice?"}


async def use_actions(one: httpx.AsyncClient, other: httpx.AsyncClient, own: OwnRedis) -> None:
    """Confirm an action on two replicas; without a server that has the tool it fails."""
    async with Redis.from_url(own.url.replace("/0", "/1")) as redis:
        action = await proposed(redis)
    for client in (one, other):
        assert (await client.post(f"/actions/{action.id}", json={"confirm": True})).json()["status"] == "failed"


async def use_everything(one: httpx.AsyncClient, other: httpx.AsyncClient, model: ScriptedModel, own: OwnRedis) -> None:
    """Do what customers do, on two replicas; the first sends traces."""
    model.script("answer", tokens(["In ", "30 ", "days."], pause=0.1))
    asked = await asyncio.gather(*(client.post("/ask", json=QUESTION) for client in (one, other)))
    assert sorted(answer.headers["X-Cache"] for answer in asked) == ["coalesced", "miss"]
    assert (await other.get("/stream", params=QUESTION)).headers["X-Cache"] == "hit"

    model.script("answer", tokens([MARK, " No."]))
    assert (await one.post("/ask", json={"question": "Not in any article?"})).json()["answered"] is False

    model.script("answer", tokens(["In 30 days."]))
    message = {"message": "Why was I charged twice?", "session_id": "s-1"}
    for client in (one, other):
        answer = await client.post("/chat", json=message, headers={"Idempotency-Key": "k-1"})
        assert answer.json()["messages_in_history"] == 2
    run_id = answer.json()["run_id"]
    assert "event: done" in (await other.get(f"/runs/{run_id}/stream")).text
    for score in (0, 1):
        assert (await other.post("/feedback", json={"run_id": run_id, "score": score})).status_code == 202

    model.script("answer", tokens(["Slow"] * 50, pause=0.1))
    async with one.stream("POST", "/chat/stream", json=message) as stream:
        lines = stream.aiter_lines()
        while "run_id" not in (line := await anext(lines)):
            pass
        running = line.split('"')[3]
        assert (await other.post("/chat", json=message)).status_code == 409
        assert (await other.delete(f"/runs/{running}")).status_code == 202
        assert "cancelled" in "".join([line async for line in lines])
    handed = (await one.post("/chat", json={"message": "I want to talk to a human", "session_id": "s-2"})).json()
    path = f"/handoffs/{handed['handoff']['id']}"
    assert (await other.post(f"{path}/messages", json={"message": "Anna here."})).status_code == 201
    assert (await other.post(f"{path}/release")).status_code == 200
    assert len((await one.get("/sessions/s-1")).json()["messages"]) == 2
    assert (await other.post("/feedback", json={"run_id": handed["run_id"], "score": 0})).status_code == 202
    assert (await other.delete("/sessions/s-2")).status_code == 204  # the rating of s-1 is still to be forwarded
    await use_actions(one, other, own)
    thread = (await one.post("/langgraph/threads", json={"metadata": {"from": "test"}})).json()["thread_id"]
    assert (await other.delete(f"/langgraph/threads/{thread}")).status_code == 204
    assert (await one.get("/ready")).status_code == (await other.get("/ready")).status_code == 200


def commands(own: OwnRedis) -> dict[str, dict[str, int]]:
    return {name.removeprefix("cmdstat_"): calls for name, calls in own.send("INFO", "commandstats").items()}


async def test_the_documented_rights_are_enough_and_all_needed(
    serve: Serve, model: ScriptedModel, tmp_path: Path
) -> None:
    """For conversations, the cache, limits, ratings and LangSmith; Redis refuses nothing, and each command is used."""
    with own_redis(tmp_path) as own:
        rules = documented_rules()
        url = with_user(own, *rules).replace("/0", "/1")
        variables: dict[str, Any] = {"REDIS_URL": url, "SUPPORT_CACHE_TTL": 60, "SUPPORT_RATE_LIMIT": "1000/minute"}
        variables |= {"SUPPORT_HANDOFF_WEBHOOK": "http://127.0.0.1:1/", "SUPPORT_HANDOFF_SECRET": SECRET}
        async with (
            traced(serve, **variables) as (one, langsmith),
            serve(**variables) as address,
            httpx.AsyncClient(base_url=address, timeout=20) as other,
        ):
            await use_everything(one, other, model, own)
            async with asyncio.timeout(10):
                while not langsmith.feedback:
                    await asyncio.sleep(0.05)
        assert own.send("ACL", "LOG") == []
        seen = commands(own)
        allowed = {rule.removeprefix("+") for rule in rules if rule.startswith("+")}
        assert {name: calls for name, calls in seen.items() if calls["rejected_calls"]} == {}
        assert allowed - seen.keys() == set()
