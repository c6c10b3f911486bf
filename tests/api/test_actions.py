"""Actions over HTTP: proposed, confirmed or declined, and done once."""

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

import graph.actions.calling
import graph.actions.confirming
from api.auth import digest, new_key
from conftest import Serve
from graph.actions.records import record_key
from graph.actions.standing import action_key
from graph.runs.memory import thread_id
from graph.state import Action
from harness.acting import BOOK_CALL, BOOKING, EMAIL, SEND_EMAIL, Effects, acting, proposed
from harness.conversations import several

YES, NO = {"confirm": True}, {"confirm": False}


@pytest.fixture
async def tools(monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[Effects]:
    """Tools with effects, which the service has; it looks for the actions of dead replicas all the time."""
    async with acting(5) as found:
        for name, value in (("_PAUSES", (0.05, 0.1)), ("CERTAIN", 5.0)):
            monkeypatch.setattr(graph.actions.calling, name, value)
        monkeypatch.setattr(graph.actions.confirming, "_LOOK", 0.1)
        yield found


@pytest.fixture
async def pair(tools: Effects, redis: Redis, serve: Serve) -> AsyncGenerator[list[httpx.AsyncClient]]:
    """Clients of two replicas."""
    async with several(serve, 2) as clients:
        yield clients


async def outcome(client: httpx.AsyncClient, action: Action, decision: dict[str, bool] | None = None) -> Any:
    """Return the status that a decision gets, or else the action's status; or the status code and type of a problem."""
    path = f"/actions/{action.id}"
    response = await (client.post(path, json=decision) if decision else client.get(path))
    body = response.json()
    return body["status"] if response.status_code == 200 else (response.status_code, body["type"])


async def until(client: httpx.AsyncClient, action: Action, status: str) -> None:
    async with asyncio.timeout(60):
        while await outcome(client, action) != status:
            await asyncio.sleep(0.05)


async def test_a_confirmed_action_is_done(pair: list[httpx.AsyncClient], redis: Redis, tools: Effects) -> None:
    """The tool gets the arguments that were shown, whose it is, and the action's id as its key; every replica knows."""
    one, other = pair
    action = await proposed(redis)
    before = (await other.get(f"/actions/{action.id}")).json()
    assert before == {
        "id": action.id,
        "kind": "book_call",
        "summary": "Book a call on Tuesday, 1 December 2026 at 10:00 (Europe/Berlin), about \u201cInvoices\u201d.",
        "arguments": dict(BOOKING),
        "expires_at": action.expires_at,
        "status": "proposed",
    }
    response = await one.post(f"/actions/{action.id}", json=YES)
    assert (response.status_code, response.json()) == (200, before | {"status": "done"})
    assert (await other.get(f"/actions/{action.id}")).json() == before | {"status": "done"}
    assert await outcome(other, action, YES) == "done"
    whose = {"tenant": "anonymous", "session": thread_id("anonymous", "s-1"), "customer": "c-1", "run": "7" * 36}
    assert tools.calls == [{"tool": "book_call", "arguments": dict(BOOKING), "key": action.id, **whose}]


@pytest.mark.parametrize(("tool", "arguments"), [(BOOK_CALL, BOOKING), (SEND_EMAIL, EMAIL)], ids=["booking", "e-mail"])
async def test_fifty_confirmations_at_once_do_it_once(
    pair: list[httpx.AsyncClient], redis: Redis, tools: Effects, tool: Any, arguments: Any
) -> None:
    """Over two replicas one of them does it, and everybody is told the same."""
    action = await proposed(redis, tool, arguments)
    tools.late = [0.2]
    told = await asyncio.gather(*(outcome(pair[n % 2], action, YES) for n in range(50)))
    assert told == ["done"] * 50
    assert (tools.done, len(tools.calls)) == ([action.id], 1)


async def test_a_declined_action_is_never_done(pair: list[httpx.AsyncClient], redis: Redis, tools: Effects) -> None:
    """It can be declined again, but not be confirmed; one that is done can't be declined."""
    action = await proposed(redis)
    assert await outcome(pair[0], action, NO) == "declined"
    assert await outcome(pair[1], action, NO) == await outcome(pair[1], action) == "declined"
    assert await outcome(pair[1], action, YES) == (409, "action-settled")
    assert tools.calls == []
    action = await proposed(redis)
    assert await outcome(pair[0], action, YES) == "done"
    assert await outcome(pair[1], action, NO) == (409, "action-settled")


async def test_an_action_can_be_confirmed_for_a_quarter_of_an_hour(
    pair: list[httpx.AsyncClient], redis: Redis, tools: Effects
) -> None:
    """Then it has expired, and what is said names that."""
    action = await proposed(redis)
    assert 890 < await redis.ttl(action_key(thread_id("anonymous", "s-1"))) <= 900
    record = json.loads(await redis.get(record_key(action.id)) or "")
    await redis.set(record_key(action.id), json.dumps(record | {"expires_at": 0}))
    assert await outcome(pair[0], action) == "expired"
    assert await outcome(pair[0], action, YES) == (410, "action-expired")
    await redis.delete(action_key(thread_id("anonymous", "s-1")))
    assert await outcome(pair[0], action, NO) == "expired"
    assert tools.calls == []


async def test_what_was_proposed_goes_with_its_session(
    pair: list[httpx.AsyncClient], redis: Redis, tools: Effects
) -> None:
    """In a session that is deleted nothing can be confirmed."""
    assert (await pair[0].post("/chat", json={"message": "Refund?", "session_id": "s-1"})).status_code == 200
    action = await proposed(redis)
    assert (await pair[0].delete("/sessions/s-1")).status_code == 204
    assert await outcome(pair[1], action, YES) == (409, "action-settled")
    assert tools.calls == []


async def test_an_action_belongs_to_its_tenant(serve: Serve, redis: Redis, tools: Effects) -> None:
    """To anybody else it does not exist, on any route."""
    ours, theirs = new_key(), new_key()
    keys = ",".join(f"{name}:{digest(key).hex()}" for name, key in (("ours", ours), ("theirs", theirs)))
    action = await proposed(redis, tenant="ours")
    async with serve(SUPPORT_API_KEYS=keys) as url, httpx.AsyncClient(base_url=url) as client:
        client.headers["X-API-Key"] = theirs
        for decision in (None, YES, NO):
            assert await outcome(client, action, decision) == (404, "not-found")
        client.headers["X-API-Key"] = ours
        assert await outcome(client, action, YES) == "done"
    assert [call["tenant"] for call in tools.calls] == ["ours"]


async def test_an_action_belongs_to_its_visitor(serve: Serve, redis: Redis, tools: Effects) -> None:
    """To another visitor, and to their company's key, it does not exist; no tool takes one for the other."""
    key, secret = new_key(), "s" * 32
    settings = {"SUPPORT_API_KEYS": f"ours:{digest(key).hex()}", "SUPPORT_VISITOR_SECRET": secret}
    action = await proposed(redis, tenant="ours", visitor="v-1")
    async with serve(**settings) as url, httpx.AsyncClient(base_url=url) as client:
        client.headers["Authorization"] = f"Bearer {key}"
        tokens: list[str] = []
        for name in ("v-2", "v-1"):
            tokens.append((await client.post("/visitors", json={"visitor_id": name})).json()["token"])
        for other in (key, tokens[0]):
            client.headers["Authorization"] = f"Bearer {other}"
            for decision in (None, YES, NO):
                assert await outcome(client, action, decision) == (404, "not-found")
        client.headers["Authorization"] = f"Bearer {tokens[1]}"
        assert await outcome(client, action, YES) == "done"
    assert [(call["tenant"], call["session"]) for call in tools.calls] == [("ours", thread_id("ours/v-1", "s-1"))]


async def test_an_action_goes_on_without_its_client(
    pair: list[httpx.AsyncClient], redis: Redis, tools: Effects
) -> None:
    """A client that disconnects after its confirmation changes nothing."""
    tools.late = [0.3]
    action = await proposed(redis, SEND_EMAIL, EMAIL)
    confirming = asyncio.create_task(outcome(pair[0], action, YES))
    await tools.begun.wait()
    confirming.cancel()
    await asyncio.gather(confirming, return_exceptions=True)
    await until(pair[1], action, "done")
    assert len(tools.calls) == 1


async def test_a_replica_that_ends_leaves_nothing_half_done(serve: Serve, redis: Redis, tools: Effects) -> None:
    """What its time did not suffice for is done by another replica if it may be repeated, and is unknown if not."""
    tools.late = [0.3, 0.3]
    actions = [await proposed(redis, session_id="s-1"), await proposed(redis, SEND_EMAIL, EMAIL, session_id="s-2")]
    async with serve() as url, httpx.AsyncClient(base_url=url) as client:
        confirming = [asyncio.create_task(outcome(client, action, YES)) for action in actions]
        while len(tools.calls) < 2:
            await asyncio.sleep(0.01)
    await asyncio.gather(*confirming, return_exceptions=True)
    async with serve() as url, httpx.AsyncClient(base_url=url) as client:
        await until(client, actions[0], "done")
        assert await outcome(client, actions[1]) == "unknown"
    assert sorted(tools.done) == sorted(action.id for action in actions)
