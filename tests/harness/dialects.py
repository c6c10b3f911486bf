"""Model servers that take less than OpenAI's, and say so as those in the field do."""

import json
from collections.abc import Callable
from typing import Any

from starlette.types import Send

from harness.scripted_model import Call, Reply, body


def refusal(content: object, code: int = 400) -> Reply:
    """An error with any JSON."""
    return body(json.dumps(content), "application/json", code)


def openai_refusal(message: str, *, param: str | None = None, code: str | None = None, status: int = 400) -> Reply:
    """An error as OpenAI's API has it."""
    error = {"message": message, "type": "invalid_request_error", "param": param, "code": code}
    return refusal({"error": error}, status)


def unless(is_refused: Callable[[dict[str, Any]], bool], refused: Reply, taken: Reply) -> Reply:
    """Refuse some requests, and take the others."""

    async def reply(call: Call, send: Send) -> None:
        await (refused if is_refused(call.body) else taken)(call, send)

    return reply


def without(parameter: str, refused: Reply, taken: Reply) -> Reply:
    """Refuse what has a parameter."""
    return unless(lambda request: parameter in request, refused, taken)


def _extra(*parameters: str) -> list[dict[str, Any]]:
    return [
        {"type": "extra_forbidden", "loc": ["body", name], "msg": "Extra inputs are not permitted", "input": 5}
        for name in parameters
    ]


def reasoning(taken: Reply) -> Reply:
    """OpenAI's reasoning models, under whatever name a deployment has: one temperature, and that is 1."""
    message = "Unsupported value: 'temperature' does not support 0 with this model. Only the default (1) is supported."
    return without("temperature", openai_refusal(message, param="temperature", code="unsupported_value"), taken)


def litellm(taken: Reply) -> Reply:
    """LiteLLM before such a model, whose error has no `param`."""
    message = "litellm.UnsupportedParamsError: azure does not support parameters: ['temperature'], for model=chat."
    return without("temperature", openai_refusal(message, code="400"), taken)


def mistral(taken: Reply) -> Reply:
    """Mistral's API, which is strict, and has no `max_completion_tokens`."""
    detail = {"detail": _extra("max_completion_tokens")}
    content = {"object": "error", "message": detail, "type": "invalid_request_error", "param": None, "code": None}
    return without("max_completion_tokens", refusal(content, 422), taken)


def old_vllm(taken: Reply) -> Reply:
    """A vLLM of 2024, whose message quotes Python."""
    message = str([{**each, "loc": ("body", "max_completion_tokens")} for each in _extra("max_completion_tokens")])
    content = {"object": "error", "message": message, "type": "BadRequestError", "param": None, "code": 400}
    return without("max_completion_tokens", refusal(content), taken)


def old_azure(taken: Reply) -> Reply:
    """An old version of Azure's API."""
    message = "Unrecognized request argument supplied: stream_options"
    return without("stream_options", openai_refusal(message), taken)


def pydantic_text(taken: Reply) -> Reply:
    """A server that sends Pydantic's error as a text."""
    message = (
        "1 validation error for ChatCompletionRequest\nstream_options\n  Extra inputs are not permitted "
        "[type=extra_forbidden, input_value={'temperature': 0}, input_type=dict]"
    )
    return without("stream_options", openai_refusal(message), taken)


def camel_case(taken: Reply) -> Reply:
    """A gateway before a server whose names are in camel case."""
    refused = refusal({"message": "maxCompletionTokens: unknown field", "type": "bad_request"})
    return without("max_completion_tokens", refused, taken)


_UNSUPPORTED = {"error": {"message": "Unsupported parameter: 'temperature'", "code": "unsupported_parameter"}}


def refusing_in_a_200(taken: Reply) -> Reply:
    """A gateway whose errors have the status 200."""
    return without("temperature", refusal(_UNSUPPORTED, 200), taken)


def refusing_in_a_stream(taken: Reply) -> Reply:
    """A gateway whose errors are events."""
    return without("temperature", body(f"data: {json.dumps(_UNSUPPORTED)}\n\n", "text/event-stream"), taken)


def litellm_500(taken: Reply) -> Reply:
    """A LiteLLM that sends such an error as its own."""
    message = "litellm.APIConnectionError: UnsupportedParamsError: gpt-5 models don't support temperature=0.0."
    return without("temperature", openai_refusal(message, code="500", status=500), taken)


def lost(taken: Reply) -> Reply:
    """A gateway that answers 404 to a request that it can't route."""
    message = "Unrecognized request argument supplied: max_completion_tokens"
    return without("max_completion_tokens", openai_refusal(message, status=404), taken)


def no_streams(taken: Reply) -> Reply:
    """An organisation of OpenAI's that is not verified."""
    message = "Your organization must be verified to stream this model."
    return without("stream", openai_refusal(message, param="stream", code="unsupported_value"), taken)


def strict(taken: Reply) -> Reply:
    """A server that knows no parameter but the model and the messages, and names one at a time."""
    for name in ("temperature", "max_tokens", "max_completion_tokens", "stream_options"):
        taken = without(name, refusal({"detail": _extra(name)}, 422), taken)
    return taken


def under_v1(elsewhere: Reply, taken: Reply) -> Reply:
    """Answer below `/v1` alone."""

    async def reply(call: Call, send: Send) -> None:
        await (taken if call.path.startswith("/v1/") else elsewhere)(call, send)

    return reply


def batches_of(most: int, refused: Reply, taken: Reply) -> Reply:
    """Take no more than a few texts at once."""
    return unless(lambda request: len(request["input"]) > most, refused, taken)


def texts_up_to(longest: int, refused: Reply, taken: Reply) -> Reply:
    """Take no text of more characters."""
    return unless(lambda request: any(len(text) > longest for text in request["input"]), refused, taken)
