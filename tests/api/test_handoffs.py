"""Conversations that a person takes over: why, and what the customer and the team are told."""

import json
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from httpx_sse import aconnect_sse
from langchain_core.messages import HumanMessage
from redis.asyncio import Redis
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

from api.auth import ANONYMOUS
from conftest import Serve
from graph.actions.handing_over import after
from graph.actions.handoffs import Handoffs
from graph.actions.records import Record as ActionRecord
from graph.actions.standing import Standing, standing
from graph.retrieval.company import Desk
from graph.runs.colleagues import Colleagues
from graph.runs.memory import Memory
from graph.state import Action, AgentContext
from graph.unanswered import MARK
from harness.handing import SECRET, say, team
from harness.scripted_model import ScriptedModel, tokens

OPENING = """\
    opening:
      zone: Europe/Berlin
      days: { Mon-Sun: 00:00-24:00 }
      reply: 2 h
    hand_over: [press inquiry]
"""
WEBSOCKET = "WebSocket"
ROUTES = ("/chat", "/chat/stream", WEBSOCKET)


async def turn(client: httpx.AsyncClient, route: str, message: str, session: str = "s-1") -> tuple[Any, list[str]]:
    """Say something over a route; return the answer, and the names of the events."""
    body = {"message": message, "session_id": session}
    if route == "/chat":
        return await say(client, message, session), []
    if route == "/chat/stream":
        async with aconnect_sse(client, "POST", route, json=body) as source:
            events = [(event.event, event.json()) async for event in source.aiter_sse()]
    else:
        address = str(client.base_url.copy_with(scheme="ws")).rstrip("/") + f"/chat?session_id={session}"
        async with connect(address, subprotocols=[Subprotocol("support.v1")]) as socket:
            await socket.send(json.dumps({"message": message}))
            events = []
            while not events or events[-1][0] not in ("done", "error"):
                frame = json.loads(await socket.recv())
                if "status" not in frame["data"]:  # a session's event, not the run's
                    events.append((frame["event"], frame["data"]))
    return events[-1][1], [name for name, _ in events]


REASONS = (
    ("asked", ["I want to talk to a human"], 0),
    ("unanswered", ["Not in any article?", "Nor this?"], 2),
    ("legal", ["Refund me or my lawyer will write to you"], 1),
    ("safety", ["My phone caught fire while it was charging"], 1),
    ("dispute", ["I will dispute this charge with my bank"], 1),
    ("topic", ["This is a press inquiry"], 1),
)
"""Each with what is said, and how often the answer model is asked."""


@pytest.mark.parametrize("route", ROUTES)
async def test_each_reason_hands_over(
    serve: Serve, redis: Redis, model: ScriptedModel, articles: Path, route: str
) -> None:
    """Over every route the answer names the hand-over, and the customer is told what happens next, and when."""
    file = articles / "company.yaml"
    file.write_text(file.read_text().replace("    rules:", f"{OPENING}    rules:"))
    async with serve() as url, httpx.AsyncClient(base_url=url, timeout=20) as client:
        for session, (reason, messages, calls) in enumerate(REASONS):
            model.script("answer", tokens([MARK, "No."] if reason == "unanswered" else ["In 30 days."]))
            model.forget()
            before = datetime.now(UTC)
            for message in messages[:-1]:
                assert "handoff" not in (await turn(client, route, message, f"s-{session}"))[0]
            done, events = await turn(client, route, messages[-1], f"s-{session}")
            handoff = done["handoff"]
            assert (handoff["reason"], len(model.of("answer"))) == (reason, calls)
            assert "A colleague will take this over. You will hear from us here by " in done["answer"]
            assert messages[-1] in handoff["summary"]
            waited = datetime.fromisoformat(handoff["expected_reply"]) - before
            assert 7190 < waited.total_seconds() < 7230
            assert events[-2:] in ([], ["handoff", "done"])
            assert (done["tokens_used"] == 0) == (reason == "asked")
            history = (await client.get(f"/sessions/s-{session}")).json()
            assert history["expires_in"] > 86_400
            assert history["messages"][-1] == {"role": "assistant", "content": done["answer"]}
        listed = (await client.get("/handoffs")).json()["handoffs"]
    assert [each["reason"] for each in listed] == [reason for reason, *_ in REASONS]


