"""The service in its own process, as an operator runs it."""

import asyncio
import os
import subprocess
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from harness.commands import Command
from harness.scripted_model import ScriptedModel
from local.process import free_port


@asynccontextmanager
async def replica(
    model: ScriptedModel,
    redis_url: str,
    articles: Path,
    *,
    command: Sequence[str] = (),
    **variables: str,
) -> AsyncGenerator[tuple[subprocess.Popen[bytes], str]]:
    """Run the service in its own process, by `serve` or by another `command`."""
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
        options = ["--port", str(port)]
        if command:
            process = subprocess.Popen([*command, *options], env=environment, stdout=output, stderr=subprocess.STDOUT)
        else:
            process = Command(["serve", *options], environment, Path.cwd(), output.fileno(), output.fileno())
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
