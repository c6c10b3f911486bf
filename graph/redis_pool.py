"""The connections to Redis: at most so many, each command in its turn, and those that are open first."""

import asyncio
import contextlib
import time
from typing import Any

import redis.exceptions
from redis.asyncio import ConnectionPool
from redis.asyncio.connection import AbstractConnection

_WAIT = 5.0  # seconds that a command waits for its turn: a session's lock lasts 10
_FULL = 1.0  # seconds between two attempts to open one more connection to a Redis that has no room
_IDLE = 30.0  # seconds after which a connection that nobody needed is closed, for other processes


class _Full(redis.exceptions.RedisError):
    """Redis takes no more clients, but some of our connections are open."""


class RedisPool(ConnectionPool):
    """Lends connections in order of arrival; a command waits while all are in use.

    Neither redis-py pool can be used here: both hand out connections that are closed before open ones, so a Redis that
    reaches its `maxclients` is refused to us for good, and a cancellation in `release` loses a connection. Here a
    command whose connection can't be opened waits for one that is open. Only where none is does Redis count as down.
    """

    def __init__(self, **options: Any) -> None:  # noqa: ANN401 - redis-py's own
        super().__init__(**options)
        self._turn = asyncio.Lock()  # in order of arrival
        self._returned = asyncio.Event()
        self._full_until = 0.0
        self._idle_since: dict[AbstractConnection, float] = {}

    def can_get_connection(self) -> bool:
        """Return whether a connection is free, or may be opened."""
        if self._available_connections and self._available_connections[-1].is_connected:
            return True
        may_open = not self._in_use_connections or time.monotonic() > self._full_until
        return may_open and len(self._in_use_connections) < self.max_connections

    async def get_connection(self, command_name: str | None = None, *keys: Any, **options: Any) -> AbstractConnection:  # noqa: ANN401, ARG002 - the base class's signature
        """Return a connection that is open; raises ConnectionError or TimeoutError."""
        while True:
            connection = await self._take()
            try:
                await self.ensure_connection(connection)
            except _Full:
                await self.release(connection)
            except BaseException:
                await self.release(connection)
                raise
            else:
                return connection

    async def _take(self) -> AbstractConnection:
        try:
            async with asyncio.timeout(_WAIT), self._turn:
                while not self.can_get_connection():
                    self._returned.clear()
                    await self._returned.wait()
                connection = self.get_available_connection()
                self._idle_since.pop(connection, None)
                return connection
        except TimeoutError:
            raise redis.exceptions.TimeoutError("no connection was free", status_code="connections") from None

    async def ensure_connection(self, connection: AbstractConnection) -> None:
        """Open the connection if it is not, or if the server has closed it."""
        if connection.is_connected and await _is_stale(connection):
            await connection.disconnect(nowait=True)
        if not connection.is_connected:

            async def close(error: Exception) -> None:
                await connection.disconnect(error=error)

            await connection.retry.call_with_retry(lambda: self._open(connection), close)

    async def _open(self, connection: AbstractConnection) -> None:
        try:
            await connection.connect_check_health(retry_socket_connect=False)
        except (redis.exceptions.ConnectionError, RuntimeError):  # RuntimeError: findings/uvloop-reset.sh
            await connection.disconnect(nowait=True)
            if not self._has_open():
                raise
            self._full_until = time.monotonic() + _FULL
            raise _Full from None

    def _has_open(self) -> bool:
        return any(one.is_connected for one in (*self._in_use_connections, *self._available_connections))

    async def release(self, connection: AbstractConnection) -> None:
        """Take a connection back, a closed one for last use; a cancellation can't come before that is done."""
        self._in_use_connections.remove(connection)
        self._returned.set()
        if connection.should_reconnect() or not connection.is_connected:
            self._available_connections.insert(0, connection)  # a new one would cost more, while Redis is down
            await connection.disconnect(nowait=True)
        else:
            self._available_connections.append(connection)
            self._idle_since[connection] = time.monotonic()
            await self._close_idle()

    async def _close_idle(self) -> None:
        oldest, since = next(iter(self._idle_since.items()))
        if time.monotonic() - since > _IDLE:
            del self._idle_since[oldest]
            self._available_connections.remove(oldest)
            self._available_connections.insert(0, oldest)
            await oldest.disconnect(nowait=True)


async def _is_stale(connection: AbstractConnection) -> bool:
    """Return whether the server has closed the connection, or a reply is left over."""
    with contextlib.suppress(redis.exceptions.ConnectionError, redis.exceptions.TimeoutError, OSError):
        return await connection.can_read()
    return True
