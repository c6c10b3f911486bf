"""A virtual machine for deploy/vps: a checkout, its scripts, and a fake `docker`."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from conftest import REPOSITORY
from harness.docker import PASSWORD
from harness.servers import redis_8
from local.process import free_port

VPS = Path("deploy/vps")
OLD, NEW = "ghcr.io/example/support-agent@sha256:old", "ghcr.io/example/support-agent@sha256:new"
TAG = "ghcr.io/example/support-agent:stable"
OLD_SERVERS, NEW_SERVERS, SERVERS_TAG = (name.replace("-agent", "-agent-servers") for name in (OLD, NEW, TAG))


class Machine:
    """A checkout with `.env`, and a fake `docker`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "checkout"
        shutil.copytree(REPOSITORY / VPS, self.root / VPS)
        (self.root / ".env").write_text(f"OPENAI_API_KEY=sk-none\nAGENT_IMAGE={OLD}\nSUPPORT_DOMAIN=example.com\n")
        self.programs = folder / "programs"
        self.programs.mkdir()
        self.program("docker", f'#!/bin/sh\nexec "{sys.executable}" "{REPOSITORY}/tests/harness/docker.py" "$@"\n')
        self.port = free_port()
        (folder / "data").mkdir()
        (folder / "password").write_text(PASSWORD)
        self.program("sleep", "#!/bin/sh\n")
        self.replicas_run(OLD)
        self.tell()

    def program(self, name: str, text: str) -> None:
        """Install a program on the path."""
        (self.programs / name).write_text(text)
        (self.programs / name).chmod(0o755)

    def replicas_run(self, name: str) -> None:
        """Let both replicas run the old image under this name."""
        replicas = {replica: {"name": name, "image": OLD} for replica in ("api-1", "api-2")}
        (self.folder / "state.json").write_text(json.dumps({"images": {name: OLD}, "replicas": replicas}))
        self.set(AGENT_IMAGE=name)

    def servers_run(self, name: str = OLD_SERVERS) -> None:
        """Let the e-mail and calendar servers run, too, the old image under this name."""
        state = json.loads((self.folder / "state.json").read_text())
        state["images"][name] = OLD_SERVERS
        state["replicas"] |= {server: {"name": name, "image": OLD_SERVERS} for server in ("mcp-email", "mcp-calendar")}
        (self.folder / "state.json").write_text(json.dumps(state))
        self.set(SERVERS_IMAGE=name)

    def set(self, **settings: str) -> None:
        """Replace settings in `.env`."""
        kept = (line for line in (self.root / ".env").read_text().splitlines() if line.split("=")[0] not in settings)
        lines = [*kept, *(f"{name}={value}" for name, value in settings.items())]
        (self.root / ".env").write_text("\n".join(lines) + "\n")

    def tell(self, *unhealthy: str, not_ready: Sequence[str] = (), killed_at: str = "") -> None:
        """Set which images, or "IMAGE REPLICA", are broken, and at which replica's start the script is killed."""
        told = {
            "registry": {TAG: NEW, SERVERS_TAG: NEW_SERVERS},
            "unhealthy": unhealthy,
            "not ready": not_ready,
            "killed at": killed_at,
            "redis": [str(redis_8())],
            "port": self.port,
            "data": str(self.folder / "data"),
            "password file": str(self.folder / "password"),
            "programs": str(self.programs),
        }
        (self.folder / "world.json").write_text(json.dumps(told))

    def run(self, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run one of the scripts."""
        environment = {
            **os.environ,
            "PATH": f"{self.programs}:{os.environ['PATH']}",
            "FAKE_DOCKER": str(self.folder),
            "REDIS_PORT": str(self.port),
        }
        command = [self.root / VPS / script, *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)

    def asked(self) -> list[str]:
        """Return the recorded calls of `docker`."""
        return (self.folder / "asked").read_text().splitlines()

    def image(self) -> str:
        """Return the image in `.env`."""
        return (self.root / ".env").read_text().split("AGENT_IMAGE=")[1].split("\n")[0]

    def runs(self) -> list[str]:
        """Return the image of each replica."""
        return [
            replica["image"] for replica in json.loads((self.folder / "state.json").read_text())["replicas"].values()
        ]
