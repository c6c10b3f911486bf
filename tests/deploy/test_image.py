"""The image: what the Dockerfile's steps build, executed without Docker."""

import asyncio
import contextlib
import errno
import json
import re
import subprocess
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import psutil
import pytest
from redis.asyncio import Redis

from api.auth import digest, new_key
from conftest import REPOSITORY, Report
from harness.built_image import distributions, files
from harness.image import Image
from harness.mail_server import mail_server
from harness.mcp_servers import email_settings
from harness.programs import as_root
from harness.scripted_model import ScriptedModel
from local.process import free_port

BUDGET = 200_000_000
"""Bytes of site-packages and the application."""
SERVERS_BUDGET = 80_000_000
"""The same of the e-mail and calendar servers."""

BUILD_TOOLS = ("uv", "uvx", "pip", "pip3", "gcc", "cc", "ld", "strip", "make", "git", "apt-get")
NOT_INSTALLED = {"async-timeout", "colorama", "httpx2-jsfetch", "pywin32", "tzdata"}
"""Locked only for other platforms or Python versions; which ones are missing differs between images."""


@pytest.mark.soak
def test_the_image_is_small(image: Image, report: Report) -> None:
    """Byte-compiled site-packages and the application fit the size budget."""
    size = sum(file.stat().st_size for file in files(image))
    report(f"image: {size / 1e6:.1f} MB of site-packages and application, budget {BUDGET / 1e6:.0f} MB")
    assert size < BUDGET
    sources = {file for file in files(image) if file.suffix == ".py" and "site-packages" in file.parts}
    compiled = {file for file in sources if list((file.parent / "__pycache__").glob(f"{file.stem}.*.pyc"))}
    assert len(compiled) > 0.99 * len(sources)
    assert image.path("lib/cli/__pycache__").is_dir()


@pytest.mark.soak
def test_the_image_holds_what_is_locked_and_nothing_that_builds(image: Image) -> None:
    """The image has the locked packages and the articles, but no compiler, installer, Redis or offline model."""
    installed = distributions(image)
    locked = set(re.findall(r"^[\w.-]+==[^ ;]+", (REPOSITORY / "requirements.lock").read_text(), re.MULTILINE))
    ours = {name for name in installed if name.startswith("support-agent==")}
    assert len(ours) == 1
    assert installed - ours <= locked
    assert {name.partition("==")[0] for name in locked - installed} - NOT_INSTALLED <= {
        name.partition("==")[0] for name in installed
    }
    names = {file.name for file in image.root.rglob("*") if file.stat().st_mode & 0o111}
    assert not names & {*BUILD_TOOLS}
    assert len(list(image.path("knowledge").glob("*.md"))) == len(list((REPOSITORY / "knowledge").glob("*.md")))
    unreadable = {file.name for file in image.path(".").rglob("*") if not file.stat().st_mode & 0o004}
    assert unreadable == set()
    writable = {file.name for file in files(image) if file.stat().st_mode & 0o022}
    assert writable <= {".lock"}  # an empty lock file of uv
    labels = {name.removeprefix("org.opencontainers.image.") for name in image.labels}
    assert labels == {"title", "description", "licenses", "version", "revision", "source"}


