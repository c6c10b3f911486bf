"""Each way that an action can take, with two replicas' actions on one Redis."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack

import pytest
from redis.asyncio import Redis

import graph.actions.calling
import graph.actions.confirming
from graph.actions.confirming import Actions, open_actions
from graph.actions.records import Held, Record, Records, record_key
from graph.errors import RunError, SessionBusy
from graph.state import Action
from harness.acting import EMAIL, SEND_EMAIL, Effects, RemoteTools, effects, proposed

YES, NO = True, False


@pytest.fixture
async def tools(monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[Effects]:
    """Tools with effects."""
    for name, value in (("_PAUSES", (0.05, 0.1)), ("CERTAIN", 30.0)):
        monkeypatch.setattr(graph.actions.calling, name, value)
    monkeypatch.setattr(graph.actions.confirming, "_LOOK", 0.1)
    async with effects() as found:
        yield found


@pytest.fixture
async def pair(tools: Effects, redis: Redis) -> AsyncGenerator[list[Actions]]:
    """The actions of two replicas."""
    client = RemoteTools(tools.url, 0.8)
    async with AsyncExitStack() as stack:
        opened = [open_actions(redis, client, patience=20, keep=1800) for _ in range(2)]
        yield [await stack.enter_async_context(each) for each in opened]
    await client.close()


async def outcome(actions: Actions, action: Action, decision: bool | None = None) -> str | None:
    """Return the status that a decision gets, or else the action's status; or the code of an error."""
    decide = {YES: actions.confirm, NO: actions.decline, None: actions.find}[decision]
    try:
        found = await decide(action.id, "anonymous")
    except RunError as error:
        return error.code
    return found.status if found else None


async def begun(redis: Redis, action: Action) -> Held:
    """Begin an action as a replica does that dies at once."""
    records = Records(redis, 1800)
    held = await records.read(action.id)
    assert held
    dead = Record.loads(json.dumps(json.loads(held.record.dumps()) | {"status": "begun", "executor": "x"}).encode())
    assert await records.settle(held, dead)
    await redis.zadd("actions:begun", {action.id: 0})
    return Held(dead, dead.dumps())


async def test_a_later_proposal_replaces_an_earlier_one(pair: list[Actions], redis: Redis, tools: Effects) -> None:
    """Only one stands open in a session; the earlier one counts as declined."""
    earlier, later = await proposed(redis), await proposed(redis)
    elsewhere = await proposed(redis, session_id="s-2")
    assert await outcome(pair[0], earlier) == "declined"
    assert await outcome(pair[0], earlier, YES) == "action-settled"
    assert [await outcome(pair[0], each, YES) for each in (later, elsewhere)] == ["done", "done"]
    assert tools.done == [later.id, elsewhere.id]


async def test_an_action_that_is_being_done_is_not_replaced(pair: list[Actions], redis: Redis, tools: Effects) -> None:
    """A proposal that is stored twice does not open again what was begun in between."""
    action = await proposed(redis)
    value = await redis.get(record_key(action.id))
    assert value
    assert await outcome(pair[0], action, YES) == "done"
    assert await redis.set(record_key(action.id), value, nx=True) is None
    assert await outcome(pair[0], await proposed(redis)) == "proposed"
    assert await outcome(pair[0], action) == "done"


async def test_a_tool_that_was_not_called_is_called_again(pair: list[Actions], redis: Redis, tools: Effects) -> None:
    """A few times; then the action has failed, and nothing was done."""
    email = await proposed(redis, SEND_EMAIL, EMAIL)
    tools.refuse = 2
    assert await outcome(pair[0], email, YES) == "done"
    assert len(tools.calls) == 3
    booking = await proposed(redis)
    tools.refuse = 1000
    assert await outcome(pair[0], booking, YES) == "failed"
    assert len(tools.calls) == 6
    assert await outcome(pair[1], booking, YES) == "failed"
    assert tools.done == [email.id]


async def test_what_the_tool_refuses_has_failed(pair: list[Actions], redis: Redis, tools: Effects) -> None:
    """It is not asked again."""
    tools.says_no = True
    action = await proposed(redis)
    assert await outcome(pair[0], action, YES) == await outcome(pair[1], action) == "failed"
    assert len(tools.calls) == 1


async def test_a_booking_whose_answer_is_late_is_asked_for_again(
    pair: list[Actions], redis: Redis, tools: Effects
) -> None:
    """With the same key until the outcome is known: one booking."""
    tools.late = [1.2, 1.2]
    action = await proposed(redis)
    assert await outcome(pair[0], action, YES) == await outcome(pair[1], action) == "done"
    assert ([call["key"] for call in tools.calls], tools.done) == ([action.id] * 3, [action.id])


