"""`python -m bench.model PORT`: a fake OpenAI server that always sends the same response, with little CPU.

A model whose name ends with `mini` answers "billing", any other one a text. Both come at once, unless --ttft and --pace
say otherwise. A text's vector is a hash of it.
"""

import argparse
import asyncio
import base64
import json
import re
from array import array
from dataclasses import dataclass
from hashlib import shake_256
from itertools import cycle, islice
from typing import Any

import uvloop

DIMENSIONS = 384
"""Numbers in a vector."""

_TEXT = "Both payments are checked, and the second one is returned in full within ten days of your message to us."
_PROMPT_TOKENS = 1500
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_END = b"0\r\n\r\n"


@dataclass(frozen=True)
class Pace:
    """How the model answers."""

    tokens: int = 40
    """Tokens of an answer."""
    ttft: float = 0
    """Seconds before an answer's first token."""
    gap: float = 0
    """Seconds between two tokens of a streamed answer."""


def _response(body: dict[str, Any]) -> bytes:
    content = json.dumps(body).encode()
    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(content)}\r\n\r\n"
    return head.encode() + content


def _usage(tokens: int) -> dict[str, int]:
    return {"prompt_tokens": _PROMPT_TOKENS, "completion_tokens": tokens, "total_tokens": _PROMPT_TOKENS + tokens}


def _completion(text: str, tokens: int) -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    base = {"id": "c", "object": "chat.completion", "created": 1, "model": "m"}
    return _response({**base, "choices": [choice], "usage": _usage(tokens)})


def _frame(data: str) -> bytes:
    """Return a server-sent event as a chunk of an HTTP body."""
    event = f"data: {data}\n\n".encode()
    return b"%x\r\n%b\r\n" % (len(event), event)


def _chunk(delta: dict[str, str] | None, finish: str | None = None, **more: object) -> bytes:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    base = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return _frame(json.dumps({**base, "choices": choices, **more}))


class _Reply:
    """A text, prepared for both ways to send it."""

    def __init__(self, tokens: list[str], pace: Pace) -> None:
        self._pace = pace
        self._whole = _completion("".join(tokens), len(tokens))
        self._begin = _STREAM_HEAD + _chunk({"role": "assistant", "content": ""})
        self._tokens = [_chunk({"content": token}) for token in tokens]
        self._finish = _chunk({}, "stop")
        self._usage = _chunk(None, usage=_usage(len(tokens)))
        self._done = _frame("[DONE]") + _END

    async def send(self, body: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        """Answer a request."""
        if self._pace.ttft:
            await asyncio.sleep(self._pace.ttft)
        if not body.get("stream"):
            await asyncio.sleep(self._pace.gap * len(self._tokens))
            writer.write(self._whole)
            return
        writer.write(self._begin)
        if self._pace.gap:
            await self._send_slowly(writer)
        else:
            writer.writelines(self._tokens)
        options: dict[str, bool] = body.get("stream_options") or {}
        writer.write(self._finish + (self._usage if options.get("include_usage") else b"") + self._done)

    async def _send_slowly(self, writer: asyncio.StreamWriter) -> None:
        clock = asyncio.get_running_loop()
        began = clock.time()
        for number, token in enumerate(self._tokens, 1):
            writer.write(token)
            await writer.drain()  # raises if the client has gone
            await asyncio.sleep(began + number * self._pace.gap - clock.time())


class _Model:
    def __init__(self, pace: Pace) -> None:
        self._label = _Reply(["billing"], Pace())
        self._answer = _Reply([f"{word} " for word in islice(cycle(_TEXT.split()), pace.tokens)], pace)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of a connection."""
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = _LENGTH.search(head)
                body: dict[str, Any] = json.loads(await reader.readexactly(int(length[1]))) if length else {}
                await self._respond(head.partition(b"\r\n")[0], body, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def _respond(self, request: bytes, body: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        if b"/embeddings " in request:
            writer.write(_vectors(body))
        elif b"/chat/completions " in request:
            reply = self._label if body["model"].endswith("mini") else self._answer
            await reply.send(body, writer)
        else:
            writer.write(_response({"id": "m", "object": "model"}))


def _vectors(body: dict[str, Any]) -> bytes:
    texts: list[str] = [body["input"]] if isinstance(body["input"], str) else body["input"]
    encoded = body.get("encoding_format") == "base64"
    data = [
        {"object": "embedding", "index": index, "embedding": _vector(text, encoded=encoded)}
        for index, text in enumerate(texts)
    ]
    usage = {"prompt_tokens": 1, "total_tokens": 1}
    return _response({"object": "list", "model": "m", "data": data, "usage": usage})


def _vector(text: str, *, encoded: bool) -> str | list[float]:
    numbers = array("f", (byte - 127.5 for byte in shake_256(text.encode()).digest(DIMENSIONS)))
    return base64.b64encode(numbers).decode() if encoded else numbers.tolist()


async def _main(port: int, pace: Pace) -> None:
    server = await asyncio.start_server(_Model(pace).serve, "127.0.0.1", port, backlog=2048)
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.model", description="A fake OpenAI server.")
    parser.add_argument("port", type=int, help="serve on this port of the loopback interface")
    parser.add_argument("--tokens", type=int, default=Pace.tokens, help="tokens of an answer")
    parser.add_argument("--ttft", type=float, default=Pace.ttft, help="seconds before an answer's first token")
    parser.add_argument("--gap", type=float, default=Pace.gap, help="seconds between two tokens of a streamed answer")
    arguments = parser.parse_args()
    given = Pace(arguments.tokens, arguments.ttft, arguments.gap)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_main(arguments.port, given))
