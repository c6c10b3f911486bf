"""Readiness: whether the service takes new work, and the state of each dependency, cached for a moment."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Literal

from redis.asyncio import Redis

from graph.agent import SupportAgent
from graph.health import Check, check_articles, check_model, check_redis

_FRESH = 1.0  # seconds that a check is cached
_MODELS_FRESH = 15.0  # the same for the model, since asking it may cost money
_MODELS_TIMEOUT = 0.7  # seconds, shorter than a probe's own time-out


class _Asked:
    def __init__(self, ask: Callable[[], Awaitable[Check]], fresh: float = _FRESH) -> None:
        self._ask = ask
        self._fresh = fresh
        self._until = 0.0
        self._check: Check | None = None
        self._lock = asyncio.Lock()

    async def now(self) -> Check:
        async with self._lock:
            if self._check is None or time.monotonic() > self._until:
                self._check = await self._ask()
                self._until = time.monotonic() + self._fresh
            return self._check


class Readiness:
    """Checks Redis, the articles and the model's server.

    The model does not decide: while it is down, kept answers are served, and no other replica has another model.
    """

    def __init__(self, agent: SupportAgent, redis: Redis) -> None:
        self._has_been_ready = False
        self._redis = _Asked(partial(check_redis, redis))
        self._articles = _Asked(partial(check_articles, agent.knowledge))
        self._model = _Asked(partial(check_model, agent.models, _MODELS_TIMEOUT), _MODELS_FRESH)

    async def ask(self) -> tuple[Literal["ready", "starting", "unavailable"], dict[str, Check]]:
        """Return whether the service takes new work, and the state of each dependency."""
        redis, articles, model = await asyncio.gather(self._redis.now(), self._articles.now(), self._model.now())
        checks = {"redis": redis, "articles": articles, "model": model}
        if redis.up and articles.up:
            self._has_been_ready = True
            return "ready", checks
        return "unavailable" if self._has_been_ready else "starting", checks
