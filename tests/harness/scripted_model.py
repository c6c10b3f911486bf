"""A server with OpenAI's API whose replies, good or bad, a test scripts."""

import asyncio
import base64
import json
import re
import struct
import time
import zlib
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal

from starlette.types import Receive, Scope, Send

from harness.serving import serving

Kind = Literal["classify", "answer", "judge", "embeddings", "other"]


@dataclass
class Call:
    """A request to the server."""

    kind: Kind
    body: dict[str, Any]
    authorization: str
    began: float
    path: str = ""
    """The path and the query."""
    api_key: str = ""
    """The header that Azure reads."""
    ended: float | None = None
    cut: float | None = None
    """When the client disconnected before the end of the reply."""

    @property
    def prompt(self) -> list[tuple[str, str]]:
        """Return the roles and texts of the messages."""
        return [(message["role"], message["content"]) for message in self.body["messages"]]

    @property
    def is_check(self) -> bool:
        """Return whether the service asks whether the model is there."""
        asked = self.body.get("input") or [message.get("content") for message in self.body.get("messages", ())]
        return bool(asked) and str(asked[-1]).startswith("Is anybody there?")

    @property
    def system(self) -> str:
        """Return the system prompt."""
        return self.prompt[0][1]


Reply = Callable[[Call, Send], Awaitable[None]]
Delta = dict[str, Any]


