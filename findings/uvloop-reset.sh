#!/usr/bin/env bash
# uvloop reports a reset connection as a RuntimeError, and redis-py neither translates nor retries that.
#
# Expected: a write to a connection that the peer has reset raises ConnectionResetError on every event loop. redis-py
#   turns an OSError into its own ConnectionError, and its `Retry` then sends the command again on a new connection.
# Written down: uvloop's README (a drop-in replacement for asyncio's event loop); ConnectionResetError in Python's list of
#   built-in exceptions; redis-py's documentation, "Retry Helpers".
# Instead: uvloop closes the transport, and the next write raises RuntimeError. redis-py passes it on to the caller,
#   although one retry is allowed and the server is up. Code that catches redis.exceptions.RedisError misses it too.
#   Other clients report the same: github.com/MagicStack/uvloop/issues/685.
# Seen on 2026-11-28:
#   asyncio: a write raises ConnectionResetError; redis-py's next PING returns True
#   uvloop: a write raises RuntimeError; redis-py's next PING raises RuntimeError
#   uvloop 0.23.0, redis 8.1.0, Python 3.11.7
# What we do: `GuardedRetry` in graph/redis.py turns a command's RuntimeError into redis-py's ConnectionError.

set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check uvloop==0.23.0 redis==8.1.0

"$folder/venv/bin/python" - <<'PYTHON'
import asyncio
import platform
import socket
import struct
import sys
from importlib.metadata import version

import uvloop
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

AT_ONCE = struct.pack("ii", 1, 0)  # an SO_LINGER of 0 s: closing sends a reset


class PongOnce(asyncio.Protocol):
    """Answers PING; the first connection is reset after its first answer."""

    reset = False

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(b"+PONG\r\n")
        if not PongOnce.reset:
            PongOnce.reset = True
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
            asyncio.get_running_loop().call_later(0.1, self.transport.abort)


async def served(client):
    PongOnce.reset = False
    server = await asyncio.get_running_loop().create_server(PongOnce, "127.0.0.1", 0)
    async with server:
        return await client(server.sockets[0].getsockname()[1])


async def outcome(awaitable):
    try:
        return f"returns {await awaitable}"
    except Exception as error:
        return f"raises {type(error).__name__}"


async def write_after_reset(port):
    _, writer = await asyncio.open_connection("127.0.0.1", port)

    async def write():
        writer.write(b"PING\r\n")
        await writer.drain()

    await write()
    await asyncio.sleep(0.5)
    return await outcome(write())


async def ping_after_reset(port):
    # Without a handshake, so that the server above suffices.
    redis = Redis(port=port, protocol=2, driver_info=None, retry=Retry(NoBackoff(), 1))
    await redis.ping()
    await asyncio.sleep(0.5)
    try:
        return await outcome(redis.ping())
    finally:
        await redis.aclose()


async def both():
    return await served(write_after_reset), await served(ping_after_reset)


expected = {
    "asyncio": ("raises ConnectionResetError", "returns True"),
    "uvloop": ("raises RuntimeError", "raises RuntimeError"),
}
seen = {"asyncio": asyncio.run(both()), "uvloop": uvloop.run(both())}
for loop, (write, ping) in seen.items():
    print(f"{loop}: a write {write}; redis-py's next PING {ping}")
print(f"uvloop {version('uvloop')}, redis {version('redis')}, Python {platform.python_version()}")
sys.exit(0 if seen == expected else "The behaviour has changed.")
PYTHON
