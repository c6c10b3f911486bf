"""Runs and threads of the LangGraph API that meet each other, wait, expire and are deleted."""

import asyncio
import uuid
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest
from langgraph_sdk.client import LangGraphClient
from langgraph_sdk.errors import PermissionDeniedError
from redis.asyncio import Redis

from conftest import Serve
from graph.events import RunStarted
from graph.runs.log import RunLog
from graph.runs.threads import READ_AGAIN, RUNS_LISTED
from harness.conversations import several
from harness.langgraph_clients import asked, sdk_clients
from harness.scripted_model import ScriptedModel, stall, tokens
from harness.visitors import KEYS, SETTINGS


@pytest.fixture
async def replicas(redis: Redis, serve: Serve, model: ScriptedModel) -> AsyncGenerator[list[httpx.AsyncClient]]:
    """Clients of two replicas."""
    async with several(serve, 2, SUPPORT_REDIS_TIMEOUT=5) as clients:
        model.forget()
        yield clients


@pytest.fixture
async def clients(replicas: list[httpx.AsyncClient]) -> AsyncGenerator[list[LangGraphClient]]:
    """SDK clients of them."""
    async with sdk_clients(replicas) as made:
        yield made


@pytest.fixture
def thread() -> str:
    return str(uuid.uuid4())


async def begun(client: LangGraphClient, thread: str, message: Any, **options: Any) -> str:
    """Start a run in the background, and return its id."""
    run = await client.runs.create(thread, "agent", input=asked(message), if_not_exists="create", **options)
    return run["run_id"]


def said(values: Any) -> list[str]:
    """Return the texts of a state's messages."""
    return [message["content"] for message in values["messages"]]


async def test_a_deleted_thread_leaves_none_of_its_runs(
    clients: list[LangGraphClient], redis: Redis, thread: str
) -> None:
    """Also runs that are too many to be listed can no longer be read, and their messages are gone."""
    runs = [await begun(clients[0], thread, f"Hello, {number}?") for number in range(RUNS_LISTED + 2)]
    await clients[0].runs.join(thread, runs[-1])
    assert len(await clients[0].runs.list(thread, limit=100)) == RUNS_LISTED
    assert (await clients[0].runs.get(thread, runs[0]))["status"] == "success"
    await clients[0].threads.delete(thread)
    assert not await redis.exists(*(f"run:{run}{kind}" for run in runs for kind in ("", ":about")))
    assert await redis.keys("thread*") == []
    assert (await clients[0].http.client.get(f"/threads/{thread}/runs/{runs[0]}/join")).status_code == 404


async def test_what_a_run_without_a_thread_said_is_kept_for_a_minute(
    clients: list[LangGraphClient], redis: Redis
) -> None:
    """Its client can read it again for so long."""
    run = await clients[0].runs.create(None, "agent", input=asked("Hello?"))
    await clients[1].runs.join(run["thread_id"], run["run_id"])
    for kind in ("", ":about"):
        assert 0 < await redis.ttl(f"run:{run['run_id']}{kind}") <= READ_AGAIN


async def test_a_thread_that_has_expired_can_be_made_again(redis: Redis, serve: Serve, thread: str) -> None:
    """The id is free at once, and nothing of the thread that had it is left."""
    async with several(serve, 1, SUPPORT_SESSION_TTL=1) as replicas, sdk_clients(replicas) as (client,):
        await client.threads.create(thread_id=thread, metadata={"of": "the first"})
        await client.runs.wait(thread, "agent", input=asked("Hello?"))
        while (await client.http.client.get(f"/threads/{thread}")).status_code != 404:
            await asyncio.sleep(0.1)
        made = await client.threads.create(thread_id=thread)
        assert set(made["metadata"] or ()) == {"graph_id", "assistant_id", "tenant", "session_id"}
        while (await client.http.client.get(f"/threads/{thread}")).status_code != 404:
            await asyncio.sleep(0.1)
        await client.runs.wait(thread, "agent", input=asked("Hello?"), if_not_exists="create")


async def test_a_thread_that_is_made_twice_at_once_is_there_once(clients: list[LangGraphClient], thread: str) -> None:
    """Every client gets it."""
    made = await asyncio.gather(
        *(clients[n % 2].threads.create(thread_id=thread, if_exists="do_nothing") for n in range(8))
    )
    assert {one["thread_id"] for one in made} == {thread}
    assert len({one["created_at"] for one in made}) == 1


