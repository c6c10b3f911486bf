"""The event stream of a run: its order, how another replica resumes it, and how it is cancelled."""

import asyncio
import random
import uuid

import httpx
import pytest
from httpx_sse import ServerSentEvent, aconnect_sse
from redis.asyncio import Redis

from api.auth import ANONYMOUS
from graph.events import RunStarted
from graph.runs import log as run_log
from graph.runs import sessions, turn
from harness.conversations import events_of, plainly
from harness.scripted_model import ScriptedModel, stall, tokens


async def test_typed_events_come_in_their_order(replicas: list[httpx.AsyncClient], model: ScriptedModel) -> None:
    """A stream is run, category and sources, tokens, done, with counting ids; its end equals POST /chat."""
    model.script("answer", tokens(["a\r\n", "[DONE]", "\u2028", "🙂"]))
    events = await events_of(replicas[0], "POST", "/chat/stream", json={"message": "Hello?"})
    names = [event.event for event in events]
    assert names[0] == "run"
    assert sorted(names[1:3]) == ["category", "sources"]
    assert names[3:] == ["token"] * 4 + ["done"]
    run = events[0].json()
    assert [event.id for event in events] == [f"{run['run_id']}:{n}" for n in range(1, len(events) + 1)]
    assert [event.json()["text"] for event in events[3:-1]] == ["a\r\n", "[DONE]", "\u2028", "🙂"]
    done = events[-1].json()
    assert done["answer"] == "a\r\n[DONE]\u2028🙂"
    assert (done["run_id"], done["session_id"], done["messages_in_history"]) == (run["run_id"], run["session_id"], 2)
    assert len(done["session_id"]) == 32
    again = await events_of(replicas[1], "GET", f"/runs/{run['run_id']}/stream")
    assert plainly(again) == plainly(events)


@pytest.mark.parametrize("count", [20, pytest.param(100, marks=pytest.mark.soak)])
async def test_cut_streams_are_resumed_on_the_other_replica(
    replicas: list[httpx.AsyncClient], model: ScriptedModel, count: int
) -> None:
    """Streams cut at random points and resumed elsewhere equal an uncut one."""
    model.script("answer", tokens([f"{number} " for number in range(20)], pause=0.02))
    chance = random.Random(7)  # noqa: S311 - where a test cuts need not be secret

    async def cut_and_resume(number: int) -> bool:
        request = {"json": {"message": f"Question {number}?"}}
        seen: list[ServerSentEvent] = []
        stop = chance.randrange(1, 25)
        async with aconnect_sse(replicas[number % 2], "POST", "/chat/stream", **request) as source:
            async for event in source.aiter_sse():
                seen.append(event)
                if len(seen) == stop:
                    break
        run_id = seen[0].json()["run_id"]
        headers = {"Last-Event-ID": seen[-1].id}
        path = f"/runs/{run_id}/stream"
        if seen[-1].event != "done":
            seen += await events_of(replicas[1 - number % 2], "GET", path, headers=headers)
        uncut = await events_of(replicas[number % 2], "GET", path)
        return plainly(seen) == plainly(uncut) and seen[-1].event == "done"

    several_at_once = asyncio.Semaphore(10)

    async def one(number: int) -> bool:
        async with several_at_once:
            return await cut_and_resume(number)

    assert await asyncio.gather(*(one(number) for number in range(count))) == [True] * count


async def test_a_run_is_cancelled_from_any_replica(replicas: list[httpx.AsyncClient], model: ScriptedModel) -> None:
    """DELETE ends a run on any replica; readers get one error, and the session forgets the message."""
    for canceller in (0, 1):
        model.script("answer", tokens(["Hello"], then=stall))
        events: list[ServerSentEvent] = []
        request = {"json": {"message": "Hello?", "session_id": "s-1"}}
        async with aconnect_sse(replicas[0], "POST", "/chat/stream", **request) as source:
            async for event in source.aiter_sse():
                events.append(event)
                if event.event == "token":
                    path = f"/runs/{events[0].json()['run_id']}"
                    assert (await replicas[canceller].delete(path)).status_code == 202
        assert [event.event for event in events[-2:]] == ["token", "error"]
        assert events[-1].json()["type"] == "cancelled"
        assert (await replicas[1].get("/sessions/s-1")).status_code == 404
    unknown = f"/runs/{uuid.uuid4()}"
    assert (await replicas[0].delete(unknown)).status_code == 404
    assert (await replicas[0].get(f"{unknown}/stream")).status_code == 404


