"""Set-ups of Redis that do not work, and ones that are odd but do."""

import shutil
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from harness.own_redis import OwnRedis, own_redis
from local.process import free_port

PASSWORD = "acl-canary"


def with_user(own: OwnRedis, *rules: str) -> str:
    """Create a user with these rights; return the URL with its login."""
    own.send("ACL", "SETUSER", "agent", "reset", "on", f">{PASSWORD}", *rules)
    return own.url.replace("redis://", f"redis://agent:{PASSWORD}@")


def fill(own: OwnRedis) -> None:
    """Leave no memory for anything more."""
    own.send("CONFIG", "SET", "maxmemory", 1)


def demote(own: OwnRedis, primary: int = 1) -> None:
    """Make it a replica of the Redis on port `primary`."""
    own.send("REPLICAOF", "127.0.0.1", primary)


def promote(own: OwnRedis) -> None:
    """Make it a primary."""
    own.send("REPLICAOF", "NO", "ONE")


def mend(own: OwnRedis) -> None:
    """End what `fill`, `demote` and others have set."""
    promote(own)
    for name, value in (("maxmemory", 0), ("maxmemory-policy", "noeviction"), ("min-replicas-to-write", 0)):
        own.send("CONFIG", "SET", name, value)
    own.send("FLUSHALL")


@contextmanager
def clustered(directory: Path) -> Generator[OwnRedis]:
    """Yield a cluster of one node, which has all slots."""
    bus = str(free_port())  # its own choice, 10,000 above the port, may be too high
    with own_redis(directory, "--cluster-enabled", "yes", "--cluster-port", bus) as own:
        own.send("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        deadline = time.monotonic() + 10
        while own.send("CLUSTER INFO")["cluster_state"] != "ok":
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield own


@contextmanager
def unsaved(directory: Path) -> Generator[OwnRedis]:
    """Yield a Redis that could not save its data, and so refuses writes."""
    folder = directory / "gone"
    folder.mkdir()
    with own_redis(folder) as own:
        own.send("CONFIG", "SET", "save", "3600 1")
        own.send("SET", "unsaved", 1)
        shutil.rmtree(folder)
        own.send("BGSAVE")
        deadline = time.monotonic() + 10
        while own.send("INFO", "persistence")["rdb_last_bgsave_status"] != "err":
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield own


@contextmanager
def sentinel(directory: Path, primary: OwnRedis) -> Generator[OwnRedis]:
    """Yield a Sentinel that watches `primary`."""
    file = directory / "sentinel.conf"
    file.write_text(f"sentinel monitor mymaster 127.0.0.1 {primary.port} 1\n")
    with own_redis(directory, str(file), "--sentinel") as own:
        yield own