async def test_a_waiting_message_with_the_id_of_another_replaces_nothing(
    clients: list[LangGraphClient], model: ScriptedModel, thread: str
) -> None:
    """It gets an id of its own, and is answered; what the session has learnt meanwhile is not there twice."""
    model.script("answer", tokens(["Yes", "."], pause=0.3))
    first = {"id": "m1", "role": "user", "content": "First question?"}
    await begun(clients[0], thread, first)
    again = await begun(clients[0], thread, {**first, "content": "Second question?"})
    whole = [first, {"id": "a1", "role": "assistant", "content": "Yes."}, "Third question?"]
    run = await clients[0].runs.create(thread, "agent", input=asked(*whole))
    await clients[0].runs.join(thread, again)
    values: Any = await clients[0].runs.join(thread, run["run_id"])
    texts = [text for text in said(values) if text != "Yes."]
    assert texts == ["First question?", "Second question?", "Third question?"]
    ids = [message["id"] for message in values["messages"]]
    assert len(set(ids)) == len(ids)
    assert values == await clients[1].runs.join(thread, run["run_id"])
    state: Any = await clients[1].threads.get_state(thread)
    assert state["values"] == values


async def test_a_cancelled_waiting_run_shows_the_conversation(
    clients: list[LangGraphClient], model: ScriptedModel, thread: str
) -> None:
    """Who reads a run that was cancelled before it began keeps the messages of its thread."""
    await clients[0].runs.wait(thread, "agent", input=asked("First?"), if_not_exists="create")
    model.script("answer", stall)
    running = await begun(clients[0], thread, "Second?")
    waiting = await begun(clients[1], thread, "Third?")
    await clients[0].runs.cancel(thread, waiting, wait=True)
    parts = [part async for part in clients[0].runs.join_stream(thread, waiting, stream_mode="values")]
    assert [said(part.data) for part in parts] == [["First?", "Hello, world.", "Third?"]]
    values: Any = await clients[0].runs.join(thread, waiting)
    assert said(values) == ["First?", "Hello, world."]
    assert (await clients[0].threads.get(thread))["status"] == "busy"
    await clients[0].runs.cancel(thread, running, wait=True)


async def test_a_run_that_is_cancelled_as_it_begins_is_cancelled(redis: Redis) -> None:
    """What another replica has asked for is not lost when the run begins."""
    log = RunLog(redis, 60)
    run = str(uuid.uuid4())
    await log.announce(run)
    await log.cancel(run)
    await log.begin(run, "owner", RunStarted(run, None))
    states = await log.heartbeat([run], [], refresh=True)
    assert states == {run: (True, False)}


async def test_of_runs_that_interrupt_each_other_the_last_is_answered(
    clients: list[LangGraphClient], model: ScriptedModel, thread: str
) -> None:
    """Several at once on two replicas cancel each other and what ran before, and one answer is stored."""
    model.script("answer", stall)
    first = await begun(clients[0], thread, "First?")
    model.script("answer", tokens(["Yes."] * 20, pause=0.1))
    several = [
        begun(clients[number % 2], thread, f"Number {number}?", multitask_strategy="interrupt") for number in range(6)
    ]
    runs = await asyncio.gather(*several)
    for run in runs:
        await clients[0].runs.join(thread, run)
    found = {run["run_id"]: run["status"] for run in await clients[1].runs.list(thread)}
    assert found[first] == "interrupted"
    assert sorted(found[run] for run in runs) == ["interrupted"] * 5 + ["success"]
    state: Any = await clients[0].threads.get_state(thread)
    assert len(state["values"]["messages"]) == 2


async def test_an_operators_run_hides_no_tenants_thread(serve: Serve, redis: Redis, thread: str) -> None:
    """A client that creates the thread if there is none gets no second one of the same id."""
    async with several(serve, 1, **SETTINGS) as replicas, AsyncExitStack() as stack:
        web, operator = [
            (await stack.enter_async_context(sdk_clients(replicas, KEYS[name])))[0] for name in ("web", "operator")
        ]
        await web.threads.create(thread_id=thread)
        with pytest.raises(PermissionDeniedError):
            await begun(operator, thread, "Hello?")
        assert (await operator.threads.get(thread))["metadata"] == (await web.threads.get(thread))["metadata"]


async def test_a_tag_that_can_not_be_stored_is_refused(clients: list[LangGraphClient], thread: str) -> None:
    """It is no valid Unicode, and the refusal names the field."""
    body = r'{"assistant_id": "agent", "input": {"messages": "Hello?"}, "config": {"tags": ["\ud800"]}}'
    refused = await clients[0].http.client.post(
        f"/threads/{thread}/runs", content=body, headers={"Content-Type": "application/json"}
    )
    assert refused.status_code == 422
    assert "config.tags" in refused.text
