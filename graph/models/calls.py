"""Tool calls in a model's reply, put together from their pieces and never mended.

LangChain makes half a call a whole one. Here a call that was cut off, has no id or has arguments that are no object is
kept as it is, with what is wrong with it, and must not be run.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import orjson

from graph.errors import ModelUnavailable
from graph.models.replies import means_ended

# Of a reply's calls; more means that the model's server is broken.
_LONGEST = 100_000  # characters
_MOST = 100

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call that a model asks for."""

    id: str
    """Its own, or one that we have made up."""
    name: str
    arguments: Mapping[str, Any]
    """Empty if they can't be read."""
    problem: str | None = None
    """Why it must not be run, in words for the model."""


@dataclass(slots=True)
class _Call:
    index: int | None
    id: str = ""
    name: str = ""
    arguments: str = ""


class ToolCalls:
    """Collects the calls of one reply.

    Pieces belong together by index. Some servers send none, or the same one for several whole calls: there an id or a
    name begins another call.
    """

    def __init__(self) -> None:
        self._calls: list[_Call] = []
        self._left = _LONGEST

    def add(self, pieces: Iterable[Json]) -> None:
        """Add pieces of calls, in OpenAI's format; raises ModelUnavailable if there is no end of them."""
        for piece in pieces:
            function = cast("Json", piece.get("function") or {})
            arguments: object = function.get("arguments") or ""
            text = arguments if isinstance(arguments, str) else orjson.dumps(arguments).decode()
            call = self._of(piece.get("index"), str(piece.get("id") or ""), str(function.get("name") or ""))
            call.arguments += text
            self._left -= len(text) + 1
            if self._left < 0:
                raise ModelUnavailable("the tool calls are too long")

    def whole(self, reason: str | None) -> list[ToolCall]:
        """Return the calls of a reply that has ended for this reason."""
        is_cut = not means_ended(reason)
        seen: set[str] = set()
        found: list[ToolCall] = []
        for number, call in enumerate(self._calls):
            problem = "the call was cut off" if is_cut else None
            if not call.id or call.id in seen:
                problem = problem or "the call has no id of its own"
            name = call.id if call.id and call.id not in seen else f"call-{number}"
            seen.add(name)
            arguments = _object(call.arguments)
            if arguments is None:
                problem = problem or "the arguments are no JSON object"
            found.append(ToolCall(name, call.name, arguments or {}, problem))
        return found

    def _of(self, index: object, name: str, function: str) -> _Call:
        number = index if isinstance(index, int) else None
        same = (call for call in reversed(self._calls) if number is None or call.index == number)
        current = next(same, None)
        if current is None or (function and current.name and _is_another(current, number, name)):
            current = _Call(number)
            self._calls.append(current)
            if len(self._calls) > _MOST:
                raise ModelUnavailable("there are too many tool calls")
        current.id = current.id or name
        current.name = current.name or function
        return current


def _is_another(current: _Call, index: int | None, name: str) -> bool:
    """Whether a piece that names a function begins another call than the current one."""
    return name != current.id if name else index is None


def _object(text: str) -> Json | None:
    try:
        found = orjson.loads(text or "{}")  # for a tool without arguments some servers send none
    except ValueError:
        return None
    return cast("Json", found) if isinstance(found, dict) else None
