"""Locks in Redis: redis-py's locks, and the release of those whose acquisition timed out."""

import contextlib
import time
import uuid

from redis.asyncio import Redis
from redis.asyncio.lock import Lock
from redis.exceptions import LockError, RedisError


class Locks:
    """Takes locks that expire with their replica, unless they are renewed."""

    def __init__(self, redis: Redis, ttl: float) -> None:
        self._redis = redis
        self._ttl = ttl  # seconds until a lock expires, unless it is renewed
        self._uncertain: dict[Lock, tuple[bytes, float]] = {}
        self._unreleased: dict[Lock, tuple[bytes, float]] = {}

    async def take(self, name: str) -> Lock | None:
        """Take the lock without waiting; None if it is held by another. Raises RedisError."""
        self._uncertain = {
            lock: (own, until) for lock, (own, until) in self._uncertain.items() if until > time.monotonic()
        }
        lock = Lock(self._redis, name, timeout=self._ttl, thread_local=False)
        token = uuid.uuid4().hex.encode()
        lock.local.token = token
        try:
            # If redis-py retried, the first attempt may have taken the lock (findings/redis-lock-retry.sh).
            return lock if await lock.acquire(blocking=False, token=token) or await lock.owned() else None
        except RedisError:
            self._uncertain[lock] = token, time.monotonic() + self._ttl  # Redis may still execute it
            raise

    async def release(self, lock: Lock) -> None:
        """Release a lock; if Redis refuses, `release_uncertain` tries again until the lock has expired."""
        token = lock.local.token
        try:
            await lock.release()
        except LockError:
            pass  # it has expired
        except RedisError:
            self._unreleased[lock] = token, time.monotonic() + self._ttl

    async def release_uncertain(self) -> None:
        """Release the locks that Redis may have granted, or may still hold, although the command failed."""
        for lock, (token, until) in list(self._unreleased.items()):
            with contextlib.suppress(RedisError):
                with contextlib.suppress(LockError):
                    await lock.do_release(token)
                self._unreleased.pop(lock, None)
            if time.monotonic() > until:
                self._unreleased.pop(lock, None)
        for lock, (token, until) in list(self._uncertain.items()):
            with contextlib.suppress(RedisError, LockError):
                await lock.do_release(token)
            if time.monotonic() > until:
                self._uncertain.pop(lock, None)
