"""Ratings forwarded to LangSmith, by a consumer group, so that none is lost while LangSmith or the service is down."""

import asyncio
import contextlib
import threading
import uuid
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, cast

from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from graph.observe.feedback import STREAM, Rating, entry_of
from graph.observe.tracing import Tracing

_GROUP = "langsmith"
_BATCH = 10  # ratings that are forwarded at once
_PAUSE = 1.0  # seconds between two polls for ratings to forward
_ORPHANED = 30_000  # milliseconds after which another replica takes over a pending rating


class _Forwarding:
    """Forwards ratings to LangSmith."""

    def __init__(self, redis: Redis, tracing: Tracing) -> None:
        self.closed = asyncio.Event()
        self._redis = redis
        self._tracing = tracing
        self._name = uuid.uuid4().hex

    async def run(self) -> None:
        """Forward ratings until closed."""
        while not self.closed.is_set():
            with contextlib.suppress(RedisError):
                for name, rating in await self._pending():
                    if not await self._send(name, rating):
                        break
                    await self._redis.xack(STREAM, _GROUP, name)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_PAUSE):
                    await self.closed.wait()

    async def _pending(self) -> list[tuple[str, Rating]]:
        """Return the ratings to forward: our own pending ones, those of replicas that are gone, then new ones."""
        with contextlib.suppress(ResponseError):  # the group already exists
            await self._redis.xgroup_create(STREAM, _GROUP, id="0", mkstream=True)
        await self._redis.xautoclaim(STREAM, _GROUP, self._name, _ORPHANED, count=_BATCH)
        for since in ("0", ">"):
            found = cast("Any", await self._redis.xreadgroup(_GROUP, self._name, {STREAM: since}, count=_BATCH))
            entries = [entry for _, entries in found for entry in entries]
            if gone := [name for name, fields in entries if not fields]:  # replaced by a later rating
                await self._redis.xack(STREAM, _GROUP, *gone)
            if there := [entry_of(entry) for entry in entries if entry[1]]:
                return there
        return []

    async def _send(self, name: str, rating: Rating) -> bool:
        """Return whether the rating was sent; False if the service stops first or LangSmith is down."""
        name = str(uuid.uuid5(uuid.UUID(rating.run_id), name))  # so that a retry adds no second rating
        loop = asyncio.get_running_loop()
        sent: asyncio.Future[bool] = loop.create_future()

        def send() -> None:
            is_sent = self._tracing.rate(rating.run_id, rating.score, rating.comment, name)
            with contextlib.suppress(RuntimeError):  # the event loop is closed
                loop.call_soon_threadsafe(sent.set_result, is_sent)

        # A thread of its own: at shutdown the loop waits for its executor, and a call to LangSmith may hang.
        threading.Thread(target=send, name="langsmith-rating", daemon=True).start()
        closed = asyncio.create_task(self.closed.wait())
        await asyncio.wait((sent, closed), return_when=asyncio.FIRST_COMPLETED)
        closed.cancel()
        return sent.done() and sent.result()


@asynccontextmanager
async def forwarding(redis: Redis, tracing: Tracing) -> AsyncGenerator[None]:
    """Forward ratings while a block lasts."""
    forwarder = _Forwarding(redis, tracing)
    task = asyncio.create_task(forwarder.run())
    try:
        yield
    finally:
        forwarder.closed.set()
        await asyncio.wait([task])
