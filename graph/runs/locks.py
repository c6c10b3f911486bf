"""Locks in Redis: redis-py's, and what becomes of them when Redis answers too late."""

import contextlib
import time
import uuid

from redis.asyncio import Redis
from redis.asyncio.lock import Lock
from redis.exceptions import LockError, RedisError


class Locks:
    """Takes locks that end with their replica: they expire unless they are renewed."""

    def __init__(self, redis: Redis, alive: float) -> None:
        self._redis = redis
        self._alive = alive  # seconds that a lock lasts unless it is renewed
        self._doubtful: dict[Lock, tuple[bytes, float]] = {}

    async def take(self, name: str) -> Lock | None:
        """Take the lock at once; None where another has it. Raises RedisError."""
        self._doubtful = {
            lock: (own, until) for lock, (own, until) in self._doubtful.items() if until > time.monotonic()
        }
        lock = Lock(self._redis, name, timeout=self._alive, thread_local=False)
        token = uuid.uuid4().hex.encode()
        lock.local.token = token
        try:
            # A command that was sent twice finds the lock taken, by itself.
            return lock if await lock.acquire(blocking=False, token=token) or await lock.owned() else None
        except RedisError:
            self._doubtful[lock] = token, time.monotonic() + self._alive  # Redis may still carry it out
            raise

    async def sweep(self) -> None:
        """Give back what Redis may have given us without our knowing."""
        for lock, (token, until) in list(self._doubtful.items()):
            with contextlib.suppress(RedisError, LockError):
                await lock.do_release(token)
            if time.monotonic() > until:
                self._doubtful.pop(lock, None)
