"""Prometheus, from Debian's package `prometheus`, with the files in `deploy/`."""

import asyncio
import subprocess
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml

from harness.programs import program
from local.process import free_port


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run promtool and return its result."""
    return subprocess.run(
        [program("promtool", package="prometheus"), *arguments], capture_output=True, text=True, timeout=30, check=False
    )


@asynccontextmanager
async def prometheus(folder: Path, target: str) -> AsyncGenerator[httpx.AsyncClient]:
    """Run a server with the configuration in a folder, scraping one target every second; yield an API client."""
    file = folder / "prometheus.yml"
    configuration: dict[str, Any] = yaml.safe_load(file.read_text())
    configuration["global"] |= {"scrape_interval": "1s", "evaluation_interval": "1s"}
    [job] = configuration["scrape_configs"]
    job["static_configs"] = [{"targets": [target]}]
    file.write_text(yaml.safe_dump(configuration))
    address = f"127.0.0.1:{free_port()}"
    options = [f"--config.file={file}", f"--storage.tsdb.path={folder / 'data'}", f"--web.listen-address={address}"]
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen([program("prometheus"), *options], stdout=output, stderr=subprocess.STDOUT)
    try:
        async with httpx.AsyncClient(base_url=f"http://{address}", timeout=20) as client:
            async with asyncio.timeout(30):
                while not await _ready(client):
                    assert process.poll() is None, log.read_text()
                    await asyncio.sleep(0.1)
            yield client
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


async def _ready(client: httpx.AsyncClient) -> bool:
    try:
        return (await client.get("/-/ready")).is_success
    except httpx.TransportError:
        return False
