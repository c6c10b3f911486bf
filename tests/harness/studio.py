"""LangGraph's development server on our graph, started as a developer starts it."""

import os
import subprocess
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import psutil

from conftest import REPOSITORY
from local.process import free_port

UV = os.environ.get("UV", "uv")


@contextmanager
def studio_environment() -> Generator[dict[str, str]]:
    """Yield the variables of a virtual environment with the group `studio`, so that the project's own is unchanged."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "UV_PROJECT_ENVIRONMENT": folder}
        command = [UV, "sync", "--quiet", "--no-dev", "--group", "studio"]
        subprocess.run(command, cwd=REPOSITORY, env=environment, check=True, timeout=300)
        yield environment


def studio_project(folder: Path) -> Path:
    """Make a writable copy of the project, as far as Studio needs it, and return it."""
    folder.mkdir()
    for name in ("langgraph.json", "knowledge", "api", "graph"):
        (folder / name).symlink_to(REPOSITORY / name)
    return folder


@contextmanager
def development_server(
    project: Path, environment: dict[str, str], **variables: str
) -> Generator[tuple[subprocess.Popen[bytes], str]]:
    """Run `support-agent studio` in a project until it answers; yield the process and the server's URL."""
    port = free_port()
    command = [UV, "run", "--project", REPOSITORY, "--no-dev", "--group", "studio", "support-agent", "studio"]
    with Path("output").open("wb") as output:
        process = subprocess.Popen(
            [*command, "--no-browser", "--port", str(port)],
            cwd=project,
            env={**environment, **variables},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    family = [psutil.Process(process.pid)]
    try:
        url = f"http://127.0.0.1:{port}"
        while not _is_up(url):
            assert process.poll() is None, Path("output").read_text()
            time.sleep(0.1)
        family += family[0].children(recursive=True)
        yield process, url
    finally:
        for member in family:
            with suppress(psutil.NoSuchProcess):
                member.kill()
        process.wait()


def _is_up(url: str) -> bool:
    try:
        return httpx.get(f"{url}/ok", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False
