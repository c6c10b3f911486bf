"""Replies of any server in the form that we read: without thoughts, with text as content, and with an end."""

from typing import Any, cast

from graph.models.thoughts import ThoughtFilter, text_of

Json = dict[str, Any]

DONE: Json = {"choices": []}
"""Stands for `[DONE]`."""

_LIMITED = frozenset({"length", "max_tokens", "model_length"})
_FILTERED = frozenset({"content_filter", "safety", "recitation", "blocklist", "prohibited_content", "spii"})
_UNFINISHED = (
    _LIMITED
    | _FILTERED
    | {
        *("tool_calls", "tool_use", "function_call", "malformed_function_call"),
        *("error", "abort", "cancelled"),
    }
)


def means_limited(reason: str | None) -> bool:
    """Whether a finish reason means that the reply had reached its limit."""
    return str(reason).lower() in _LIMITED


def means_filtered(reason: str | None) -> bool:
    """Whether a finish reason means that a content filter has ended the reply."""
    return str(reason).lower() in _FILTERED


def means_whole(reason: str | None) -> bool:
    """Whether a finish reason means that the reply is whole; servers have many words for that, and few for others."""
    return reason is not None and reason.lower() not in _UNFINISHED


def remove_thoughts(reply: Json) -> bool:
    """Remove the thoughts from a reply that is not streamed; return whether one had no beginning."""
    began_inside = False
    for choice in reply.get("choices") or ():
        message = choice["message"]
        if content := message.get("content"):
            thoughts = ThoughtFilter()
            message["content"] = thoughts.feed(text_of(content)) + thoughts.end()
            began_inside = began_inside or thoughts.began_inside
            if thoughts.is_unfinished:
                choice["finish_reason"] = "length"
    return began_inside


class StreamedReply:
    """Removes the thoughts from a reply's events, and gives it an end."""

    def __init__(self, *, begins_inside: bool) -> None:
        self.thoughts = ThoughtFilter(begins_inside=begins_inside)
        self.has_ended = False
        self._has_begun = False

    def plain(self, event: Json) -> Json:
        """Return the event, changed; DONE becomes the end of a reply that has none."""
        if event is DONE and not self.has_ended:
            event = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
        if not (choices := event.get("choices")):
            return event
        choice: Json = choices[0]
        if choice.get("delta") is None:  # Azure's content filter reports without one
            choice["delta"] = {}
        delta = cast("Json", choice["delta"])
        content = delta.get("content")
        if content and not isinstance(content, str):
            content = delta["content"] = text_of(content)
        if content and not (self.thoughts.is_idle and "<" not in content and "[" not in content):
            delta["content"] = self.thoughts.feed(content)
        if (reason := choice.get("finish_reason")) is not None:
            # Some servers send "" at the end, and some with each event.
            goes_on = content or not self._has_begun or any(value for name, value in delta.items() if name != "role")
            choice["finish_reason"] = None if reason == "" and goes_on else self._end(delta, reason or "stop")
        self._has_begun = True
        return event

    def _end(self, delta: Json, reason: str) -> str:
        self.has_ended = True
        if rest := self.thoughts.end():
            delta["content"] = (delta.get("content") or "") + rest
        return "length" if self.thoughts.is_unfinished else reason
