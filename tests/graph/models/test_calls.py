"""Tool calls, put together from what servers send."""

from typing import Any

import pytest

from graph.errors import ModelUnavailable
from graph.models.calls import ToolCalls


def piece(arguments: Any = None, *, name: str | None = None, **fields: Any) -> dict[str, Any]:
    return {**fields, "function": {"name": name, "arguments": arguments}}


def collected(pieces: list[dict[str, Any]], reason: str | None = "tool_calls") -> list[Any]:
    calls = ToolCalls()
    for one in pieces:
        calls.add([one])
    return calls.whole(reason)


A, B = ("a", "one", {"n": 1}), ("b", "two", {"n": 2})
STREAMS = {
    "OpenAI: by index, in pieces": [
        piece("", name="one", index=0, id="a"),
        piece('{"n"', index=0),
        piece(": 1}", index=0),
        piece("", name="two", index=1, id="b"),
        piece('{"n": 2}', index=1),
    ],
    "pieces of both in turn": [
        piece("", name="one", index=0, id="a"),
        piece("", name="two", index=1, id="b"),
        piece('{"n": ', index=0),
        piece('{"n": ', index=1),
        piece("1}", index=0),
        piece("2}", index=1),
    ],
    "Gemini: whole calls, each with index 0": [
        piece('{"n": 1}', name="one", index=0, id="a"),
        piece('{"n": 2}', name="two", index=0, id="b"),
    ],
    "no index": [
        piece('{"n"', name="one", id="a", index=None),
        piece(": 1}"),
        piece('{"n": 2}', name="two", id="b"),
    ],
    "an empty id and name in later pieces": [
        piece('{"n"', name="one", index=0, id="a"),
        piece(": 1}", name="", index=0, id=""),
        piece('{"n": 2}', name="two", index=1, id="b"),
    ],
    "the name and the id in each piece": [
        piece('{"n"', name="one", index=0, id="a"),
        piece(": 1}", name="one", index=0, id="a"),
        piece('{"n": 2}', name="two", index=1, id="b"),
    ],
    "another id in each piece": [
        piece('{"n"', name="one", index=0, id="a"),
        piece(": 1}", index=0, id="x"),
        piece('{"n": 2}', name="two", index=1, id="b"),
    ],
    "arguments as an object": [
        piece({"n": 1}, name="one", index=0, id="a"),
        piece({"n": 2}, name="two", index=1, id="b"),
    ],
}


@pytest.mark.parametrize("pieces", STREAMS.values(), ids=list(STREAMS))
@pytest.mark.parametrize("reason", ["tool_calls", "stop", "TOOL_CALLS", "tool_use", "function_call"])
def test_calls_are_put_together(pieces: list[dict[str, Any]], reason: str) -> None:
    """Whichever way a server cuts and numbers them, and whatever it calls the end."""
    found = collected(pieces, reason)
    assert [(call.id, call.name, call.arguments) for call in found] == [A, B]
    assert not any(call.problem for call in found)


@pytest.mark.parametrize("reason", ["length", "max_tokens", "model_length", "malformed_function_call", None])
def test_a_call_that_was_cut_off_is_not_run(reason: str | None) -> None:
    """Even if what has come so far is valid."""
    (call,) = collected([piece('{"n": 1}', name="one", index=0, id="a")], reason)
    assert call.problem == "the call was cut off"


@pytest.mark.parametrize(
    "arguments", ['{"n": 1', "[1]", '"text"', "null", '{"n": 1}{"n": 2}', "{'n': 1}", '{"n": NaN}']
)
def test_arguments_that_are_no_object_are_not_mended(arguments: str) -> None:
    """The call is kept, with what is wrong."""
    (call,) = collected([piece(arguments, name="one", index=0, id="a")])
    assert (call.problem, call.arguments) == ("the arguments are no JSON object", {})


def test_calls_without_an_id_of_their_own_are_not_run() -> None:
    """They get one that the reply to the model can name."""
    found = collected([piece("{}", name="one", index=0), piece("{}", name="two", index=1, id="b")])
    assert [(call.id, call.problem is None) for call in found] == [("call-0", False), ("b", True)]
    found = collected([piece("{}", name="one", index=0, id="b"), piece("{}", name="two", index=1, id="b")])
    assert [(call.id, call.problem is None) for call in found] == [("b", True), ("call-1", False)]


def test_no_arguments_are_an_empty_object() -> None:
    """As some servers send for a tool that takes none."""
    (call,) = collected([piece("", name="one", index=0, id="a")])
    assert (call.arguments, call.problem) == ({}, None)


def test_endless_calls_are_broken_off() -> None:
    """However they grow."""
    calls = ToolCalls()
    with pytest.raises(ModelUnavailable):
        for _ in range(200):
            calls.add([piece("x" * 1_000, index=0)])
    calls = ToolCalls()
    with pytest.raises(ModelUnavailable):
        calls.add([piece("", name="one", index=number) for number in range(2_000)])