class ScriptedModel:
    """By default answers "billing" and "Hello, world."; embeddings are hashed words."""

    def __init__(self) -> None:
        self.url = ""
        self.calls: list[Call] = []
        self.checks: list[Call] = []
        """The calls by which the service checks the models; each gets the reply that the next call would get."""
        self._scripts: dict[str, deque[Reply]] = {
            "classify": deque([label("billing")]),
            "answer": deque([tokens(["Hello", ", ", "world", "."])]),
            "judge": deque([status(404)]),
            "embeddings": deque([embedded(64)]),
            "other": deque([status(404)]),
        }

    def script(self, kind: Kind, *replies: Reply) -> None:
        """Set the replies to the next calls of a kind; the last one repeats."""
        self._scripts[kind] = deque(replies)

    def of(self, kind: Kind) -> list[Call]:
        """Return the calls of a kind so far."""
        return [call for call in self.calls if call.kind == kind]

    def forget(self) -> None:
        """Forget the calls so far."""
        self.calls.clear()
        self.checks.clear()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        content, more = b"", True
        while more:
            message = await receive()
            content += message.get("body", b"")
            more = message.get("more_body", False)
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        call = Call(
            _kind(scope["path"], content),
            _json(content),
            headers.get("authorization", ""),
            time.monotonic(),
            f"{scope['path']}?{scope['query_string'].decode()}",
            headers.get("api-key", ""),
        )
        (self.checks if call.is_check else self.calls).append(call)
        replies = self._scripts[call.kind]
        reply = replies.popleft() if len(replies) > 1 and not call.is_check else replies[0]
        working = asyncio.ensure_future(reply(call, send))
        gone = asyncio.create_task(_gone(receive))
        await asyncio.wait((working, gone), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            call.ended = time.monotonic()
        else:
            call.cut = time.monotonic()
            working.cancel()
        gone.cancel()
        results = await asyncio.gather(working, gone, return_exceptions=True)
        if isinstance(results[0], _Cut):
            raise results[0]


class _Cut(Exception):
    """Closes the connection before the end of the body."""


@asynccontextmanager
async def scripted_model() -> AsyncGenerator[ScriptedModel]:
    """Serve a scripted model."""
    model = ScriptedModel()
    async with serving(model, lifespan=False) as url:
        model.url = f"{url}/v1"
        yield model


def label(word: Any, *, used: int = 50, finish: str = "stop", **fields: Any) -> Reply:
    """A complete reply; `fields` stand beside its content."""
    usage = {"prompt_tokens": used - 1, "completion_tokens": 1, "total_tokens": used}
    message = {"role": "assistant", "content": word, **fields}
    choice = {"index": 0, "message": message, "finish_reason": finish}
    return body(json.dumps(_completion("chat.completion", [choice], usage)), "application/json")


def tokens(
    pieces: Iterable[str | Delta],
    *,
    used: int = 300,
    pause: float = 0,
    end: bool = True,
    finish: str | None = "stop",
    then: Reply | None = None,
) -> Reply:
    """A streamed reply with usage; a piece is text or a whole delta, and `then` may break the reply's end."""
    pieces = list(pieces)

    async def reply(call: Call, send: Send) -> None:
        await _start(send, 200, "text/event-stream")
        await _event(send, _chunk({"role": "assistant", "content": ""}))
        for piece in pieces:
            await _event(send, _chunk({"content": piece} if isinstance(piece, str) else piece))
            if pause:
                await asyncio.sleep(pause)
        if then:
            await then(call, send)
        if end:
            await _event(send, _chunk({}, finish=finish))
            usage = {"prompt_tokens": used - 7, "completion_tokens": 7, "total_tokens": used}
            await _event(send, json.dumps(_completion("chat.completion.chunk", [], usage)))
            await _event(send, "[DONE]")
        await send({"type": "http.response.body"})

    return reply


class Primary:
    """Answers with the requested model's name; the primary model fails while it is down."""

    def __init__(self) -> None:
        self.down = True

    async def __call__(self, call: Call, send: Send) -> None:
        """Answer one call."""
        name = call.body["model"]
        await (status(500) if self.down and name == "gpt-4o" else tokens([name]))(call, send)


def stream_of(pieces: list[str], usages: list[Any]) -> Reply:
    """A streamed reply with a running total of tokens in each chunk, as some servers send."""

    async def reply(_: Call, send: Send) -> None:
        await _start(send, 200, "text/event-stream")
        for piece, total in zip(pieces, usages, strict=True):
            choice = {"index": 0, "delta": {"content": piece}, "finish_reason": None}
            usage = None if total is None else {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": total}
            await _event(send, json.dumps(_completion("chat.completion.chunk", [choice], None) | {"usage": None}))
            if usage:
                await _event(send, json.dumps(_completion("chat.completion.chunk", [], usage)))
        await _event(send, _chunk({}, finish="stop"))
        await _event(send, "[DONE]")
        await send({"type": "http.response.body"})

    return reply


def status(code: int, headers: dict[str, str] | None = None, error: str = "sk-secret-in-an-error") -> Reply:
    """An error in OpenAI's shape."""
    content = json.dumps({"error": {"message": error, "type": "scripted", "param": None, "code": None}})
    return body(content, "application/json", code, headers)


def body(content: str, kind: str, code: int = 200, headers: dict[str, str] | None = None) -> Reply:
    """A reply with any body."""

    async def reply(_: Call, send: Send) -> None:
        await _start(send, code, kind, headers)
        await send({"type": "http.response.body", "body": content.encode()})

    return reply


html = body("<html><body>Bad gateway</body></html>", "text/html")


async def cut(_: Call, send: Send) -> None:
    """Close the connection."""
    await asyncio.sleep(0.05)  # so that the bytes sent so far arrive
    raise _Cut


async def stall(_: Call, send: Send) -> None:
    """Send nothing (more) for as long as a test may last."""
    await asyncio.sleep(30)


def until(event: asyncio.Event, *pieces: str) -> Reply:
    """Send nothing more until the event, however long a test takes, and then these tokens."""

    async def wait(_: Call, send: Send) -> None:
        await event.wait()
        for piece in pieces:
            await _event(send, _chunk({"content": piece}))

    return wait


async def broken_chunk(_: Call, send: Send) -> None:
    """Send a chunk that is not JSON."""
    await _event(send, '{"choices": [{"delta"')


async def broken_usage(_: Call, send: Send) -> None:
    """End the answer with a token count that is no integer."""
    await _event(send, _chunk({}, finish="stop"))
    usage: Any = {"prompt_tokens": 1, "completion_tokens": 2.5, "total_tokens": 3.5}
    await _event(send, json.dumps(_completion("chat.completion.chunk", [], usage)))


def after(seconds: float, reply: Reply) -> Reply:
    """Reply after a delay."""

    async def later(call: Call, send: Send) -> None:
        await asyncio.sleep(seconds)
        await reply(call, send)

    return later


def embedded(dimensions: int) -> Reply:
    """Vectors of hashed words, as base64 on request."""
    return vectors(lambda text: hashed_words(text, dimensions))


def vectors(vector_of: Callable[[str], list[float]]) -> Reply:
    """Each text's vector, as base64 on request."""

    async def reply(call: Call, send: Send) -> None:
        encoding = call.body.get("encoding_format")
        found = [_encoded(vector_of(text), encoding) for text in call.body["input"]]
        data = [{"object": "embedding", "index": index, "embedding": vector} for index, vector in enumerate(found)]
        usage = {"prompt_tokens": 1, "total_tokens": 1}
        content = json.dumps({"object": "list", "data": data, "model": "scripted", "usage": usage})
        await body(content, "application/json")(call, send)

    return reply


def hashed_words(text: str, dimensions: int) -> list[float]:
    """A text's vector: texts with the same words are near to each other."""
    vector = [0.01] * dimensions
    for word in re.findall(r"[a-z]{4,}", text.lower()):
        vector[zlib.crc32(word[:6].encode()) % dimensions] += 1.0
    length = sum(value * value for value in vector) ** 0.5
    return [value / length for value in vector]


def _encoded(vector: list[float], encoding: str | None) -> list[float] | str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode() if encoding == "base64" else vector


def _kind(path: str, content: bytes) -> Kind:
    if path.endswith("/embeddings"):
        return "embeddings"
    if not path.endswith("/chat/completions"):
        return "other"
    instructions = json.loads(content)["messages"][0]["content"]
    if "Classify" in instructions:
        return "classify"
    return "judge" if "You judge" in instructions else "answer"


def _json(content: bytes) -> dict[str, Any]:
    return json.loads(content) if content else {}


def _chunk(delta: Delta, finish: str | None = None) -> str:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return json.dumps(_completion("chat.completion.chunk", [choice], None))


def _completion(kind: str, choices: list[Any], usage: dict[str, int] | None) -> dict[str, Any]:
    return {
        "id": "c-1",
        "object": kind,
        "created": 1,
        "model": "scripted",
        "choices": choices,
        "usage": usage,
    }


async def _start(send: Send, code: int, kind: str, headers: dict[str, str] | None = None) -> None:
    pairs = {"content-type": kind, **(headers or {})}
    encoded = [(name.encode(), value.encode()) for name, value in pairs.items()]
    await send({"type": "http.response.start", "status": code, "headers": encoded})


async def _event(send: Send, data: str) -> None:
    await send({"type": "http.response.body", "body": f"data: {data}\n\n".encode(), "more_body": True})


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
