"""The offline model's HTTP server: OpenAI's chat completions, embeddings and models.

A stream sends, in this order: a chunk with the role, a chunk per word, a chunk with `finish_reason`, with
`include_usage` a chunk that has `usage` and no choices, and `data: [DONE]`. Nothing from a request is logged.
"""

import asyncio
import base64
import hmac
import json
import logging
import re
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from local.answering import answer
from local.protocol import ApiError, ChatRequest, Encoding, JsonObject, chat_request, embedding_request
from local.vectors import DIMENSIONS, Row, Vectors

MODEL = "offline"
EMBEDDINGS = f"offline-wordllama-{DIMENSIONS}"
"""The name of the vectors, which says what they are."""
DESCRIPTIONS = {
    name: {"id": name, "object": "model", "created": 0, "owned_by": "support-agent"} for name in (MODEL, EMBEDDINGS)
}

MAX_BODY = 1024 * 1024
"""Bytes of a request's body."""

_log = logging.getLogger("uvicorn.error")

Endpoint = Callable[[Request], Awaitable[Response]]


def create_server(vectors: Vectors, key: str) -> Starlette:
    """Return the server; each request must authenticate with `key`."""

    async def chat_completions(request: Request) -> Response:
        asked = chat_request(await _body(request))
        completion = Completion(asked, await asyncio.to_thread(answer, asked.turns, vectors))
        if asked.stream:
            return StreamingResponse(completion.stream(), media_type="text/event-stream")
        return JSONResponse(completion.whole())

    async def embeddings(request: Request) -> Response:
        asked = embedding_request(await _body(request))
        rows = await asyncio.to_thread(vectors.of, asked.texts)
        data = [
            {"object": "embedding", "index": index, "embedding": _coded(row, asked.encoding)}
            for index, row in enumerate(rows)
        ]
        tokens = sum(len(text.split()) for text in asked.texts)
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return JSONResponse({"object": "list", "data": data, "model": EMBEDDINGS, "usage": usage})

    return Starlette(
        routes=[
            Route("/v1/chat/completions", _quietly(chat_completions), methods=["POST"]),
            Route("/v1/embeddings", _quietly(embeddings), methods=["POST"]),
            Route("/v1/models", _models, methods=["GET"]),
            Route("/v1/models/{name:path}", _model, methods=["GET"]),
        ],
        middleware=[Middleware(KeyRequired, key=key)],
        exception_handlers={ApiError: _refuse, HTTPException: _refuse_route},
    )


def _quietly(endpoint: Endpoint) -> Endpoint:
    """Log only the type of an exception in `endpoint`, since its text may contain what a user wrote."""

    async def guarded(request: Request) -> Response:
        try:
            return await endpoint(request)
        except ApiError:
            raise
        except Exception as error:  # noqa: BLE001 - the client gets a response to any exception
            _log.error("%s failed: %s", endpoint.__name__, type(error).__name__)
            raise ApiError("The offline model failed.", status=500, type="server_error") from None

    return guarded


class KeyRequired:
    """Middleware that passes on only requests with `Authorization: Bearer KEY`."""

    def __init__(self, app: ASGIApp, key: str) -> None:
        self._app = app
        self._key = key.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or respond with 401."""
        if scope["type"] == "http" and not self._accepts(dict(scope["headers"]).get(b"authorization", b"")):
            error = ApiError("Incorrect API key provided.", status=401, code="invalid_api_key")
            await JSONResponse(error.body, error.status)(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _accepts(self, given: bytes) -> bool:
        scheme, _, key = given.partition(b" ")
        return scheme.lower() == b"bearer" and hmac.compare_digest(key.strip(), self._key)


class Completion:
    """One answer in OpenAI's format."""

    def __init__(self, asked: ChatRequest, answer: str) -> None:
        words = pieces(answer)
        self._words = words[: asked.max_tokens]
        self._finish = "length" if len(words) > len(self._words) else "stop"
        self._include_usage = asked.include_usage
        prompt = sum(len(pieces(turn.text)) for turn in asked.turns)
        self._usage = {
            "prompt_tokens": prompt,
            "completion_tokens": len(self._words),
            "total_tokens": prompt + len(self._words),
        }
        self._head = {"id": f"chatcmpl-{secrets.token_hex(12)}", "created": int(time.time()), "model": MODEL}

    def whole(self) -> JsonObject:
        """Return the body of a response that is not streamed."""
        message = {"role": "assistant", "content": "".join(self._words), "refusal": None}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": self._finish}
        return {**self._head, "object": "chat.completion", "choices": [choice], "usage": self._usage}

    async def stream(self) -> AsyncIterator[str]:
        """Yield the events of a streamed response."""
        yield self._chunk({"role": "assistant", "content": "", "refusal": None})
        for word in self._words:
            yield self._chunk({"content": word})
        yield self._chunk({}, self._finish)
        if self._include_usage:
            yield self._event({"choices": [], "usage": self._usage})
        yield "data: [DONE]\n\n"

    def _chunk(self, delta: dict[str, Any], finish: str | None = None) -> str:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return self._event({"choices": [choice], **({"usage": None} if self._include_usage else {})})

    def _event(self, fields: JsonObject) -> str:
        return f"data: {json.dumps({**self._head, 'object': 'chat.completion.chunk', **fields})}\n\n"


def pieces(text: str) -> list[str]:
    """Return the words of a text as its tokens, each with the white space before it; joined, they equal the text."""
    return re.findall(r"\s*\S+|\s+$", text)


def _coded(vector: Row, encoding: Encoding) -> str | list[float]:
    return base64.b64encode(vector.astype("<f4").tobytes()).decode() if encoding == "base64" else vector.tolist()


async def _body(request: Request) -> bytes:
    """Return the request's body; raises ApiError (413) as soon as it exceeds MAX_BODY."""
    parts = bytearray()
    async for part in request.stream():
        parts += part
        if len(parts) > MAX_BODY:
            raise ApiError(f"The body is larger than {MAX_BODY} bytes.", status=413, code="request_too_large")
    return bytes(parts)


async def _models(_: Request) -> Response:
    """List the models."""
    return JSONResponse({"object": "list", "data": list(DESCRIPTIONS.values())})


async def _model(request: Request) -> Response:
    """Describe a model."""
    name = request.path_params["name"]
    if name not in DESCRIPTIONS:
        raise ApiError(f"The model {name!r} does not exist.", status=404, param="model", code="model_not_found")
    return JSONResponse(DESCRIPTIONS[name])


async def _refuse(_: Request, error: Exception) -> Response:
    """Render an ApiError."""
    assert isinstance(error, ApiError)  # noqa: S101 - registered for no other exception
    return JSONResponse(error.body, error.status)


async def _refuse_route(request: Request, error: Exception) -> Response:
    """Render Starlette's 404 and 405 in OpenAI's error format."""
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for no other exception
    code = "unknown_url" if error.status_code == 404 else "method_not_supported"
    message = f"There is no {request.method} {request.url.path!r} here."
    refused = ApiError(message, status=error.status_code, code=code)
    return JSONResponse(refused.body, refused.status, headers=error.headers)
