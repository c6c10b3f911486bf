"""A `docker` for deploy/vps: it writes down what it is asked, and has this machine do what a container would.

Run as a program, in a folder with a `world.json`: where things are, and which images never become ready.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from redis import Redis

PASSWORD = "not-a-secret"
_SECRET = "/run/secrets/password"


class World:
    """What containers would find."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._told: dict[str, Any] = json.loads((folder / "world.json").read_text())

    def ask(self, arguments: list[str]) -> int:
        """Do what a `docker` with these arguments does; return its exit status."""
        with (self.folder / "asked").open("a") as asked:
            asked.write(" ".join(arguments).split("\n")[0] + "\n")
        match arguments:
            case ["image", "inspect", "--format", "{{index .RepoDigests 0}}", image]:
                sys.stdout.write(f"{self._told['digests'][image]}\n")
            case ["compose", "up", *_, "api-1" | "api-2"]:
                env = dict(line.split("=", 1) for line in Path(".env").read_text().splitlines())
                return int(env["AGENT_IMAGE"] in self._told["never ready"])
            case ["compose", "up", *_, "redis", "postgres"]:
                self.start_redis()
            case ["compose", "stop", *services] if "redis" in services:
                self.stop_redis()
            case ["compose", "exec", "-T", "redis" | "postgres", *command]:
                return self._in_container(command)
            case ["compose", "run", "--rm", "-T", "--no-deps", "--entrypoint", entry, "redis" | "postgres", *command]:
                return self._in_container([entry, *command])
            case _:
                pass
        return 0

    def _in_container(self, command: list[str]) -> int:
        places = {_SECRET: self._told["password file"], "/data": self._told["data"]}
        for inside, outside in places.items():
            command = [word.replace(inside, outside) for word in command]
        path = f"{self._told['programs']}:{os.environ['PATH']}"
        # Through a pipe, as Docker does it: pg_dump writes another file where it can go back in it.
        done = subprocess.run(command, env={**os.environ, "PATH": path}, stdout=subprocess.PIPE, check=False)
        sys.stdout.buffer.write(done.stdout)
        return done.returncode

    def client(self) -> "Redis":
        """Return a client of the Redis."""
        from redis import Redis  # when it is needed, since a script asks many times for something else
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        # It is not asked again, as it would be for seconds after it was told to stop.
        return Redis(port=self._told["port"], password=PASSWORD, socket_timeout=5, retry=Retry(NoBackoff(), 0))

    def start_redis(self) -> None:
        """Start it as docker-compose.yml does, and wait until it answers."""
        persistent = ["--appendonly", "yes", "--save", "", "--dir", self._told["data"], "--daemonize", "yes"]
        command = [*self._told["redis"], "--port", str(self._told["port"]), "--requirepass", PASSWORD, *persistent]
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        deadline = time.monotonic() + 20
        while not self._redis_answers():
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def _redis_answers(self) -> bool:
        from redis.exceptions import RedisError

        try:
            with self.client() as client:
                return bool(client.ping())
        except RedisError:
            return False

    def stop_redis(self) -> None:
        """Stop it, and wait until it has gone."""
        with self.client() as client:
            client.shutdown(nosave=True)


if __name__ == "__main__":
    sys.exit(World(Path(os.environ["FAKE_DOCKER"])).ask(sys.argv[1:]))
