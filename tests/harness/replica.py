"""The service in its own process, as an operator runs it."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from harness.scripted_model import ScriptedModel
from local.process import free_port

COMMAND = Path(sys.executable).with_name("support-agent")
_SERVE = (str(COMMAND), "serve")


@asynccontextmanager
async def replica(
    model: ScriptedModel,
    redis_url: str,
    articles: Path,
    *,
    command: Sequence[str] = _SERVE,
    **variables: str,
) -> AsyncGenerator[tuple[subprocess.Popen[bytes], str]]:
    """Run the service in its own process."""
    port = free_port()
    environment = {
        **os.environ,
        "OPENAI_BASE_URL": model.url,
        "REDIS_URL": redis_url,
        "SUPPORT_KNOWLEDGE": str(articles),
        "SUPPORT_RATE_LIMIT": "",
        **variables,
    }
    with Path("output").open("wb") as output:
        process = subprocess.Popen(
            [*command, "--port", str(port)],
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        async with httpx.AsyncClient() as client:
            while True:
                try:
                    await client.get(f"{url}/health")
                    break
                except httpx.TransportError:
                    assert process.poll() is None, Path("output").read_text()
                    await asyncio.sleep(0.1)
        yield process, url
    finally:
        process.kill()
        process.wait()