@pytest.mark.soak
def test_every_library_still_loads(image: Image) -> None:
    """Every shared library loads after stripping."""
    libraries = [file for file in files(image) if ".so" in file.name]
    assert len(libraries) > 50
    code = "import ctypes, sys\nfor name in sys.argv[1:]: ctypes.CDLL(name)"
    done = subprocess.run(
        [image.path(".venv/bin/python"), "-c", code, *libraries], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


class Container:
    """A running container of the image."""

    def __init__(self, image: Image, folder: Path) -> None:
        self._image = image
        self._root = as_root()
        self._folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"

    def _start(self, command: Sequence[str], output: str, **variables: str) -> subprocess.Popen[bytes]:
        variables = {"PORT": str(self.port)} | variables
        return self._image.start(command, variables, self._folder / output, root=self._root)

    @asynccontextmanager
    async def serve(self, **variables: str) -> AsyncGenerator[subprocess.Popen[bytes]]:
        """Run the image's command and wait until it answers."""
        command = [*self._image.entrypoint, *self._image.command]
        process = self._start(command, "output", **variables)
        try:
            async with asyncio.timeout(60), httpx.AsyncClient() as client:
                while True:
                    with contextlib.suppress(httpx.TransportError):
                        await client.get(f"{self.url}/health")
                        break
                    assert process.poll() is None, self.output()
                    await asyncio.sleep(0.1)
            yield process
        finally:
            self._kill(process)

    def _kill(self, process: subprocess.Popen[bytes]) -> None:
        if process.poll() is None:
            subprocess.run([*self._root, "kill", "-KILL", str(process.pid)], check=True)
            process.wait()

    def execute(self, *command: str) -> tuple[int, str]:
        """Run a command in a similar container; return its exit status and its output."""
        status = self._start(command, "executed").wait(120)
        return status, (self._folder / "executed").read_text()

    def main(self, process: subprocess.Popen[bytes]) -> psutil.Process:
        """Return process 1 of the container."""
        return psutil.Process(process.pid).children(recursive=True)[-1]

    def signal(self, name: str, process: subprocess.Popen[bytes]) -> None:
        """Send a signal to process 1, as `docker stop` does."""
        subprocess.run([*self._root, "kill", f"-{name}", str(self.main(process).pid)], check=True)

    def output(self) -> str:
        """Return the output of the service."""
        return (self._folder / "output").read_text()


WRITES = """
import os, sys
for folder in sys.argv[1:]:
    try:
        os.close(os.open(os.path.join(folder, "planted"), os.O_CREAT | os.O_WRONLY))
    except OSError as error:
        print(error.errno)
print(os.getuid(), os.getgid(), os.getgroups(), os.getpid())
"""


@pytest.mark.soak
async def test_the_image_serves_and_ends_as_a_container_does(
    image: Image, redis: Redis, redis_url: str, model: ScriptedModel, tmp_path: Path
) -> None:
    """As an unprivileged user on a read-only file system it answers, is healthy, and exits with 0 on SIGTERM."""
    container = Container(image, tmp_path)
    folders = ["/", "/tmp", "/app", "/app/lib"]  # noqa: S108 - not to be written
    status, said = await asyncio.to_thread(container.execute, "python", "-c", WRITES, *folders)
    assert (status, said.split("\n")[:-1]) == (0, [str(errno.EROFS)] * len(folders) + ["65532 65532 [] 1"])
    key = new_key()
    (tmp_path / "key").write_text(key)
    variables = {
        "OPENAI_BASE_URL": model.url,
        "OPENAI_API_KEY": "sk-test-canary",
        "REDIS_URL": redis_url,
        "SUPPORT_API_KEYS": f"smoke:{digest(key).hex()}",
    }
    check = image.healthcheck
    assert (await asyncio.to_thread(container.execute, *check))[0] == 1
    async with container.serve(**variables) as process, httpx.AsyncClient(base_url=container.url) as client:
        answer = await client.post("/ask", json={"question": "Refund?"}, headers={"X-API-Key": key})
        assert (answer.status_code, answer.json()["answer"]) == (200, "Hello, world.")
        assert (await asyncio.to_thread(container.execute, *check))[0] == 0
        smoke = [image.path(".venv/bin/python"), image.path("deploy/smoke.py"), container.url]
        tested = await asyncio.create_subprocess_exec(*smoke, "--key-file", tmp_path / "key")
        assert await asyncio.wait_for(tested.wait(), 60) == 0
        main = container.main(process)
        assert (main.uids().real, main.gids().real, main.children()) == (65532, 65532, [])
        container.signal("TERM", process)
        assert await asyncio.to_thread(process.wait, 9) == 0
    assert "Traceback" not in container.output()
    assert all(json.loads(line) for line in container.output().splitlines())


@pytest.mark.soak
def test_the_image_says_what_it_needs(image: Image, tmp_path: Path) -> None:
    """Without settings it exits with one line and starts no service of its own."""
    status, said = Container(image, tmp_path).execute(*image.entrypoint, *image.command)
    assert status == 1
    assert said == "support-agent: missing in the environment: OPENAI_API_KEY or OPENAI_BASE_URL, REDIS_URL\n"


@pytest.mark.soak
def test_the_servers_image_is_small_and_ends_as_a_container_does(servers_image: Image, tmp_path: Path) -> None:
    """It has what is locked for the servers and nothing of the service; it answers, and exits with 0 on SIGTERM."""
    image = servers_image
    with mail_server() as inbox:
        size = sum(file.stat().st_size for file in files(image))
        assert size < SERVERS_BUDGET
        locked = re.findall(r"^[\w.-]+==[^ ;]+", (REPOSITORY / "requirements.servers.lock").read_text(), re.MULTILINE)
        assert distributions(image) <= set(locked)
        assert not image.path("lib/graph").exists()
        port = free_port()
        variables = email_settings(inbox, port=port)
        process = image.start([*image.entrypoint, *image.command], variables, tmp_path / "output", root=as_root())
        try:
            while not _answers(port):
                assert process.poll() is None, (tmp_path / "output").read_text()
                time.sleep(0.1)
            main = psutil.Process(process.pid).children(recursive=True)[-1]
            subprocess.run([*as_root(), "kill", "-TERM", str(main.pid)], check=True)
            assert process.wait(30) == 0
        finally:
            if process.poll() is None:
                subprocess.run([*as_root(), "kill", "-KILL", str(process.pid)], check=True)
                process.wait()


def _answers(port: int) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(f"http://127.0.0.1:{port}/health").is_success
    return False
