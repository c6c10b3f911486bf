"""One question over every route that takes one."""

import json
from dataclasses import dataclass
from typing import Any

import httpx
from httpx_sse import aconnect_sse
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

ROUTES = ("/ask", "/stream", "/chat", "/chat/stream", "WebSocket", "WebSocket support.v1")


@dataclass
class Answered:
    """What a client of one route got."""

    text: str
    category: str | None = None
    """None where the route does not say."""
    sources: list[Any] | None = None
    answered: bool | None = None
    """None where the route does not say."""
    order: tuple[str, ...] = ()
    """The typed events, without repetitions."""


async def ask(client: httpx.AsyncClient, route: str, question: str) -> Answered:
    """Ask over a route; an error is an AssertionError."""
    if route in ("/ask", "/chat"):
        response = await client.post(route, json={"question" if route == "/ask" else "message": question})
        assert response.status_code == 200, response.text
        return _answered(response.json())
    if route == "/stream":
        async with aconnect_sse(client, "GET", route, params={"question": question}) as source:
            pieces = [event.data async for event in source.aiter_sse()]
        assert pieces[-1] == "[DONE]", pieces
        return Answered("".join(pieces[:-1]))
    if route == "/chat/stream":
        async with aconnect_sse(client, "POST", route, json={"message": question}) as source:
            return _typed([(event.event, event.json()) async for event in source.aiter_sse()])
    address = str(client.base_url.copy_with(scheme="ws")).rstrip("/") + "/chat"
    return await _over_websocket(address, question, typed="support.v1" in route)


async def _over_websocket(address: str, question: str, *, typed: bool) -> Answered:
    async with connect(address, subprotocols=[Subprotocol("support.v1")] if typed else None) as socket:
        await socket.send(json.dumps({"message": question}) if typed else question)
        if not typed:
            pieces = [str(await socket.recv())]
            while pieces[-1] != "[DONE]":
                pieces.append(str(await socket.recv()))
            return Answered("".join(pieces[:-1]))
        events: list[tuple[str, Any]] = []
        while not events or events[-1][0] not in ("done", "error"):
            event = json.loads(await socket.recv())
            events.append((event["event"], event["data"]))
        return _typed(events)


def _typed(events: list[tuple[str, Any]]) -> Answered:
    assert events[-1][0] == "done", events[-1]
    answered = _answered(events[-1][1])
    assert answered.text == "".join(data["text"] for name, data in events if name == "token")
    answered.order = tuple(dict.fromkeys(name for name, _ in events))
    return answered


def _answered(done: Any) -> Answered:
    return Answered(done["answer"], done["category"], done["sources"], done["answered"])
