"""Replies of a scripted model that ask for tools."""

import json
from typing import Any

from harness.scripted_model import Delta, Reply, tokens


def function_call(name: str, arguments: Any, *, index: int | None = 0, id: str | None = "call-1") -> Delta:  # noqa: A002
    """A whole tool call in one piece; `arguments` may be text that is no JSON."""
    text = arguments if isinstance(arguments, str) else json.dumps(arguments)
    call: Delta = {"type": "function", "function": {"name": name, "arguments": text}}
    call |= {} if index is None else {"index": index}
    return {"tool_calls": [call | ({} if id is None else {"id": id})]}


def calls(*deltas: Delta, text: str = "", finish: str | None = "tool_calls", **options: Any) -> Reply:
    """A streamed reply that asks for tools, after a text if there is one."""
    return tokens([*([text] if text else []), *deltas], finish=finish, **options)
