"""From a model's tool call to its effect: proposed, confirmed, done once, on a real server."""

import httpx
from redis.asyncio import Redis

from conftest import Serve
from graph.runs.memory import thread_id
from harness.calling import calls, function_call
from harness.scripted_model import ScriptedModel, tokens
from harness.tool_server import tool_server

SLOT = {"slot": "2026-12-01T10:00+01:00", "time_zone": "Europe/Berlin", "topic": "Refund"}


async def test_what_a_model_proposes_is_done_when_the_customer_confirms(
    serve: Serve, redis: Redis, model: ScriptedModel
) -> None:
    """By the route, and by a message that says yes; never before, and with the customer's ids and one key."""
    async with tool_server() as server, serve(SUPPORT_MCP_SERVERS=f"calendar={server.url}") as url:
        async with httpx.AsyncClient(base_url=url, timeout=20) as client:
            for spoken in (False, True):
                server.calls.clear()
                model.script("answer", calls(function_call("book_call", SLOT)), tokens(["Shall I?"]))
                asked = {"message": "Tuesday at 10, please.", "customer_id": "c-1"}
                answer = (await client.post("/chat", json=asked)).json()
                action, session = answer["action"], answer["session_id"]
                assert (action["kind"], action["arguments"], action["status"]) == ("book_call", SLOT, "proposed")
                assert server.calls == []
                if spoken:
                    done = (await client.post("/chat", json={"message": "Yes, please", "session_id": session})).json()
                    assert done["action"]["status"] == "done"
                else:
                    done = await client.post(f"/actions/{action['id']}", json={"confirm": True})
                    assert done.json()["status"] == "done", done.text
                (call,) = server.calls
                assert call.arguments == SLOT
                assert call.meta["support-agent/session"] == thread_id("anonymous", session)
                assert call.meta["support-agent/customer"] == "c-1"
                assert call.meta["support-agent/key"]
