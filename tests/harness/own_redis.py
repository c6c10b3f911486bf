"""A Redis for one test, which can be frozen, killed and restarted."""

import signal
import subprocess
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from redis import Redis
from redis.exceptions import RedisError

from harness.servers import server_under_test
from local.process import free_port


class OwnRedis:
    """A redis-server on a fixed port."""

    def __init__(self, directory: Path) -> None:
        port = free_port()
        self.url = f"redis://127.0.0.1:{port}/0"
        self._command = [str(server_under_test()), "--port", str(port), "--save", "", "--dir", str(directory)]
        self.start()

    def start(self) -> None:
        """Start an empty Redis, and wait until it answers."""
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        with Redis.from_url(self.url, socket_timeout=1) as client:
            deadline = time.monotonic() + 20
            while not _answers(client):
                assert time.monotonic() < deadline
                time.sleep(0.05)

    def kill(self) -> None:
        """Kill Redis with all its data."""
        self._process.kill()
        self._process.wait()

    def freeze(self) -> None:
        """Accept connections without answering."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Continue after a freeze."""
        self._process.send_signal(signal.SIGCONT)


def _answers(client: Redis) -> bool:
    try:
        return bool(client.ping())
    except RedisError:
        return False


@contextmanager
def own_redis(directory: Path) -> Generator[OwnRedis]:
    """Yield a Redis that ends with the block."""
    redis = OwnRedis(directory)
    try:
        yield redis
    finally:
        redis.kill()
