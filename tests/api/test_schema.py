"""Property tests of every operation by its OpenAPI description."""

import asyncio
import os
import sys
from pathlib import Path

import httpx
import pytest
from redis.asyncio import Redis

from api.auth import digest, new_key
from conftest import REPOSITORY, Serve
from harness.scripted_model import ScriptedModel

KEY = new_key()
SCHEMATHESIS = Path(sys.executable).parent / "schemathesis"


async def schemathesis(url: str, *arguments: str) -> None:
    """Run all checks of schemathesis."""
    process = await asyncio.create_subprocess_exec(
        SCHEMATHESIS,
        f"--config-file={REPOSITORY / 'tests/data/schemathesis.toml'}",
        "run",
        f"{url}/openapi.json",
        "--checks=all",
        "--no-color",
        "--generation-database=none",
        *arguments,
        env={**os.environ, "SCHEMATHESIS_HOOKS": "harness.fresh_keys", "PYTHONPATH": str(REPOSITORY / "tests")},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()


@pytest.mark.parametrize(
    ("key", "examples"),
    [
        pytest.param(KEY, 5, id="guarded"),
        pytest.param(None, 5, id="open"),
        pytest.param(KEY, 50, id="guarded, much", marks=pytest.mark.nightly),
        pytest.param(None, 50, id="open, much", marks=pytest.mark.nightly),
    ],
)
@pytest.mark.soak
async def test_the_api_is_as_it_says(
    serve: Serve, redis: Redis, model: ScriptedModel, key: str | None, examples: int
) -> None:
    """Every response to any request is as OpenAPI describes it."""
    # Without keys it is as production has it, without the LangGraph API.
    variables = {"SUPPORT_API_KEYS": f"web:{digest(key).hex()}"} if key else {"SUPPORT_LANGGRAPH_API": "off"}
    headers = [f"--header=X-API-Key:{key}"] if key else []
    async with serve(**variables) as url:
        await schemathesis(url, f"--max-examples={examples}", *headers)


async def test_nothing_is_done_without_a_key(serve: Serve, redis: Redis, model: ScriptedModel) -> None:
    """With keys every operation refuses a request without one, but the probes, and where a key becomes a cookie."""
    async with serve(SUPPORT_API_KEYS=f"web:{digest(KEY).hex()}") as url, httpx.AsyncClient(base_url=url) as client:
        model.forget()
        paths = (await client.get("/openapi.json")).json()["paths"]
        statuses = {
            (method, path): (await client.request(method, path.replace("{run_id}", "7" * 36), json={})).status_code
            for path, operations in paths.items()
            for method in operations
        }
    assert {operation for operation, status in statuses.items() if status != 401} == {
        ("get", "/health"),
        ("get", "/ready"),
        ("post", "/inbox/session"),  # the key is in its body
        ("delete", "/inbox/session"),
    }
    assert len(statuses) >= 10
    assert {call.kind for call in model.calls} <= {"other"}  # /ready checks the model's server
