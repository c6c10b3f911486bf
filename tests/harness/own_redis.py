"""A Redis for one test, which can be frozen, killed and restarted."""

import signal
import subprocess
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import BusyLoadingError, RedisError
from redis.retry import Retry

from harness.servers import server_under_test
from local.process import free_port


class OwnRedis:
    """A redis-server on a fixed port."""

    def __init__(self, directory: Path, *options: str) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        own = ["--port", str(self.port), "--save", "", "--dir", str(directory)]
        self._command = [str(server_under_test()), *options, *own]
        self.start()

    def send(self, *command: str | int) -> Any:
        """Send a command as the operator of this Redis."""
        with Redis.from_url(self.url, decode_responses=True) as client:
            return client.execute_command(*command)

    def start(self) -> None:
        """Start an empty Redis, and wait until it answers."""
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        with Redis.from_url(self.url, socket_timeout=1) as client:
            deadline = time.monotonic() + 20
            while not _answers(client):
                assert time.monotonic() < deadline
                time.sleep(0.05)

    def restart(self, *options: str) -> None:
        """Start it again with more options, and wait until it says that it loads its data."""
        self._process = subprocess.Popen([*self._command, *options], stdout=subprocess.DEVNULL)
        with Redis.from_url(self.url, retry=Retry(NoBackoff(), 0)) as client:
            deadline = time.monotonic() + 20
            while time.monotonic() < deadline:
                try:
                    client.ping()
                except BusyLoadingError:
                    return
                except RedisError:
                    time.sleep(0.02)
        raise AssertionError("it has not said so")

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
def own_redis(directory: Path, *options: str) -> Generator[OwnRedis]:
    """Yield a Redis that ends with the block; the server gets the `options`."""
    redis = OwnRedis(directory, *options)
    try:
        yield redis
    finally:
        redis.kill()