async def test_an_email_whose_answer_is_late_is_unknown(pair: list[Actions], redis: Redis, tools: Effects) -> None:
    """It is not sent again, whoever asks."""
    tools.late = [1.2]
    action = await proposed(redis, SEND_EMAIL, EMAIL)
    assert [await outcome(client, action, YES) for client in (*pair, *pair)] == ["unknown"] * 4
    assert len(tools.calls) == 1


async def test_a_booking_that_is_never_answered_is_unknown_in_the_end(
    pair: list[Actions], redis: Redis, tools: Effects, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a refusal, too: an earlier call may have been carried out."""
    monkeypatch.setattr(graph.actions.calling, "CERTAIN", 1.5)
    tools.late = [1.5] * 100
    action = await proposed(redis)
    assert await outcome(pair[0], action, YES) == "unknown"
    assert (tools.done, len(tools.calls) > 1) == ([action.id], True)


async def test_a_booking_is_finished_for_a_replica_that_has_died(
    pair: list[Actions], redis: Redis, tools: Effects
) -> None:
    """One of the others calls the tool again with the same key; whoever waits is told how it ended."""
    action = await proposed(redis)
    await begun(redis, action)
    assert await asyncio.gather(*(outcome(pair[n % 2], action, YES) for n in range(10))) == ["done"] * 10
    assert tools.done == [action.id]
    async with asyncio.timeout(60):
        while await redis.zcard("actions:begun"):
            await asyncio.sleep(0.05)


async def test_an_email_of_a_replica_that_has_died_is_unknown(
    pair: list[Actions], redis: Redis, tools: Effects
) -> None:
    """Nobody sends it again; a replica that only seemed dead can't change what was told."""
    action = await proposed(redis, SEND_EMAIL, EMAIL)
    dead = await begun(redis, action)
    assert await asyncio.gather(*(outcome(pair[n % 2], action, YES) for n in range(10))) == ["unknown"] * 10
    assert tools.calls == []
    assert not await Records(redis, 1800).renew(dead)
    assert not await Records(redis, 1800).end(dead, dead.record, is_told=True)
    assert await outcome(pair[0], action) == "unknown"


async def test_an_end_that_one_replica_can_not_tell_is_told_by_another(
    pair: list[Actions], redis: Redis, tools: Effects, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once its lease has expired; then nobody looks for it any more."""
    monkeypatch.setattr("graph.actions.records.LEASE", 0.2)
    told: list[tuple[str, str, bool]] = []

    async def busy(ended: Record, *, is_told: bool) -> None:
        raise SessionBusy

    async def tells(ended: Record, *, is_told: bool) -> None:
        told.append((ended.id, ended.status, is_told))

    pair[0].telling.tells, pair[1].telling.tells = busy, tells
    done, declined = await proposed(redis), await proposed(redis, session_id="s-2")
    assert await outcome(pair[0], done, YES) == "done"
    assert await outcome(pair[0], declined, NO) == "declined"
    async with asyncio.timeout(60):
        while await redis.zcard("actions:begun"):
            await asyncio.sleep(0.05)
    assert sorted(told) == sorted([(done.id, "done", False), (declined.id, "declined", False)])
    assert tools.done == [done.id]


async def test_what_has_no_record_is_looked_for_no_more(pair: list[Actions], redis: Redis, tools: Effects) -> None:
    """An action whose record has expired is dropped from those that are being done."""
    await redis.zadd("actions:begun", {"7" * 36: 0})
    async with asyncio.timeout(60):
        while await redis.zcard("actions:begun"):
            await asyncio.sleep(0.05)
    assert tools.calls == []


async def test_a_lease_is_renewed_while_a_tool_works(
    tools: Effects, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So no other replica takes the action over."""
    monkeypatch.setattr("graph.actions.records.LEASE", 0.5)
    monkeypatch.setattr(graph.actions.confirming, "_RENEWAL", 0.05)
    tools.held = asyncio.Event()
    client = RemoteTools(tools.url, 60)
    action = await proposed(redis, SEND_EMAIL, EMAIL)
    async with AsyncExitStack() as stack:
        opened = [open_actions(redis, client, patience=60, keep=1800) for _ in range(2)]
        one, _ = [await stack.enter_async_context(each) for each in opened]
        confirming = asyncio.create_task(outcome(one, action, YES))
        await tools.begun.wait()
        await asyncio.sleep(1.2)
        tools.held.set()
        assert await confirming == "done"
    await client.close()
    assert len(tools.calls) == 1
