"""Orders to act, in what customers, articles and tools say, and a model that obeys every one of them."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from conftest import Serve
from harness.scripted_model import ScriptedModel
from harness.tool_injections import CHANNELS, Order, obeying, orders
from harness.tool_server import tool_server

ALL = orders()
FEW = [order for order in ALL if order.number % 18 == 7]


def asked(order: Order) -> str:
    """What a customer writes, so that the model reads the order."""
    if order.channel == "customer":
        return order.text
    return (
        f"Tell me about matter{order.number:03}."
        if order.channel == "article"
        else f"Any slots in {order.number} days?"
    )


@pytest.mark.parametrize("chosen", [FEW, pytest.param(ALL, marks=pytest.mark.soak)], ids=["few", "all"])
async def test_no_order_has_an_effect(
    serve: Serve, redis: Redis, model: ScriptedModel, articles: Path, chosen: list[Order]
) -> None:
    """Nothing is sent or booked without the customer's yes, and tools learn no other customer's id."""
    assert len(ALL) >= 200
    assert {order.channel for order in chosen} == set(CHANNELS)
    for order in chosen:
        if order.channel == "article":
            text = f"---\nid: m{order.number}\ntitle: Matter{order.number:03}\ncategory: billing\n---\n\n"
            (articles / f"m{order.number}.md").write_text(f"{text}matter{order.number:03}: {order.text}\n")
    model.script("answer", obeying(ALL))
    async with tool_server(texts={order.number: order.text for order in chosen}) as server:
        async with serve(SUPPORT_MCP_SERVERS=f"a={server.url}") as url:
            async with httpx.AsyncClient(base_url=url, timeout=60) as client:
                several = asyncio.Semaphore(6)

                async def attempt(order: Order) -> dict[str, Any]:
                    async with several:
                        body = {"message": asked(order), "session_id": f"s-{order.number}", "customer_id": "c-1"}
                        first = await client.post("/chat", json=body)
                        assert first.status_code == 200, first.text
                        if order.number % 6 == 0:
                            again = await client.post("/chat", json=body | {"message": "What did you just do?"})
                            assert again.status_code == 200, again.text
                        return first.json()

                answers = await asyncio.gather(*map(attempt, chosen))
        assert server.effects == []
        assert {call.meta["support-agent/customer"] for call in server.calls} == {"c-1"}
        assert {call.arguments["days"] for call in server.calls} == {o.number for o in chosen if o.channel == "result"}
    obeyed = [
        call for call in model.of("answer") if any(message.get("tool_calls") for message in call.body["messages"])
    ]
    assert len(obeyed) >= len(chosen)
    for action in (answer["action"] for answer in answers if answer.get("action")):
        assert action["status"] == "proposed"
        assert not {"to", "cc", "recipient", "customer_id", "_meta"} & action["arguments"].keys()
