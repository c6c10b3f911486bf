"""From a model's tool call to its effect: proposed, confirmed, done once, on a real server."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import httpx
from redis.asyncio import Redis

from conftest import Serve
from graph.actions.dates import moment_in
from graph.runs.memory import thread_id
from harness.caldav_server import caldav_server
from harness.calling import calls, function_call
from harness.mcp_servers import TOKEN, calendar_server
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


async def test_a_customer_reads_which_call_is_moved_or_cancelled(
    serve: Serve, redis: Redis, model: ScriptedModel, tmp_path: Path
) -> None:
    """From when to when, in the customer's language; what is no call of the customer's is not proposed."""
    now = datetime.now(UTC)
    monday = (now + timedelta(days=7 - now.weekday())).date()
    slots = [
        datetime(monday.year, monday.month, monday.day, hour, tzinfo=ZoneInfo("Europe/Berlin")) for hour in (9, 11)
    ]
    zones = ("America/New_York", "Europe/Berlin")
    written = [moment_in("de", slot, zone) for slot, zone in zip(slots, zones, strict=True)]
    with caldav_server(tmp_path / "calendars") as team:
        async with calendar_server(team) as server:
            settings = {"SUPPORT_MCP_SERVERS": f"calendar={server.url}", "SUPPORT_MCP_TOKENS": f"calendar={TOKEN}"}
            async with serve(**settings) as url, httpx.AsyncClient(base_url=url, timeout=20) as client:

                async def asks(tool: str, **arguments: Any) -> dict[str, Any]:
                    model.script("answer", calls(function_call(tool, arguments)), tokens(["Soll ich?"]))
                    asked = {"message": "Was ist mit meinem Termin?", "session_id": "s-1", "customer_id": "c-1"}
                    return (await client.post("/chat", json=asked)).json()

                async def told(message: str) -> str:
                    asked = {"message": message, "session_id": "s-1", "customer_id": "c-1"}
                    return (await client.post("/chat", json=asked)).json()["answer"]

                slot, other = (each.isoformat() for each in slots)
                await asks("book_call", slot=slot, time_zone=zones[0], topic="Rechnung")
                assert await told("ok") == f"Erledigt: Ein Gespräch am {written[0]} buchen, Thema: „Rechnung“."
                (event,) = team.events().values()
                booking = str(event["X-SUPPORT-AGENT-BOOKING"])
                assert "action" not in await asks("cancel_call", booking="0" * 24)
                assert "has no call of that name" in str(model.of("answer")[-1].prompt)
                moving = (await asks("move_call", booking=booking, slot=other, time_zone=zones[1]))["action"]
                assert moving["summary"] == f"Ihr Gespräch am {written[0]} auf {written[1]} verlegen."
                moved = await client.post(f"/actions/{moving['id']}", json={"confirm": True})
                assert moved.json()["status"] == "done"
                cancelling = (await asks("cancel_call", booking=booking))["action"]
                assert cancelling["summary"] == f"Ihr Gespräch am {written[1]} absagen."
                assert await told("book it") == "Soll ich?"  # the model's answer
                assert await told("Ja, bitte") == f"Erledigt: {cancelling['summary']}"
                assert team.events() == {}
                assert "action" not in await asks("cancel_call", booking=booking)


async def test_the_history_says_what_was_decided_by_the_route(serve: Serve, redis: Redis, model: ScriptedModel) -> None:
    """In the words that a message gets, once however often it is repeated; the next prompt has them."""
    async with tool_server() as server, serve(SUPPORT_MCP_SERVERS=f"calendar={server.url}") as url:
        async with httpx.AsyncClient(base_url=url, timeout=20) as client:
            for confirm in (True, False):
                session = f"s-{confirm}"
                model.script("answer", calls(function_call("book_call", SLOT)), tokens(["Shall I?"]))
                asked = {"message": "Tuesday at 10, please.", "session_id": session}
                action = (await client.post("/chat", json=asked)).json()["action"]
                for _ in range(3):
                    assert (await client.post(f"/actions/{action['id']}", json={"confirm": confirm})).status_code == 200
                history = (await client.get(f"/sessions/{session}")).json()
                told = f"Done: {action['summary']}" if confirm else "All right, I won't do it."
                assert [each["content"] for each in history["messages"]] == [asked["message"], "Shall I?", told]
                assert history["expires_in"] >= 1799
                assert not await redis.zcard("actions:begun")
                await client.post("/chat", json={"message": "What will happen now?", "session_id": session})
                assert ("assistant", told) in model.of("answer")[-1].prompt
