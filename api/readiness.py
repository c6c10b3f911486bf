"""Readiness: whether the service takes new work, and the state of each dependency, cached for a moment."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Literal

from graph.agent import SupportAgent
from graph.health import Check, RedisWatch, check_articles
from graph.models.watch import ModelWatch
from graph.redis import WatchedRedis

_FRESH = 1.0  # seconds that a check is cached
_FIRST_CHECK = 0.7  # seconds to wait for what the start asks the models, shorter than a probe's own time-out


class _Asked:
    def __init__(self, ask: Callable[[], Awaitable[Check]]) -> None:
        self._ask = ask
        self._until = 0.0
        self._check: Check | None = None
        self._lock = asyncio.Lock()

    async def now(self) -> Check:
        async with self._lock:
            if self._check is None or time.monotonic() > self._until:
                self._check = await self._ask()
                self._until = time.monotonic() + _FRESH
            return self._check


class Readiness:
    """Checks Redis and the articles, and tells what is known of the models, without asking them.

    The models do not decide: while they are down, kept answers are served, and no other replica has others. Nor do the
    MCP servers, without which only their tools are missing.
    """

    def __init__(self, agent: SupportAgent, redis: WatchedRedis, watch: ModelWatch) -> None:
        self._has_been_ready = False
        self._redis = _Asked(RedisWatch(redis).latest)
        self._articles = _Asked(partial(check_articles, agent.knowledge))
        self._watch = watch
        self._tools = agent.tools

    async def ask(self) -> tuple[Literal["ready", "starting", "unavailable"], dict[str, Check]]:
        """Return whether the service takes new work, and the state of each dependency."""
        redis, articles, model = await asyncio.gather(
            self._redis.now(), self._articles.now(), self._watch.latest(_FIRST_CHECK)
        )
        servers = {f"mcp:{name}": check for name, check in self._tools.checks().items()}
        checks = {"redis": redis, "articles": articles, "model": model, **servers}
        if redis.up and articles.up:
            self._has_been_ready = True
            return "ready", checks
        return "unavailable" if self._has_been_ready else "starting", checks
