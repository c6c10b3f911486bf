"""How the servers that people have answer OpenAI's requests; docs/models.md names the sources.

A profile is data: what it refuses and how, how it sends thoughts, and how it ends a reply.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from starlette.types import Send

from harness.scripted_model import Call, ScriptedModel, body

Json = dict[str, Any]
THOUGHT = "Hmm, the customer asks this."
SAID = "You asked: "
_ROOM = 100  # tokens that a thought needs


@dataclass(frozen=True)
class Profile:
    """A server, and the model that it serves."""

    name: str
    refuses: Mapping[str, tuple[int, Json]] = field(default_factory=dict[str, tuple[int, Json]])
    """Parameters, with the status and the body of the refusal."""
    limits: Sequence[str] = ("max_completion_tokens", "max_tokens")
    """The limits that it knows."""
    thinks: bool = False
    thought: Json = field(default_factory=dict[str, Any])
    """The fields of a delta, or of a message, with a thought."""
    text: Callable[[str], Any] = str
    """The content for a text."""
    before_answer: str = ""
    """A thought in the text."""
    first: Sequence[Json] = ()
    """Events before the first piece."""
    between: Sequence[Json] = ()
    """Events, or comments, after each piece."""
    delta: Json = field(default_factory=dict[str, Any])
    """Fields of each delta."""
    choice: Json = field(default_factory=dict[str, Any])
    """Fields of each choice."""
    finish: str | None = "stop"
    usage: str = "after"
    """Where the usage of a stream is: `after` the end, `with` it, or `never`."""
    model: str = "gpt-4o"

    def use(self, model: ScriptedModel) -> None:
        """Have the server answer like this."""
        model.script("classify", self.reply)
        model.script("answer", self.reply)

    async def reply(self, call: Call, send: Send) -> None:
        """Answer a request."""
        for name, (status, refusal) in self.refuses.items():
            if name in call.body:
                await body(json.dumps(refusal), "application/json", status)(call, send)
                return
        question = call.prompt[-1][1]
        text = category_of(question) if call.kind == "classify" else SAID + question
        given = [call.body[name] for name in self.limits if name in call.body]
        cut = self.thinks and bool(given) and min(given) < _ROOM
        if call.body.get("stream"):
            await _send(send, self._stream(text, cut=cut, usage="stream_options" in call.body))
        else:
            await body(json.dumps(self._whole(text, cut=cut)), "application/json")(call, send)

    def _whole(self, text: str, *, cut: bool) -> Json:
        content = self.before_answer if cut else self.before_answer + text
        message = {"role": "assistant", "content": self.text(content), **self.thought, **self._parts(content)}
        choice = {"index": 0, "message": message, "finish_reason": "length" if cut else self.finish, **self.choice}
        return {"id": "c-1", "object": "chat.completion", "created": 1, "choices": [choice], "usage": _USAGE}

    def _parts(self, content: str) -> Json:
        """A thought that is a part of the content stands before the text."""
        parts = self.thought.get("content")
        return (
            {"content": [*parts, *self.text(content)]} if isinstance(parts, list) else {"content": self.text(content)}
        )

    def _stream(self, text: str, *, cut: bool, usage: bool) -> list[Json]:
        pieces = [self.before_answer[:9], self.before_answer[9:], *([] if cut else _pieces(text))]
        events = list(self.first)
        if self.thought:
            events += [self._event(self.thought), *self.between]
        for piece in filter(None, pieces):
            events += [self._event({"content": self.text(piece)}), *self.between]
        end = self._event({"content": self.text("")}, "length" if cut else self.finish)
        events.append(end | ({"usage": _USAGE} if self.usage == "with" else {}))
        return [*events, {"choices": [], "usage": _USAGE}] if usage and self.usage == "after" else events

    def _event(self, delta: Json, finish: str | None = None) -> Json:
        choice = {"index": 0, "delta": {**self.delta, **delta}, "finish_reason": finish, **self.choice}
        return {"id": "c-1", "object": "chat.completion.chunk", "created": 1, "model": self.model, "choices": [choice]}


CATEGORIES = ("billing", "technical", "general")


def category_of(question: str) -> str:
    """Return the category that every profile finds."""
    return CATEGORIES[len(question) % len(CATEGORIES)]


_USAGE = {"prompt_tokens": 40, "completion_tokens": 10, "total_tokens": 50}


def _pieces(text: str) -> list[str]:
    return [text[at : at + 7] for at in range(0, len(text), 7)]


async def _send(send: Send, events: Sequence[Json]) -> None:
    headers = [(b"content-type", b"text/event-stream")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for event in events:
        line = f": {event['comment']}" if "comment" in event else f"data: {json.dumps(event)}"
        await send({"type": "http.response.body", "body": f"{line}\n\n".encode(), "more_body": True})
    await send({"type": "http.response.body", "body": b"data: [DONE]\n\n"})


def _unsupported(param: str, message: str, code: str = "unsupported_value") -> tuple[int, Json]:
    return 400, {"error": {"message": message, "type": "invalid_request_error", "param": param, "code": code}}


def _forbidden(*location: str) -> tuple[int, Json]:
    detail = {
        "type": "extra_forbidden",
        "loc": ["body", *location],
        "msg": "Extra inputs are not permitted",
        "input": 1,
    }
    message = {"detail": [detail]}
    return 422, {"object": "error", "message": message, "type": "invalid_request_error", "param": None, "code": None}


_TEMPERATURE = _unsupported(
    "temperature",
    "Unsupported value: 'temperature' does not support 0 with this model. Only the default (1) value is supported.",
)
_NO_TEMPERATURE = _unsupported(
    "temperature", "Unsupported parameter: 'temperature' is not supported with this model.", "unsupported_parameter"
)
_LITELLM = (
    "litellm.UnsupportedParamsError: O-series models don't support temperature=0.0. Only temperature=1 is supported. "
    "To drop unsupported openai params from the call, set `litellm.drop_params = True`"
)


def _text_parts(text: str) -> list[Json]:
    return [{"type": "text", "text": text}] if text else []


PROFILES = (
    Profile("OpenAI, chat", first=[{"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]}]),
    Profile("OpenAI, reasoning", refuses={"temperature": _TEMPERATURE}, thinks=True, model="o4-mini"),
    Profile(
        "Azure, chat",
        first=[{"choices": [], "prompt_filter_results": [{"prompt_index": 0, "content_filter_results": {}}]}],
        between=[{"choices": [{"index": 0, "finish_reason": None, "content_filter_offsets": {"check_offset": 9}}]}],
        choice={"content_filter_results": {}},
    ),
    Profile(
        "Azure, reasoning",
        refuses={
            "temperature": _unsupported(
                "temperature",
                "Unsupported parameter: 'temperature' is not supported with this model.",
                "unsupported_parameter",
            )
        },
        first=[{"choices": [], "prompt_filter_results": []}],
        thinks=True,
        model="my-deployment",
    ),
    Profile("vLLM, chat", choice={"stop_reason": None, "token_ids": None}, model="Qwen/Qwen3-8B"),
    Profile("vLLM, reasoning parser", thinks=True, thought={"reasoning": THOUGHT}, model="Qwen/Qwen3-8B"),
    Profile(
        "vLLM, older reasoning parser",
        thinks=True,
        thought={"reasoning_content": THOUGHT, "content": None},
        model="Qwen/Qwen3-8B",
    ),
    Profile("vLLM, no parser", thinks=True, before_answer=f"{THOUGHT}\n</think>\n\n", model="DeepSeek-R1-Distill"),
    Profile(
        "llama.cpp",
        first=[{"choices": [{"index": 0, "delta": {"role": "assistant", "content": None}, "finish_reason": None}]}],
        thinks=True,
        thought={"reasoning_content": THOUGHT},
    ),
    Profile("llama.cpp, reasoning format none", thinks=True, before_answer=f"<think>\n{THOUGHT}\n</think>\n\n"),
    Profile(
        "Ollama",
        limits=["max_tokens"],
        thinks=True,
        thought={"content": "", "reasoning": THOUGHT},
        delta={"role": "assistant"},
        model="qwen3:8b",
    ),
    Profile(
        "LiteLLM, reasoning",
        refuses={
            "temperature": (400, {"error": {"message": _LITELLM, "type": "None", "param": "None", "code": "400"}})
        },
        thinks=True,
        thought={"reasoning_content": THOUGHT, "content": ""},
    ),
    Profile("LiteLLM, merged reasoning", thinks=True, before_answer=f"<think>{THOUGHT}</think>"),
    Profile(
        "Mistral",
        refuses={
            "max_completion_tokens": _forbidden("max_completion_tokens"),
            "stream_options": _forbidden("stream_options", "include_usage"),
        },
        usage="with",
        model="mistral-small-latest",
    ),
    Profile(
        "Mistral, reasoning",
        refuses={
            "max_completion_tokens": _forbidden("max_completion_tokens"),
            "stream_options": _forbidden("stream_options", "include_usage"),
        },
        thinks=True,
        thought={"content": [{"type": "thinking", "thinking": [{"type": "text", "text": THOUGHT}]}]},
        text=_text_parts,
        usage="with",
        model="magistral-medium-latest",
    ),
    Profile(
        "OpenRouter",
        first=[{"comment": "OPENROUTER PROCESSING"}],
        between=[{"comment": "OPENROUTER PROCESSING"}],
        thinks=True,
        thought={
            "content": "",
            "reasoning": THOUGHT,
            "reasoning_details": [{"type": "reasoning.text", "text": THOUGHT}],
        },
        delta={"role": "assistant"},
        choice={"native_finish_reason": None},
        model="deepseek/deepseek-r1",
    ),
)
