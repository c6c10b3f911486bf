"""A `docker` for deploy/vps: it writes down what it is asked, and has this machine do what a container would.

It knows what the scripts ask, with these options, and refuses all else.

Run as a program, in a folder with a `world.json`: where things are, and which images are broken. What was pulled and
what the replicas run is in `state.json`.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from redis import Redis

PASSWORD = "not-a-secret"
_SECRET = "/run/secrets/password"
_REPLACING = ["--detach", "--no-build", "--no-deps", "--wait", "--wait-timeout", "180"]


class World:
    """The state of the fake Docker host."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._told: dict[str, Any] = json.loads((folder / "world.json").read_text())
        self._state: dict[str, Any] = json.loads((folder / "state.json").read_text())

    def ask(self, arguments: list[str]) -> int:
        """Do what `docker` does with these arguments; return its exit status."""
        with (self.folder / "asked").open("a") as asked:
            asked.write(" ".join(arguments).split("\n")[0] + "\n")
        match arguments:
            case ["compose", "up", "--detach", "--no-build", "--wait", "redis", "postgres"]:
                self.start_redis()
            case ["compose", "stop", "api-1", "api-2", "redis", *others] if others in ([], ["postgres"]):
                self.stop_redis()
            case ["compose", "exec", "-T", "redis" | "postgres", *command]:
                return self._in_container(command)
            case ["compose", "run", "--rm", "-T", "--no-deps", "--entrypoint", entry, "redis" | "postgres", *command]:
                return self._in_container([entry, *command])
            case _:
                return self._ask_for_images(arguments)
        return 0

    def _ask_for_images(self, arguments: list[str]) -> int:
        match arguments:
            case ["pull", "--quiet", image]:
                self._pull(image)
            case ["image", "inspect", "--format", "{{index .RepoDigests 0}}", image]:
                return self._say(self._state["images"].get(image, image.removeprefix("id of ")))
            case ["inspect", "--format", form, *services]:
                return self._inspect(form, services)
            case ["compose", "ps", *options]:
                return self._list(options)
            case ["compose", "up", *options, "api-1" | "api-2" | "mcp-email" | "mcp-calendar" as replica] if (
                options == _REPLACING
            ):
                return self._start(replica)
            case ["compose", "exec", "-T", "api-1" | "api-2" as replica, "python", *_]:
                return int(self._is("not ready", replica))
            case ["compose", "exec", "-T", "api-1" | "api-2", *command]:
                return self._in_container(command)
            case (
                ["compose", "up", "--detach", "--no-build", "--wait"]
                | ["compose", "logs", "--tail", _, "api-1", "api-2"]
                | ["compose", "logs", "--tail", _, "api-1", "api-2", "mcp-email", "mcp-calendar"]
                | ["image", "prune", "--force"]
                | [
                    "compose",
                    "run",
                    "--rm",
                    "--no-deps",
                    "-T",
                    "--entrypoint",
                    "support-agent",
                    "sync",
                    "knowledge",
                    "sync",
                ]
            ):
                pass
            case _:
                sys.stderr.write(f"docker: the test knows no {' '.join(arguments)}\n")
                return 125  # the status that docker uses for its own errors
        return 0

    def _inspect(self, form: str, services: list[str]) -> int:
        found = [self._state["replicas"][service] for service in services]
        if form == "{{.Config.Image}}":
            return self._say(*(each["name"] for each in found))
        assert form == "{{.Image}}"
        return self._say(*(f"id of {each['image']}" for each in found))

    def _list(self, options: list[str]) -> int:
        assert options[0] in ("--quiet", "--services") or options[:2] == ["--all", "--quiet"]
        return self._say(*(word for word in options if word in self._state["replicas"]))

    def _say(self, *lines: str) -> int:
        sys.stdout.writelines(f"{line}\n" for line in lines)
        return 0

    def _remember(self) -> None:
        (self.folder / "state.json").write_text(json.dumps(self._state))

    def _pull(self, image: str) -> None:
        self._state["images"][image] = self._told["registry"].get(image, image)
        self._remember()

    def _start(self, replica: str) -> int:
        """Start a replica or server with the image of the environment, or of `.env`; return whether it is unhealthy."""
        env = dict(line.split("=", 1) for line in Path(".env").read_text().splitlines())
        variable = "SERVERS_IMAGE" if replica.startswith("mcp-") else "AGENT_IMAGE"
        name = os.environ.get(variable, env[variable])
        if replica == self._told["killed at"]:
            os.kill(os.getppid(), signal.SIGKILL)
            return 1
        if name not in self._state["images"]:
            self._pull(name)
        self._state["replicas"][replica] = {"name": name, "image": self._state["images"][name]}
        self._remember()
        return int(self._is("unhealthy", replica))

    def _is(self, what: str, replica: str) -> bool:
        image = self._state["replicas"][replica]["image"]
        return bool({image, f"{image} {replica}"} & set(self._told[what]))

    def _in_container(self, command: list[str]) -> int:
        inside = "/tmp/key"  # noqa: S108 - a container's
        places = {_SECRET: self._told["password file"], "/data": self._told["data"], inside: f"{self.folder}/key"}
        for inside, outside in places.items():
            command = [word.replace(inside, outside) for word in command]
        path = f"{self._told['programs']}:{os.environ['PATH']}"
        # Through a pipe, as Docker does: pg_dump writes another format to a file that it can seek in.
        done = subprocess.run(command, env={**os.environ, "PATH": path}, stdout=subprocess.PIPE, check=False)
        sys.stdout.buffer.write(done.stdout)
        return done.returncode

    def client(self) -> "Redis":
        """Return a client of the Redis."""
        from redis import Redis  # imported late, since most calls do not need it
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        # Without retries, which would go on for seconds after the shutdown.
        return Redis(port=self._told["port"], password=PASSWORD, socket_timeout=5, retry=Retry(NoBackoff(), 0))

    def start_redis(self) -> None:
        """Start Redis as docker-compose.yml does, and wait until it answers."""
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
        """Stop Redis, and wait until it has ended."""
        with self.client() as client:
            client.shutdown(nosave=True)


if __name__ == "__main__":
    sys.exit(World(Path(os.environ["FAKE_DOCKER"])).ask(sys.argv[1:]))
