"""Replies of any server in the form that we read: without thoughts, with text as content, and with an end."""

from typing import Any, cast

from graph.models.thoughts import ThoughtFilter, text_of
from graph.models.wire import reported

Json = dict[str, Any]

DONE: Json = {"choices": []}
"""Stands for `[DONE]`."""

_LIMITED = frozenset({"length", "max_tokens", "model_length"})
_FILTERED = frozenset(
    {
        *("content_filter", "content_filtered", "refusal", "sensitive", "guardrail_intervened"),
        *("safety", "recitation", "blocklist", "prohibited_content", "spii"),
    }
)
_FAILED = frozenset({"error", "abort", "cancelled"})
_SHOWN_THOUGHT = "thought"
_CALLS = frozenset({"tool_calls", "tool_use", "function_call"})
_UNFINISHED = _LIMITED | _FILTERED | _FAILED | _CALLS | {_SHOWN_THOUGHT, "malformed_function_call"}


def means_limited(reason: str | None) -> bool:
    """Whether a finish reason means that the reply had reached its limit."""
    return _word(reason) in _LIMITED


def means_filtered(reason: str | None) -> bool:
    """Whether a finish reason means that a content filter has ended the reply."""
    return _word(reason) in _FILTERED


def means_whole(reason: str | None) -> bool:
    """Whether a finish reason means that the reply is whole; servers have many words for that, and few for others."""
    return reason is not None and _word(reason) not in _UNFINISHED


def means_ended(reason: str | None) -> bool:
    """Whether a finish reason means that nothing was cut off: the reply is whole, or ends with calls of tools."""
    return means_whole(reason) or _word(reason) in _CALLS


def remove_thoughts(reply: Json) -> bool:
    """Remove the thoughts from a reply that is not streamed; return whether one had no beginning.

    A reply that reports an error raises openai.APIError.
    """
    began_inside = False
    reply["choices"] = choices = _first(reply.get("choices"))
    for choice in choices:
        message = cast("Json", choice.get("message") or {})
        choice["message"] = message
        if message.get("refusal"):
            choice["finish_reason"] = "refusal"
        reason = choice.get("finish_reason")
        _check(choice, reason)
        if content := message.get("content"):
            thoughts = ThoughtFilter()
            message["content"] = thoughts.feed(text_of(content)) + thoughts.end(is_whole=not means_limited(reason))
            began_inside = thoughts.began_inside
            if thoughts.is_unfinished:
                choice["finish_reason"] = "length"
    return began_inside


class StreamedReply:
    """Removes the thoughts from a reply's events, and gives it an end."""

    def __init__(self, *, begins_inside: bool) -> None:
        self.thoughts = ThoughtFilter(begins_inside=begins_inside)
        self.has_ended = False
        self.reason: str | None = None
        """Why the reply has ended."""
        self._has_begun = False

    def plain(self, event: Json) -> Json:
        """Return the event, changed; DONE becomes the end of a reply that has none.

        An event that reports an error raises openai.APIError.
        """
        if event is DONE and not self.has_ended:
            event = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
        if not (choices := event.get("choices")):
            return event
        choice: Json = choices[0]
        if choice.get("index") or len(choices) > 1:  # nobody asked for a second choice
            event["choices"] = choices = _first(choices)
            if not choices:
                return event
            choice = choices[0]
        if choice.get("delta") is None:  # some servers send a message, and Azure's content filter reports without
            choice["delta"] = choice.get("message") or {}
        delta = _indexed(cast("Json", choice["delta"]))
        content = delta.get("content")
        if content and not isinstance(content, str):
            content = delta["content"] = text_of(content)
        if not content:
            self._read_silence(choice, delta)
        elif self.thoughts.is_idle:
            self.thoughts.note(content)
        else:
            delta["content"] = self.thoughts.feed(content)
        if (reason := choice.get("finish_reason")) is not None:
            _check(choice, reason)
            # Some servers send "" at the end, and some with each event.
            goes_on = content or not self._has_begun or any(value for name, value in delta.items() if name != "role")
            choice["finish_reason"] = None if reason == "" and goes_on else self._end(delta, str(reason or "stop"))
        self._has_begun = True
        return event

    def _read_silence(self, choice: Json, delta: Json) -> None:
        """Read an event without text, which may be a refusal or an error."""
        if delta.get("refusal"):
            choice["finish_reason"] = "refusal"
        _check(choice, None)

    def _end(self, delta: Json, reason: str) -> str:
        self.has_ended = True
        if rest := self.thoughts.end(is_whole=not means_limited(reason)):
            delta["content"] = (delta.get("content") or "") + rest
        if self.thoughts.is_unfinished:
            reason = "length"
        elif self.thoughts.has_shown_thought and means_whole(reason):
            reason = _SHOWN_THOUGHT
        self.reason = reason
        return reason


def _indexed(delta: Json) -> Json:
    """Return a delta whose tool calls have an index, since LangChain drops those without; None stands for no index."""
    for call in delta.get("tool_calls") or ():
        call.setdefault("index", None)
    return delta


def _word(reason: object) -> str:
    """Return a finish reason without its case, and without details: Gemini's come as `content_filter: SPII`."""
    return str(reason).partition(":")[0].strip().lower()


def _first(choices: list[Json] | None) -> list[Json]:
    return [choice for choice in choices or () if not choice.get("index")][:1]


def _check(choice: Json, reason: object) -> None:
    error: object = choice.get("error")
    if not error and _word(reason) in _FAILED:
        error = {"message": "the reply ended with an error"}
    if error:
        raise reported(error)
