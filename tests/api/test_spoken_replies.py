"""A yes or a no as a message of the conversation."""

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

import httpx
import pytest
from httpx_sse import aconnect_sse
from langchain_core.messages import AIMessage
from langgraph.checkpoint.base import empty_checkpoint
from redis.asyncio import Redis
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

from conftest import Serve
from graph.actions.handoffs import Handoffs
from graph.actions.standing import Standing, Write, standing
from graph.actions.tools import Tool
from graph.runs.memory import Memory, may_store, thread_id
from harness.acting import EMAIL, SEND_EMAIL, Effects, acting, proposed
from harness.conversations import events_of
from harness.langsmith import traced
from harness.scripted_model import ScriptedModel, tokens

SUMMARY = "Book a call on Tuesday, 1 December 2026 at 10:00 (Europe/Berlin), about \u201cInvoices\u201d."


@pytest.fixture
async def tools() -> AsyncGenerator[Effects]:
    async with acting() as found:
        yield found


@pytest.fixture
async def client(tools: Effects, redis: Redis, serve: Serve, model: ScriptedModel) -> AsyncGenerator[httpx.AsyncClient]:
    async with serve() as url, httpx.AsyncClient(base_url=url, timeout=20) as http:
        model.forget()
        yield http


async def said(client: httpx.AsyncClient, message: str, session_id: str = "s-1") -> dict[str, Any]:
    response = await client.post("/chat", json={"message": message, "session_id": session_id})
    assert response.status_code == 200, response.text
    return response.json()


async def test_to_cancel_a_cancellation_is_asked_about(client: httpx.AsyncClient, redis: Redis, tools: Effects) -> None:
    """It decides nothing, and the proposal stays open for a plain yes."""
    action = await proposed(
        redis, Tool("cancel_call", "calendar", "", {"type": "object"}, False, True), {"booking": "b"}
    )
    unclear = await said(client, "Cancel it, please")
    assert unclear["answer"] == "Please answer yes or no. Shall I do this? cancel_call (booking: “b”)."
    assert (unclear["action"]["status"], tools.done) == ("proposed", [])
    assert (await said(client, "Yes, cancel it"))["action"]["status"] == "done"
    assert tools.done == [action.id]


async def test_a_yes_confirms(client: httpx.AsyncClient, redis: Redis, model: ScriptedModel, tools: Effects) -> None:
    """No model is asked; the answer says what was done, also as an event, and the history keeps it."""
    action = await proposed(redis)
    events = await events_of(client, "POST", "/chat/stream", json={"message": "Yes please!", "session_id": "s-1"})
    assert sorted(event.event for event in events[1:3]) == ["category", "sources"]
    assert [event.event for event in events[3:]] == ["token", "action", "done"]
    assert events[3].json()["text"] == f"Done: {SUMMARY}"
    done = events[5].json()
    assert events[4].json() == done["action"]
    assert (done["action"]["id"], done["action"]["status"]) == (action.id, "done")
    assert (done["answered"], done["tokens_used"], done["sources"]) == (True, 0, [])
    assert (model.calls, tools.done) == ([], [action.id])
    history = (await client.get("/sessions/s-1")).json()["messages"]
    assert [message["content"] for message in history] == ["Yes please!", f"Done: {SUMMARY}"]


async def test_a_no_declines(client: httpx.AsyncClient, redis: Redis, model: ScriptedModel, tools: Effects) -> None:
    """In the customer's language, as far as the message tells."""
    await proposed(redis)
    answer = await said(client, "Nein danke")
    assert (answer["answer"], answer["action"]["status"]) == ("In Ordnung, ich mache es nicht.", "declined")
    assert (model.calls, tools.calls) == ([], [])


@pytest.mark.parametrize("message", ["yes", "ok", "Ja, bitte", "no"])
async def test_without_a_proposal_a_yes_is_what_it_was(
    client: httpx.AsyncClient, redis: Redis, model: ScriptedModel, tools: Effects, message: str
) -> None:
    """Before one is made, after it was confirmed, and in another session."""
    plain = await said(client, message, "s-0")
    await proposed(redis)
    assert (await said(client, message, "s-2"))["answer"] == plain["answer"]
    assert "action" in await said(client, message)
    after = await said(client, message)
    assert (after["answer"], "action" in after) == (plain["answer"], False)
    assert len(tools.calls) == (message != "no")


