#!/usr/bin/env bash
# With its aiohttp transport, the OpenAI client reports a refused connection as a time-out, after no time at all.
#
# Expected: APIConnectionError ("Connection error.") if the server refuses or drops the connection, with any transport.
#   APITimeoutError only if a time limit has passed.
# Written down: openai's README, "Handling errors" and "Timeouts". "With aiohttp" promises better concurrency and mentions
#   no other errors.
# Instead: with DefaultAioHttpClient a refused, a reset and a closed connection all raise APITimeoutError ("Request timed
#   out.") within milliseconds; the limit here is 60 s. Retries, fallbacks, alerts and status codes (504 instead of 503)
#   then treat a server that is down as one that is slow. Only the chain of causes tells which it was.
#   Noted upstream in a review: github.com/openai/openai-python/pull/3594.
# Seen on 2026-11-28:
#   HTTPX2: refused: APIConnectionError, reset: APIConnectionError, closed: APIConnectionError
#   aiohttp: refused: APITimeoutError, reset: APITimeoutError, closed: APITimeoutError
#   openai 3.56.0, aiohttp 3.14.5, Python 3.11.7
# What we do: graph/models/wire.py calls aiohttp itself, and reports as a time-out only what is one.

set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check 'openai[aiohttp]==3.56.0' aiohttp==3.14.5

"$folder/venv/bin/python" - <<'PYTHON'
import asyncio
import platform
import socket
import struct
import sys
from importlib.metadata import version

import openai

AT_ONCE = struct.pack("ii", 1, 0)  # an SO_LINGER of 0 s: closing sends a reset
LIMIT = 60  # seconds


async def closing(reader, writer):
    await reader.readline()
    writer.close()


async def resetting(reader, writer):
    await reader.readline()
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
    writer.transport.abort()


async def ask(http, port):
    client = openai.AsyncOpenAI(
        api_key="none", base_url=f"http://127.0.0.1:{port}/v1", max_retries=0, timeout=LIMIT, http_client=http
    )
    began = asyncio.get_running_loop().time()
    try:
        await client.models.list()
    except openai.APIConnectionError as error:
        quick = asyncio.get_running_loop().time() - began < LIMIT / 4
        return type(error).__name__ if quick else f"{type(error).__name__} after its time"
    return "no error"


async def main():
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and nobody listens
        async with (
            await asyncio.start_server(resetting, "127.0.0.1", 0) as resets,
            await asyncio.start_server(closing, "127.0.0.1", 0) as closes,
        ):
            ports = {
                "refused": nobody.getsockname()[1],
                "reset": resets.sockets[0].getsockname()[1],
                "closed": closes.sockets[0].getsockname()[1],
            }
            seen = {}
            for transport in (openai.DefaultAsyncHttpxClient, openai.DefaultAioHttpClient):
                async with transport() as http:
                    seen[transport.__name__] = {what: await ask(http, port) for what, port in ports.items()}
            return seen


usual, aiohttp = asyncio.run(main()).values()
for name, errors in (("HTTPX2", usual), ("aiohttp", aiohttp)):
    print(f"{name}: " + ", ".join(f"{what}: {error}" for what, error in errors.items()))
print(f"openai {version('openai')}, aiohttp {version('aiohttp')}, Python {platform.python_version()}")
as_before = set(usual.values()) == {"APIConnectionError"} and set(aiohttp.values()) == {"APITimeoutError"}
sys.exit(0 if as_before else "The behaviour has changed.")
PYTHON
