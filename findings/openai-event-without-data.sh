#!/usr/bin/env bash
# The OpenAI client fails a stream whose server sends an event without data, such as `retry: 3000` or `event: ping`.
#
# Expected: a block of lines without `data` dispatches no event, so the client goes on with the next one.
# Written down: the HTML standard, section 9.2.6 "Interpreting an event stream": "If the data buffer is an empty string,
#   set the data buffer and the event type buffer to the empty string and return."
# Instead: the client parses the empty text as JSON, and the stream ends with json.JSONDecodeError. Once an event has had
#   an id, a mere comment (`: ping`, a usual keep-alive) does so too, since the id is kept for the blocks that follow.
#   Reported upstream in github.com/openai/openai-python/issues/2722 and /3833.
# Seen on 2026-11-29:
#   plain: ok, comment: ok, retry: JSONDecodeError, event type: JSONDecodeError, id and comment: JSONDecodeError
#   openai 3.56.0, Python 3.11.7
# What we do: `EventReader` in graph/models/sse.py skips events without data.

set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check openai==3.56.0

"$folder/venv/bin/python" - <<'PYTHON'
import asyncio
import json
import platform
import sys
from importlib.metadata import version

import openai

CHUNK = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
HELLO = "data: " + json.dumps({**CHUNK, "choices": [{"index": 0, "delta": {"content": "Hello"}}]}) + "\n\n"
DONE = "data: [DONE]\n\n"
BODIES = {
    "plain": HELLO + DONE,
    "comment": HELLO + ": ping\n\n" + DONE,
    "retry": "retry: 3000\n\n" + HELLO + DONE,
    "event type": "event: ping\n\n" + HELLO + DONE,
    "id and comment": "id: 1\n" + HELLO + ": ping\n\n" + DONE,
}


async def outcome(body):
    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        head = f"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: {len(body)}\r\n\r\n"
        writer.write((head + body).encode())
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        async with openai.AsyncOpenAI(api_key="none", base_url=url, max_retries=0) as client:
            try:
                stream = await client.chat.completions.create(
                    model="m", messages=[{"role": "user", "content": "Hi"}], stream=True
                )
                text = "".join([chunk.choices[0].delta.content async for chunk in stream])
            except ValueError as error:
                return type(error).__name__
            return "ok" if text == "Hello" else text


async def main():
    return {name: await outcome(body) for name, body in BODIES.items()}


seen = asyncio.run(main())
print(", ".join(f"{name}: {what}" for name, what in seen.items()))
print(f"openai {version('openai')}, Python {platform.python_version()}")
expected = dict.fromkeys(BODIES, "JSONDecodeError") | {"plain": "ok", "comment": "ok"}
sys.exit(0 if seen == expected else "The behaviour has changed.")
PYTHON
