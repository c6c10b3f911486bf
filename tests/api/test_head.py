"""HEAD, with which monitors, caches and link checkers ask."""

import asyncio

import httpx
import pytest
from redis.asyncio import Redis

from conftest import Serve
from graph.runs.thread import thread_of
from graph.state import AgentContext
from harness.acting import proposed
from harness.scripted_model import ScriptedModel, stall, tokens

QUESTION = {"question": "Why was I charged twice?"}
DIFFERS = {"x-request-id", "date", "content-length", "transfer-encoding", "x-cache", "ratelimit"}
"""Headers that differ between two requests, or that HEAD need not have."""


def lasting(response: httpx.Response) -> dict[str, str]:
    return {name: value for name, value in response.headers.items() if name not in DIFFERS}


async def test_head_tells_what_get_would(serve: Serve, redis: Redis) -> None:
    """Each path that OpenAPI lists with GET, and the documentation, has the same status and headers without a body."""
    async with serve(SUPPORT_RATE_LIMIT="50/minute") as url, httpx.AsyncClient(base_url=url, timeout=20) as client:
        run = (await client.post("/chat", json={"message": "Hello?", "session_id": "s-1"})).json()["run_id"]
        action = await proposed(redis)
        names = {
            "session_id": "s-1",
            "article_id": "careers",
            "handoff_id": "0" * 32,
            "assistant_id": "agent",
            "namespace": "none",
            "thread_id": thread_of("s-1", AgentContext()),
            "checkpoint_id": "none",
        }
        described = (await client.get("/openapi.json")).json()["paths"]
        paths = [
            path.format_map({**names, "run_id": run, "action_id": action.id})
            for path, methods in described.items()
            if "get" in methods
        ]
        assert len(paths) >= 6
        for path in (*paths, "/openapi.json", "/docs", "/docs/swagger-ui.css", "/nowhere", "/sessions/s-2"):
            async with client.stream("GET", path, params=QUESTION) as asked:  # one of them has no end
                pass
            head = await client.head(path, params=QUESTION)
            assert (head.status_code, head.content) == (asked.status_code, b""), path
            assert lasting(head) == lasting(asked), path


async def test_head_of_a_stream_asks_no_model(serve: Serve, redis: Redis, model: ScriptedModel) -> None:
    """It says whether the question would be taken, and counts as a request."""
    async with serve(SUPPORT_RATE_LIMIT="2/minute") as url, httpx.AsyncClient(base_url=url) as client:
        model.forget()
        head = await client.head("/stream", params=QUESTION)
        assert (head.status_code, head.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
        assert (await client.head("/stream", params={"question": " "})).status_code == 422
        assert (await client.head("/stream", params=QUESTION)).status_code == 429
        assert model.calls == []


async def test_head_of_a_turn_under_way_returns_at_once(
    redis: Redis, client: httpx.AsyncClient, model: ScriptedModel
) -> None:
    """It waits for no event, and the turn goes on."""
    model.script("answer", tokens(["One"], then=stall))
    async with client.stream("POST", "/chat/stream", json={"message": "Hello?"}) as stream:
        run = ""
        async for line in stream.aiter_lines():
            if line.startswith("id: "):
                run = line.removeprefix("id: ").partition(":")[0]
            if '"One"' in line:
                break
        async with asyncio.timeout(2):
            head = await client.head(f"/runs/{run}/stream")
        assert (head.status_code, head.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
        assert (await client.delete(f"/runs/{run}")).status_code == 202


@pytest.mark.parametrize(("path", "allowed"), [("/stream", "GET, HEAD"), ("/sessions/s-1", "DELETE, GET, HEAD")])
async def test_a_wrong_method_is_told_of_head(client: httpx.AsyncClient, path: str, allowed: str) -> None:
    """Allow lists it beside GET."""
    refused = await client.put(path)
    assert (refused.status_code, refused.headers["allow"]) == (405, allowed)
