"""`python bench/model.py PORT`: a fake OpenAI server that sends a constant response immediately, with little CPU."""

import asyncio
import json
import re
import sys
from typing import Any

_ANSWER = ("Well", ",", " a", " payment", " is", " refunded", " within", " 30 days", ".")
_USAGE = {"prompt_tokens": 1500, "completion_tokens": len(_ANSWER), "total_tokens": 1500 + len(_ANSWER)}
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_STREAM = re.compile(rb'"stream": ?true')


def _response(body: bytes, kind: str = "application/json") -> bytes:
    return f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body


def _chunk(choices: list[dict[str, Any]], **more: Any) -> bytes:  # noqa: ANN401 - JSON
    chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": choices, **more}
    return f"data: {json.dumps(chunk)}\n\n".encode()


def _piece(text: str) -> bytes:
    return _chunk([{"index": 0, "delta": {"role": "assistant", "content": text}, "finish_reason": None}])


_LABEL = _response(
    json.dumps(
        {
            "id": "c",
            "object": "chat.completion",
            "created": 1,
            "model": "m",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": "billing"}, "finish_reason": "stop"}],
            "usage": _USAGE,
        }
    ).encode()
)
_STREAMED = _response(
    b"".join(map(_piece, _ANSWER))
    + _chunk([{"index": 0, "delta": {}, "finish_reason": "stop"}])
    + _chunk([], usage=_USAGE)
    + b"data: [DONE]\n\n",
    "text/event-stream",
)


def _vectors(count: int) -> bytes:
    data = [{"object": "embedding", "index": index, "embedding": [1 + index, 2, 3]} for index in range(count)]
    return _response(json.dumps({"object": "list", "model": "m", "data": data, "usage": _USAGE}).encode())


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = _LENGTH.search(head)
            body = await reader.readexactly(int(length[1]) if length else 0)
            if b"/embeddings " in head:
                writer.write(_vectors(len(json.loads(body)["input"])))
            else:
                writer.write(_STREAMED if _STREAM.search(body) else _LABEL)
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def _main(port: int) -> None:
    server = await asyncio.start_server(_serve, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1])))
