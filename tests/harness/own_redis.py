"""A Redis of a test's own, to freeze, kill and bring back."""

import signal
import subprocess
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from redis import Redis
from redis.exceptions import RedisError

from local.process import free_port
from local.redis import find_redis


class OwnRedis:
    """A redis-server on one port, whatever happens to it."""

    def __init__(self, directory: Path, *, modules: bool = True) -> None:
        port = free_port()
        self.url = f"redis://127.0.0.1:{port}/0"
        installation = find_redis()
        self._command = [str(installation.server), "--port", str(port), "--save", "", "--dir", str(directory)]
        for module in installation.modules if modules else ():
            self._command += ["--loadmodule", str(module)]
        self.start()

    def start(self) -> None:
        """Start it, empty, and wait until it answers."""
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        with Redis.from_url(self.url, socket_timeout=1) as client:
            deadline = time.monotonic() + 20
            while not _answers(client):
                assert time.monotonic() < deadline
                time.sleep(0.05)

    def kill(self) -> None:
        """End it at once, with all that it holds."""
        self._process.kill()
        self._process.wait()

    def freeze(self) -> None:
        """Let it accept connections, and answer nothing."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._process.send_signal(signal.SIGCONT)


def _answers(client: Redis) -> bool:
    try:
        return bool(client.ping())
    except RedisError:
        return False


@contextmanager
def own_redis(directory: Path, *, modules: bool = True) -> Generator[OwnRedis]:
    """Yield a Redis that ends with the block."""
    redis = OwnRedis(directory, modules=modules)
    try:
        yield redis
    finally:
        redis.kill()
