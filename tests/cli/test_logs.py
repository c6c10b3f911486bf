"""The log of a running service."""

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from harness.commands import COMMAND
from harness.replica import replica
from harness.scripted_model import ScriptedModel, status, tokens

PRODUCTION = {"SUPPORT_ENV": "production", "SUPPORT_ALLOW_ANONYMOUS": "true", "OPENAI_API_KEY": "sk-test-canary"}


async def test_production_writes_json_lines(model: ScriptedModel, redis: Redis, redis_url: str, articles: Path) -> None:
    """Each request and each run is one JSON line with both ids and no customer's words."""
    model.script("answer", tokens(["Canary answer."]), status(400))
    async with replica(model, redis_url, articles, **PRODUCTION) as (process, url):
        async with httpx.AsyncClient(base_url=url) as client:
            headers = {"X-Request-ID": "mine"}
            answer = (await client.post("/ask", json={"question": "Canary?"}, headers=headers)).json()
            await client.get("/stream", params={"question": "Canary!"}, headers={"X-Request-ID": "4111111111111111"})
            await client.get("/health")
        process.terminate()
        await asyncio.to_thread(process.wait, 10)
    lines: list[dict[str, Any]] = [json.loads(line) for line in Path("output").read_text().splitlines()]
    assert all({"message", "level", "timestamp", "logger"} <= line.keys() for line in lines)
    assert "anary" not in "".join(map(str, lines)).replace("sk-test-canary", "")
    (done, failed) = [line for line in lines if line["message"].startswith("run ")]
    assert (done["run_id"], done["request_id"], done["outcome"]) == (answer["run_id"], "mine", "done")
    assert (done["category"], done["tokens"], done["tenant"]) == ("billing", answer["tokens_used"], "anonymous")
    assert done["answered"] is True
    assert 0 <= done["first_token_ms"] <= done["duration_ms"]
    assert (failed["level"], failed["message"]) == ("warning", "run model-refused: HTTP 400")
    assert failed["request_id"] == "[card]"
    (asked,) = [line for line in lines if line.get("route") == "/ask"]
    assert (asked["method"], asked["status"], asked["request_id"]) == ("POST", 200, "mine")
    assert asked["run_id"] == answer["run_id"]
    assert any(line["logger"] == "uvicorn.error" for line in lines)


async def test_development_writes_lines_to_read(
    model: ScriptedModel, redis: Redis, redis_url: str, articles: Path
) -> None:
    """Development logs have the same content as readable lines, message first."""
    async with replica(model, redis_url, articles) as (process, url):
        async with httpx.AsyncClient(base_url=url) as client:
            await client.post("/ask", json={"question": "Why?"}, headers={"X-Request-ID": "mine"})
        process.terminate()
        await asyncio.to_thread(process.wait, 10)
    output = Path("output").read_text()
    assert re.search(r"info +\] POST /ask 200 .*request_id=mine", output)
    assert re.search(r"info +\] run done .*outcome=done", output)
    assert "\x1b" not in output


@pytest.mark.soak
@pytest.mark.parametrize("variables", [{}, {"SUPPORT_ENV": "production", "SUPPORT_ALLOW_ANONYMOUS": "true"}])
async def test_any_other_server_writes_the_same_lines(
    model: ScriptedModel, redis: Redis, redis_url: str, articles: Path, variables: dict[str, str]
) -> None:
    """`uvicorn --factory` logs in the same format once the service has started."""
    command = [str(COMMAND.with_name("uvicorn")), "--factory", "api.app:create_app"]
    async with replica(model, redis_url, articles, command=command, **variables) as (process, url):
        async with httpx.AsyncClient(base_url=url) as client:
            await client.post("/ask", json={"question": "Why?"}, headers={"X-Request-ID": "mine"})
        process.terminate()
        await asyncio.to_thread(process.wait, 10)
    runs = [line for line in Path("output").read_text().splitlines() if "run done" in line]
    assert len(runs) == 1
    if variables:
        assert json.loads(runs[0])["request_id"] == "mine"
    else:
        assert "request_id=mine" in runs[0]
