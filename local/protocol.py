"""The part of OpenAI's API that the offline model supports: requests and errors.

The formats follow https://platform.openai.com/docs/api-reference. Parameters that would change the answer and are not
supported are refused by name. Harmless ones (temperature, seed, user, stop, metadata, …) are accepted and ignored.
"""

import json
from dataclasses import dataclass
from typing import Any, Literal, cast

from local.vectors import DIMENSIONS

MAX_INPUTS = 2048
"""Texts in one embeddings request; OpenAI has the same limit."""

ROLES = ("system", "developer", "user", "assistant")

JsonObject = dict[str, Any]
Encoding = Literal["float", "base64"]


class ApiError(Exception):
    """A refused request, in OpenAI's error format."""

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        type: str = "invalid_request_error",  # noqa: A002 - OpenAI's name
        param: str | None = None,
        code: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.body: JsonObject = {"error": {"message": message, "type": type, "param": param, "code": code}}


@dataclass(frozen=True)
class Turn:
    """One message of a prompt."""

    role: str
    text: str


@dataclass(frozen=True)
class ChatRequest:
    """A request to `POST /v1/chat/completions`."""

    turns: tuple[Turn, ...]
    stream: bool
    include_usage: bool
    max_tokens: int | None


@dataclass(frozen=True)
class EmbeddingRequest:
    """A request to `POST /v1/embeddings`."""

    texts: tuple[str, ...]
    encoding: Encoding


def _json_object(body: bytes) -> JsonObject:
    """Return the body as a JSON object that names a model; raises ApiError."""
    try:
        data = json.loads(body.decode("utf-8"))
    except UnicodeDecodeError:
        raise ApiError("The body is not UTF-8.") from None
    except (ValueError, RecursionError):
        raise ApiError("The body is not valid JSON.") from None
    if not isinstance(data, dict):
        raise ApiError("The body must be a JSON object.")
    request = cast("JsonObject", data)
    model = request.get("model")
    if not isinstance(model, str) or not model:
        raise ApiError("You must provide a model parameter, a string.", param="model")
    return request


def chat_request(body: bytes) -> ChatRequest:
    """Parse and validate the body of a chat completion request; raises ApiError."""
    data = _json_object(body)
    _refuse_unsupported(data)
    stream = _boolean(data, "stream")
    options = data.get("stream_options")
    if options is not None and not isinstance(options, dict):
        raise ApiError("'stream_options' must be an object.", param="stream_options")
    if options is not None and not stream:
        raise ApiError(
            "The 'stream_options' parameter is only allowed when 'stream' is enabled.", param="stream_options"
        )
    limits = [limit for key in ("max_tokens", "max_completion_tokens") if (limit := _positive(data, key))]
    return ChatRequest(
        turns=_turns(data.get("messages")),
        stream=stream,
        include_usage=_boolean(cast("JsonObject", options or {}), "include_usage"),
        max_tokens=min(limits, default=None),
    )


def embedding_request(body: bytes) -> EmbeddingRequest:
    """Parse and validate the body of an embeddings request; raises ApiError."""
    data = _json_object(body)
    encoding = data.get("encoding_format")
    if encoding not in ("float", "base64", None):
        raise ApiError("'encoding_format' must be 'float' or 'base64'.", param="encoding_format")
    if _positive(data, "dimensions") not in (DIMENSIONS, None):
        raise ApiError(f"The offline model's vectors have {DIMENSIONS} dimensions.", param="dimensions")
    given = data.get("input")
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not texts:
        raise ApiError("'input' must be a string or a non-empty list of strings.", param="input")
    if len(cast("list[Any]", texts)) > MAX_INPUTS:
        raise ApiError(f"'input' has more than {MAX_INPUTS} texts.", param="input")
    checked = tuple(_text(part, "input") for part in cast("list[Any]", texts))
    if not all(checked):
        raise ApiError("'input' contains an empty string.", param="input")
    return EmbeddingRequest(checked, encoding or "float")


def _turns(messages: object) -> tuple[Turn, ...]:
    if not isinstance(messages, list) or not messages:
        raise ApiError("'messages' must be a non-empty list of messages.", param="messages")
    return tuple(_turn(message, f"messages[{n}]") for n, message in enumerate(cast("list[Any]", messages)))


def _turn(message: object, param: str) -> Turn:
    if not isinstance(message, dict):
        raise ApiError(f"'{param}' must be an object.", param=param)
    fields = cast("JsonObject", message)
    role = fields.get("role")
    if role not in ROLES:
        raise ApiError(f"'{param}.role' must be one of {', '.join(ROLES)}.", param=f"{param}.role")
    content = fields.get("content")
    if isinstance(content, list):
        parts = cast("list[Any]", content)
        return Turn(role, "".join(_part_text(part, f"{param}.content[{n}]") for n, part in enumerate(parts)))
    return Turn(role, _text(content, f"{param}.content"))


def _part_text(part: object, param: str) -> str:
    fields = cast("JsonObject", part) if isinstance(part, dict) else {}
    if fields.get("type") != "text":
        raise ApiError(f"'{param}': the offline model supports only parts of type 'text'.", param=param)
    return _text(fields.get("text"), f"{param}.text")


def _text(value: object, param: str) -> str:
    """Return `value` if it is text that UTF-8 can encode; raises ApiError."""
    if not isinstance(value, str):
        raise ApiError(f"'{param}' must be a string.", param=param)
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ApiError(f"'{param}' contains an unpaired surrogate.", param=param) from None
    return value


def _refuse_unsupported(data: JsonObject) -> None:
    """Refuse unsupported parameters that would change the answer."""
    for key in ("tools", "functions", "logprobs", "audio"):
        if data.get(key):
            raise ApiError(f"The offline model does not support {key!r}.", param=key, code="unsupported_parameter")
    if data.get("response_format") not in (None, {"type": "text"}):
        raise ApiError(
            "The offline model supports only 'response_format' text.",
            param="response_format",
            code="unsupported_parameter",
        )
    if data.get("n") not in (None, 1):
        raise ApiError("The offline model gives one answer: 'n' must be 1.", param="n", code="unsupported_value")


def _boolean(data: JsonObject, key: str) -> bool:
    value = data.get(key)
    if value is not None and not isinstance(value, bool):
        raise ApiError(f"{key!r} must be true or false.", param=key)
    return bool(value)


def _positive(data: JsonObject, key: str) -> int | None:
    value = data.get(key)
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
        raise ApiError(f"{key!r} must be an integer of at least 1.", param=key)
    return value
