"""`support-agent cluster` in a process of its own, as an operator runs it."""

import asyncio
import os
import re
import signal
import subprocess
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import psutil

from conftest import REPOSITORY
from harness.commands import COMMAND
from harness.programs import program
from local.process import free_port

_SERVICE = re.compile(r"^(.+?) +port (\d+) +pid (\d+) +(\S+)$", re.MULTILINE)


class Cluster:
    """A running cluster and its services, by the names that the command prints."""

    def __init__(self, process: subprocess.Popen[bytes], url: str, output: Path) -> None:
        self.process = process
        self.url = url
        self._output = output

    @property
    def output(self) -> str:
        """Return what the command has printed so far."""
        return self._output.read_text()

    @property
    def logs(self) -> list[Path]:
        """Return the folder of the services' logs."""
        return [Path(log) for _, _, _, log in _SERVICE.findall(self.output)]

    def replica(self, number: int) -> str:
        """Return the URL of one replica, without the proxy."""
        return f"http://127.0.0.1:{self._service(f'Replica {number}')[0]}"

    def send(self, name: str, signal_number: signal.Signals) -> None:
        """Send a signal to the current process of a service."""
        _, log = self._service(name)
        os.kill(int(log.with_name("pid").read_text()), signal_number)

    def ends(self, name: str) -> int:
        """Count how often the command has reported the end of a service."""
        return self.output.count(f"{name} ended with")

    async def ready(self, url: str, seconds: float = 30) -> None:
        """Wait until the service at this URL is ready."""
        async with asyncio.timeout(seconds), httpx.AsyncClient() as client:
            while not await _is_ready(client, url):
                assert self.process.poll() is None, self.output
                await asyncio.sleep(0.1)

    def _service(self, name: str) -> tuple[int, Path]:
        return {service: (int(port), Path(log)) for service, port, _, log in _SERVICE.findall(self.output)}[name]


async def _is_ready(client: httpx.AsyncClient, url: str) -> bool:
    try:
        return (await client.get(f"{url}/ready")).status_code == 200
    except httpx.TransportError:
        return False


@asynccontextmanager
async def cluster(directory: Path, **variables: str) -> AsyncGenerator[Cluster]:
    """Run the command in the repository, and leave no process behind."""
    program("caddy")
    port = free_port()
    output = directory / "output"
    with output.open("wb") as file:
        process = subprocess.Popen(
            [COMMAND, "cluster", "--port", str(port)],
            cwd=REPOSITORY,
            env={**os.environ, "SUPPORT_RATE_LIMIT": "", **variables},
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    running = Cluster(process, f"http://127.0.0.1:{port}", output)
    try:
        async with asyncio.timeout(60):
            while "behind Caddy on" not in running.output or "Caddy  " not in running.output:
                assert process.poll() is None, running.output
                await asyncio.sleep(0.1)
        children = psutil.Process(process.pid).children(recursive=True)
        yield running
        children += [child for child in psutil.Process(process.pid).children(recursive=True) if child not in children]
        process.terminate()
        assert await asyncio.to_thread(process.wait, 15) == 0
        _, alive = await asyncio.to_thread(psutil.wait_procs, children, 5)
        assert alive == []
        assert running.logs
        assert not [log for log in running.logs if log.parent.exists()]
    finally:
        process.kill()
        process.wait()