@pytest.mark.parametrize("last", ["7", "other:7", "{run}:x", "{run}:-1", "{run}:9999999999"])
async def test_a_foreign_last_event_id_is_refused(neighbours: list[httpx.AsyncClient], last: str) -> None:
    """A Last-Event-ID of another run, or an invalid one, is refused."""
    run_id = (await neighbours[0].post("/chat", json={"message": "Hello?"})).json()["run_id"]
    headers = {"Last-Event-ID": last.format(run=run_id)}
    response = await neighbours[0].get(f"/runs/{run_id}/stream", headers=headers)
    assert response.status_code in (404, 422)
    assert "last-event-id" in response.json()["detail"].lower()
    assert (
        await neighbours[0].post("/chat", json={"message": "x"}, headers={"Idempotency-Key": "k" * 256})
    ).status_code == 422


async def test_a_stream_read_to_its_end_is_not_resumed(replicas: list[httpx.AsyncClient]) -> None:
    """Resuming after the last event gives 204, after an unknown one 404, on every replica."""
    events = await events_of(replicas[0], "POST", "/chat/stream", json={"message": "Hello?"})
    run, _, last = events[-1].id.partition(":")
    for client in replicas:
        answer = await client.get(f"/runs/{run}/stream", headers={"Last-Event-ID": f"{run}:{last}"})
        assert (answer.status_code, answer.content) == (204, b"")
        beyond = {"Last-Event-ID": f"{run}:{int(last) + 1}"}
        answer = await client.get(f"/runs/{run}/stream", headers=beyond)
        assert (answer.status_code, answer.json()["type"]) == (404, "no-such-event")
        assert plainly(await events_of(client, "GET", f"/runs/{run}/stream")) == plainly(events)


async def test_an_event_that_a_running_turn_has_not_sent_can_not_be_resumed_after(
    neighbours: list[httpx.AsyncClient], model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Resuming after an event that does not exist fails on every replica rather than wait for ever."""
    monkeypatch.setattr(run_log, "ALIVE", 1)
    monkeypatch.setattr(sessions, "_REFRESH", 0.2)
    model.script("answer", tokens(["Hello"], then=stall))
    async with aconnect_sse(neighbours[0], "POST", "/chat/stream", json={"message": "Hello?"}) as source:
        run = (await anext(source.aiter_sse())).id.partition(":")[0]
        for client in neighbours:
            answer = await client.get(f"/runs/{run}/stream", headers={"Last-Event-ID": f"{run}:99"})
            assert (answer.status_code, answer.json()["type"]) == (404, "no-such-event")


async def test_an_event_that_the_log_has_yet_to_get_can_be_resumed_after(
    neighbours: list[httpx.AsyncClient], model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another replica waits until the log has the client's last event, and continues there."""
    monkeypatch.setattr(turn, "_BATCH", 0.5)
    model.script("answer", tokens(["Hello", " you"], pause=1))
    async with aconnect_sse(neighbours[0], "POST", "/chat/stream", json={"message": "Hello?"}) as source:
        stream = source.aiter_sse()
        seen = [await anext(stream) for _ in range(4)]
        path = f"/runs/{seen[0].json()['run_id']}/stream"
        rest = await events_of(neighbours[1], "GET", path, headers={"Last-Event-ID": seen[-1].id})
    assert [event.event for event in rest] == ["token", "done"]


async def test_who_saw_more_than_a_dead_replica_has_logged_is_told_of_its_end(
    redis: Redis, neighbours: list[httpx.AsyncClient]
) -> None:
    """Readers of a dead replica's run get one `error` and nothing after it, whatever they saw last."""
    run = str(uuid.uuid4())
    log = run_log.RunLog(redis, 60)
    await log.begin(run, ANONYMOUS, RunStarted(run, "s-1"))
    await redis.pexpire(f"run:{run}:alive", 300)  # as if the replica had died some seconds ago
    ends: list[tuple[str, str]] = []
    for client, last in ((neighbours[0], 7), (neighbours[1], 9), (neighbours[1], 1)):
        answer = await events_of(client, "GET", f"/runs/{run}/stream", headers={"Last-Event-ID": f"{run}:{last}"})
        ends += [(event.id, event.json()["type"]) for event in answer]
    assert ends == [(f"{run}:8", "interrupted")] * 3
    for client in neighbours:
        answer = await client.get(f"/runs/{run}/stream", headers={"Last-Event-ID": f"{run}:8"})
        assert (answer.status_code, answer.content) == (204, b"")
