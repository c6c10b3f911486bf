"""The smoke test of a deployed service, as an operator runs it."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest
from redis.asyncio import Redis

from conftest import REPOSITORY, Serve
from harness.scripted_model import Reply, ScriptedModel, cut, label, status, tokens
from support_agent.api.auth import digest, new_key
from support_agent.local.process import free_port

ALL = ["ready", "ask", "stream", "websocket", "session"]


async def smoke(url: str, *arguments: str | Path) -> tuple[int, dict[str, str]]:
    """Run it; return its exit status, and the line of each check that failed, by its name."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        REPOSITORY / "deploy/smoke.py",
        url,
        *arguments,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    output, errors = await asyncio.wait_for(process.communicate(), 60)
    lines = output.decode().splitlines()
    assert process.returncode is not None
    assert [line.split()[1] for line in lines] in (ALL, []), output.decode()
    failed = {line.split()[1]: line for line in lines if line.startswith("FAIL ")}
    return process.returncode, failed if lines else {"": errors.decode()}


async def test_a_service_that_works_passes(serve: Serve, redis: Redis, tmp_path: Path) -> None:
    """With its key, and within the rate limit that a service has by default; no other key will do."""
    key = new_key()
    (tmp_path / "key").write_text(f"{key}\n")
    variables = {"SUPPORT_API_KEYS": f"smoke:{digest(key).hex()}", "SUPPORT_RATE_LIMIT": "10/minute"}
    async with serve(**variables) as url:
        assert await smoke(f"{url}/", "--key-file", tmp_path / "key") == (0, {})
        without, failed = await smoke(url)
    assert without == 1
    assert list(failed) == ["ask", "stream", "websocket", "session"]
    assert failed["ask"].endswith("POST /ask says 401 unauthorized")


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (tokens(["Hello"], end=False, then=cut), ["ask", "stream", "websocket", "session"]),
        (status(400), ["ask", "stream", "websocket", "session"]),
    ],
)
async def test_a_model_that_fails_is_noticed(
    serve: Serve, redis: Redis, model: ScriptedModel, answer: Reply, expected: list[str]
) -> None:
    """A stream that ends with an error has not passed."""
    model.script("classify", label("billing"))
    model.script("answer", answer)
    async with serve() as url:
        code, failed = await smoke(url)
    assert code == 1
    assert list(failed) == expected
    assert "model-unavailable" in failed["ask"]
    assert "the last event is error" in failed["stream"]


async def test_a_service_that_forgets_is_noticed(serve: Serve, redis: Redis) -> None:
    """The second turn of a conversation has to remember the first."""
    async with serve(SUPPORT_SESSION_MESSAGES=2) as url:
        code, failed = await smoke(url)
    assert (code, list(failed)) == (1, ["session"])


async def test_no_service_fails_when_the_time_is_up() -> None:
    """It waits for one that is not ready yet, and says why that was not."""
    code, failed = await smoke(f"http://127.0.0.1:{free_port()}", "--timeout", "1")
    assert (code, list(failed)) == (1, ALL)
    assert "Cannot connect" in failed["ready"]


async def test_another_service_is_not_taken_for_ours(model: ScriptedModel) -> None:
    """What answers otherwise fails each check."""
    code, failed = await smoke(model.url, "--timeout", "2")
    assert (code, list(failed)) == (1, ALL)
    assert "GET /v1/ready says 404" in failed["ready"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["localhost:8000"], "'localhost:8000' must start with http:// or https://"),
        (["http://localhost", "--key-file", "nowhere"], "--key-file nowhere: No such file or directory"),
    ],
)
async def test_a_mistake_on_the_command_line_is_named(arguments: list[str], message: str) -> None:
    """Without asking anybody anything."""
    code, said = await smoke(*arguments)
    assert code == 2
    assert message in said[""]