async def test_what_names_the_kind_of_action_confirms_it(
    client: httpx.AsyncClient, redis: Redis, model: ScriptedModel, tools: Effects
) -> None:
    """Without a model, too; what names another kind is a message like any other."""
    action = await proposed(redis)
    assert (await said(client, "send it"))["answer"] == "Hello, world."
    assert (tools.calls, len(model.of("answer"))) == ([], 1)
    model.forget()
    assert (await said(client, "Book it, please"))["action"]["status"] == "done"
    assert (tools.done, model.calls) == ([action.id], [])


@pytest.mark.parametrize("message", ["Yes, but at eleven", "yes?", "What was the time again?"])
async def test_anything_else_is_answered_by_the_model(
    client: httpx.AsyncClient, redis: Redis, model: ScriptedModel, tools: Effects, message: str
) -> None:
    """The proposal stays open."""
    action = await proposed(redis)
    assert (await said(client, message))["answer"] == "Hello, world."
    assert tools.calls == []
    assert (await said(client, "yes"))["action"]["status"] == "done"
    assert tools.done == [action.id]


async def test_a_yes_that_comes_too_late_is_told_so(
    client: httpx.AsyncClient, redis: Redis, model: ScriptedModel, tools: Effects
) -> None:
    """Where the proposal is gone although the session still names it, nothing is done."""
    action = await proposed(redis)
    await redis.delete(f"action:{action.id}")
    answer = await said(client, "yes")
    assert answer["answer"].startswith("That proposal is no longer open")
    assert "action" not in answer
    assert tools.calls == []


async def test_a_yes_is_repeated_after_its_turn_has_failed(
    client: httpx.AsyncClient, redis: Redis, model: ScriptedModel, tools: Effects
) -> None:
    """The customer is told how the action has ended, and it is not done again; then a yes is what it was."""
    action = await proposed(redis)
    tools.held = asyncio.Event()
    body = {"message": "yes", "session_id": "s-1"}
    async with aconnect_sse(client, "POST", "/chat/stream", json=body) as source:
        events = source.aiter_sse()
        run = (await anext(events)).json()["run_id"]
        await tools.begun.wait()
        assert (await client.delete(f"/runs/{run}")).status_code == 202
        assert [event.event async for event in events][-1] == "error"
    tools.held.set()
    answer = await said(client, "yes")
    assert (answer["answer"], answer["action"]["status"]) == (f"Done: {SUMMARY}", "done")
    assert (tools.done, len(tools.calls)) == ([action.id], 1)
    assert "action" not in await said(client, "yes")