async def test_it_lasts_until_it_is_released(serve: Serve, redis: Redis, model: ScriptedModel) -> None:
    """Messages go to the team, the customer is told so once, a person answers, and then the agent answers again."""
    async with (
        team() as receiver,
        serve(SUPPORT_HANDOFF_WEBHOOK=receiver.url, SUPPORT_HANDOFF_SECRET=SECRET) as url,
        httpx.AsyncClient(base_url=url, timeout=20) as client,
    ):
        model.forget()
        opened = (await say(client, "I need a human! My card is 4111 1111 1111 1111, mail me@customer.example"))[
            "handoff"
        ]
        assert (await say(client, "Thanks!"))["answer"].startswith("I have passed your message on")
        silent = await say(client, "Are you there?")
        assert (silent["answer"], silent["answered"], silent["tokens_used"]) == ("", True, 0)
        assert silent["handoff"] == opened
        assert model.calls == []

        path = f"/handoffs/{opened['id']}"
        sent = await client.post(f"{path}/messages", json={"message": "Anna here. I have refunded it."})
        assert (sent.status_code, sent.json()["role"]) == (201, "agent")
        seen = (await client.get(path)).json()
        assert (seen["status"], seen["messages"][-1]["role"]) == ("open", "agent")
        told = await receiver.until(3)
        assert (await client.post(f"{path}/release")).json()["status"] == "released"
        assert (await client.post(f"{path}/release")).json()["status"] == "released"
        assert (await client.post(f"{path}/messages", json={"message": "x"})).json()["type"] == "handoff-over"

        answer = await say(client, "When will I have the money?")
        assert (answer["answer"], "handoff" in answer) == ("Hello, world.", False)
        prompt = model.of("answer")[-1].prompt
        assert ("assistant", "[From a colleague of the support team:] Anna here. I have refunded it.") in prompt
        session = (await client.get("/sessions/s-1")).json()
        assert [message["role"] for message in session["messages"]] == [
            "user", "assistant", "user", "assistant", "user", "agent", "user", "assistant",
        ]  # fmt: skip
        said = {"role": "agent", "content": "Anna here. I have refunded it."}
        assert session["messages"][5] == {**said, "id": sent.json()["id"], "at": sent.json()["at"]}
        assert list(session["messages"][4]) == ["role", "content"]
        assert session["expires_in"] <= 1800
        assert (await client.get("/handoffs")).json() == {"handoffs": []}
    assert [entry["type"] for entry in told] == ["handoff.opened", "handoff.message", "handoff.message"]
    assert [entry["data"]["transcript"][0]["content"] for entry in told] == [
        "I need a human! My card is [card], mail me@customer.example",
        "Thanks!",
        "Are you there?",
    ]
    assert [line["role"] for line in told[0]["data"]["transcript"]] == ["user", "assistant"]
    assert len({headers["webhook-id"] for headers, _ in receiver.posts}) == 3


async def test_an_action_that_failed_hands_over(serve: Serve, redis: Redis, model: ScriptedModel) -> None:
    """In the turn that tried it, and outside any turn, once; the reader of the session is told."""
    async with serve() as url, httpx.AsyncClient(base_url=url, timeout=20) as client:
        done = await say(client, "Book it", "s-1")
        handoffs = Handoffs(redis, 1800, 60, is_received=False)
        colleagues = Colleagues(handoffs, Memory(redis, 1800, handoffs), lambda _: nullcontext(), 20)
        desk = Desk("billing")
        failed = Action("a-1", "book_call", "Book a call", {}, "2026-11-29T10:00:00Z", "failed")
        record = ActionRecord(
            "a-1",
            ANONYMOUS,
            "s-1",
            "t",
            done["run_id"],
            None,
            None,
            "book_call",
            "c",
            True,
            {},
            "Book a call",
            0,
            "failed",
        )
        for ended in (record, record, replace(record, id="a-2", session_id="s-2")):
            await colleagues.tell(lambda: desk, ended, is_told=False)
        await colleagues.tell(lambda: desk, replace(record, id="a-3"), is_told=True)
        (handed,) = await colleagues.lasting(None)
        async with aconnect_sse(client, "GET", "/sessions/s-1/events") as source:
            event = await anext(source.aiter_sse())
        history = (await client.get("/sessions/s-1")).json()["messages"]
        passed = await say(client, "And?", "s-1")
    assert len(history) == 3
    assert (handed.reason, event.json()["id"], passed["handoff"]["id"]) == ("action", handed.id, handed.id)
    assert handed.summary.endswith("\u201cBook a call\u201d")
    assert history[-1]["content"].startswith("This could not be done, and nothing was changed: Book a call")
    assert "\n\nA colleague will take this over." in history[-1]["content"]
    now = standing.set(Standing("s-3", "run-1", "t"))
    try:
        action = replace(failed, status="unknown")
        question = [HumanMessage("Yes")]
        told = after(question, "I can't tell.", desk, AgentContext(), is_answered=True, action=action)
        assert told
        assert (told[1].reason, told[1].summary.endswith("\u201cBook a call\u201d")) == ("action", True)
        assert told[0].startswith("A colleague")
        done_action = replace(action, status="done")
        assert after(question, "Done.", desk, AgentContext(), is_answered=True, action=done_action) is None
    finally:
        standing.reset(now)
