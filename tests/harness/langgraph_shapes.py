"""What two servers of LangGraph's API answered, compared by the names, the order and the shape of what they sent."""

from collections.abc import Iterator
from itertools import groupby
from typing import Any, cast

from harness.langgraph_script import Recording

_SAID = {"type", "role", "status", "content", "name", "category", "event", "graph_id", "location", "content-location"}
"""The keys whose texts are compared, too; of all others it is compared that they are texts."""

_AT_ONCE = ("custom:category", "custom:sources", "updates:classify", "updates:retrieve")
"""Events of nodes that run at the same time, in either order."""

Block = tuple[str, set[str]]
"""An answer, or what follows each other in a stream under one name: the paths and shapes of its JSON."""


def differences(theirs: Recording, ours: Recording) -> list[str]:
    """Return a line for each difference between two recordings of the same script."""
    there, here = theirs.normal(), ours.normal()
    assert list(there) == list(here)
    return [f"{name}: {line}" for name in there for line in _compared(_blocks(there[name]), _blocks(here[name]))]


def _compared(there: list[Block], here: list[Block]) -> Iterator[str]:
    orders = [[name for name, _ in blocks] for blocks in (there, here)]
    if orders[0] != orders[1]:
        yield f"order: {' '.join(orders[0])} | {' '.join(orders[1])}"
        return
    for (name, theirs), (_, ours) in zip(there, here, strict=True):
        for side, only, other in (("lacks", theirs, ours), ("adds", ours, theirs)):
            for path in sorted(only - other):
                if not _parents(path) & (only - other):
                    yield f"{name}: {side} {path}"


def _parents(path: str) -> set[str]:
    begin, _, _ = path.partition(" = ")
    parents = {begin[: at + 1] for at, letter in enumerate(begin) if letter == "]"}
    parents |= {begin[:at] for at, letter in enumerate(begin) if letter in ".["}
    return (parents | {begin}) - {path}


def _blocks(result: Any) -> list[Block]:
    if not _is_stream(result):
        return [("answer", set(_paths("", result, indexed=True)))]
    named = [(_name(event, data), data) for event, data in result]
    ordered: list[tuple[str, Any]] = []
    for at_once, group in groupby(named, key=lambda event: event[0] in _AT_ONCE):
        ordered += sorted(group, key=lambda event: event[0] if at_once else "")
    return [
        (name, {path for _, data in group for path in _paths("", data)})
        for name, group in groupby(ordered, key=lambda event: event[0])
    ]


def _is_stream(result: Any) -> bool:
    if not isinstance(result, list) or not result:
        return result == []
    return all(isinstance(part, list) and len(cast("list[Any]", part)) == 2 for part in cast("list[Any]", result))


def _name(event: str, data: Any) -> str:
    if event == "custom":
        return f"custom:{data['event']}"
    return f"updates:{next(iter(data))}" if event == "updates" else event


def _paths(path: str, value: Any, *, indexed: bool = False) -> Iterator[str]:
    """Yield each place in a value with the shape of what is there."""
    yield path or "."
    if isinstance(value, dict) and value:
        for key, item in cast("dict[str, Any]", value).items():
            yield from _paths(f"{path}.{key}", item, indexed=key == "messages")
    elif isinstance(value, list) and value:
        for index, item in enumerate(cast("list[Any]", value)):
            yield from _paths(f"{path}[{index if indexed else ''}]", item)
    else:
        yield f"{path} = {_shape(path.rpartition('.')[2], value)}"


def _shape(key: str, value: Any) -> str:
    if isinstance(value, str):
        return value if key in _SAID or (value.startswith("<") and value.endswith(">")) else "text"
    if isinstance(value, bool) or value is None or not isinstance(value, int | float):
        return repr(value)
    return type(value).__name__ if key != "status" else repr(value)