async def test_what_takes_long_is_told_later(
    tools: Effects, redis: Redis, serve: Serve, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """First that it is still being done, and with the next yes how it has ended."""
    monkeypatch.setattr("graph.agent._PATIENCE", 0.001)
    action = await proposed(redis)
    tools.held = asyncio.Event()
    async with serve() as url, httpx.AsyncClient(base_url=url, timeout=20) as client:
        answer = await said(client, "Yes")
        assert (answer["answer"][:26], answer["action"]["status"]) == ("This is still being done: ", "begun")
        tools.held.set()
        async with asyncio.timeout(60):
            while (await client.get(f"/actions/{action.id}")).json()["status"] == "begun":
                await asyncio.sleep(0.02)
        assert (await said(client, "ok"))["answer"] == f"Done: {SUMMARY}"
        assert (await said(client, "ok"))["answer"].startswith("Great!")


async def test_what_went_wrong_is_said(
    client: httpx.AsyncClient, redis: Redis, model: ScriptedModel, tools: Effects, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refusal, which changed nothing, and an outcome that nobody knows."""
    await proposed(redis)
    tools.says_no = True
    answer = await said(client, "yes")
    assert answer["answer"].startswith("This could not be done, and nothing was changed: Book a call")
    assert answer["action"]["status"] == "failed"
    assert answer["handoff"]["reason"] == "action"
    await proposed(redis, SEND_EMAIL, EMAIL, session_id="s-2")
    tools.says_no, tools.breaks = False, True
    answer = await said(client, "yes", session_id="s-2")
    assert answer["answer"].startswith("I can't tell whether this was done: Send an e-mail")
    assert answer["action"]["status"] == "unknown"


async def test_a_websocket_confirms_in_its_own_session(
    client: httpx.AsyncClient, redis: Redis, model: ScriptedModel, tools: Effects
) -> None:
    """Also while a turn is running; an action of another session does not exist there."""
    ours, theirs = await proposed(redis), await proposed(redis, session_id="s-2")
    address = str(client.base_url.copy_with(scheme="ws")).rstrip("/") + "/chat?session_id=s-1"
    model.script("answer", tokens(["Slow"] * 5, pause=0.3))
    async with connect(address, subprotocols=[Subprotocol("support.v1")]) as socket:

        async def answer(kind: str, action: str) -> dict[str, Any]:
            await socket.send(json.dumps({"type": kind, "action": action}))
            while (event := json.loads(await socket.recv()))["id"]:
                pass
            return event

        await socket.send(json.dumps({"message": "Why was I charged twice?"}))
        assert json.loads(await socket.recv())["event"] == "run"
        done = await answer("confirm", ours.id)
        assert (done["event"], done["data"]["id"], done["data"]["status"]) == ("action", ours.id, "done")
        for kind in ("confirm", "decline"):
            refused = await answer(kind, theirs.id)
            assert (refused["event"], refused["data"]["type"]) == ("error", "not-found")
        assert (await answer("decline", ours.id))["data"]["type"] == "action-settled"
        while json.loads(await socket.recv())["event"] != "done":
            pass
        declined = await answer("decline", (await proposed(redis)).id)
        assert declined["data"]["status"] == "declined"
    assert tools.done == [ours.id]


async def test_an_action_is_traced_without_what_is_personal(serve: Serve, redis: Redis, tools: Effects) -> None:
    """The run and its answer node show the action and its outcome, with contact details masked."""
    await proposed(redis, SEND_EMAIL, {"subject": "Refund", "body": "Write to jane.roe@example.net, please."})
    async with traced(serve) as (client, langsmith):
        await said(client, "yes please")
        (root,) = await langsmith.until(1)
    (step,) = langsmith.children(root)["answer"]
    for outputs in (root["outputs"], step["outputs"]):
        assert (outputs["action"]["kind"], outputs["action"]["status"]) == ("send_email", "done")
        assert "Refund" in outputs["action"]["summary"]
        assert "jane.roe" not in json.dumps(outputs)


@pytest.mark.parametrize("is_stored", [True, False])
async def test_a_proposal_is_stored_with_its_turn_or_not_at_all(redis: Redis, *, is_stored: bool) -> None:
    """One of a turn that was cancelled can't be confirmed; one that is there already is not written again."""
    thread = thread_id("anonymous", "s-1")
    now = Standing(
        "s-1", "7" * 36, thread, writes={"action:x": Write("new", 60, is_new=True), "session:x:action": Write("x", 60)}
    )
    standing.set(now)
    may_store.set(lambda: is_stored)
    checkpoint = empty_checkpoint()
    checkpoint["channel_values"] = {"messages": [AIMessage("Shall I?")]}
    saver = Memory(redis, 60, Handoffs(redis, 60, 60, is_received=False)).checkpointer
    await saver.aput({"configurable": {"thread_id": thread}}, checkpoint, {}, {})
    assert await redis.mget("action:x", "session:x:action") == ([b"new", b"x"] if is_stored else [None, None])
    await redis.set("action:x", "begun")
    await saver.aput({"configurable": {"thread_id": thread}}, checkpoint, {}, {})
    assert await redis.get("action:x") == b"begun"
