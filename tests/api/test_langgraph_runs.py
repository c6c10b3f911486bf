"""Runs of the LangGraph API, through LangGraph's own SDK: how they stream, resume, wait, are cancelled and fail."""

import asyncio
import json
import random
import uuid
from collections.abc import AsyncGenerator
from typing import Any, cast

import httpx
import pytest
from langchain_core.messages import HumanMessage
from langgraph_sdk.client import LangGraphClient
from langgraph_sdk.errors import ConflictError, NotFoundError, UnprocessableEntityError
from langgraph_sdk.schema import StreamPart
from redis.asyncio import Redis

from api.auth import ANONYMOUS
from conftest import Serve
from graph.events import RunStarted
from graph.message_ids import answer_id, question_id
from graph.runs import log as run_log
from graph.runs import sessions
from graph.runs.records import RunRecord, as_json
from graph.runs.threads import Threads
from graph.state import AgentContext
from harness.conversations import several
from harness.langgraph_clients import EVERY_MODE, asked, named, plain, sdk_clients
from harness.scripted_model import ScriptedModel, stall, status, tokens, until


@pytest.fixture
async def neighbours(redis: Redis, serve: Serve, model: ScriptedModel) -> AsyncGenerator[list[httpx.AsyncClient]]:
    """Clients of two replicas, on which a slow machine is no outage."""
    async with several(serve, 2, SUPPORT_REDIS_TIMEOUT=5) as replicas:
        model.forget()
        yield replicas


@pytest.fixture
async def clients(neighbours: list[httpx.AsyncClient]) -> AsyncGenerator[list[LangGraphClient]]:
    """SDK clients of them."""
    async with sdk_clients(neighbours) as made:
        yield made


async def begun(client: LangGraphClient, thread: str, message: str = "Hello?", **options: Any) -> str:
    """Start a run in the background, and return its id."""
    run = await client.runs.create(thread, "agent", input=asked(message), if_not_exists="create", **options)
    return run["run_id"]


def said(values: Any) -> list[str]:
    """Return the texts of a state's messages."""
    return [message["content"] for message in values["messages"]]


async def keys(redis: Redis) -> list[str]:
    """Return the keys of what is stored."""
    return [key.decode() for key in cast("list[bytes]", await redis.keys("*"))]


async def status_of(client: LangGraphClient, thread: str, run: str, *, but: str = "") -> str:
    """Return a run's status once it is another one than `but`."""
    async with asyncio.timeout(15):
        while (found := (await client.runs.get(thread, run))["status"]) == but:
            await asyncio.sleep(0.05)
    return found


@pytest.fixture
def thread() -> str:
    return str(uuid.uuid4())


async def test_a_run_streams_in_every_mode_with_one_id_a_message(
    clients: list[LangGraphClient], model: ScriptedModel, thread: str
) -> None:
    """Each mode has its events in LangGraph's order, and every form of the answer has the stored answer's id."""
    model.script("answer", tokens(["In ", "30 days."]))
    stream = clients[0].runs.stream(
        thread, "agent", input=asked("Refund?"), stream_mode=EVERY_MODE, if_not_exists="create"
    )
    parts = [part async for part in stream]
    by_name = {name: [part.data for part in parts if part.event == name] for name in named(parts)}
    run = by_name["metadata"][0]["run_id"]
    assert named(parts)[:2] == ["metadata", "values"]
    assert named(parts)[-2:] == ["updates", "values"]
    assert "answer" in by_name["updates"][-1]
    assert {node for data in by_name["updates"][:2] for node in data} == {"classify", "retrieve"}
    assert [data["event"] for data in by_name["custom"]][2:] == ["token", "token"]
    assert [chunk["content"] for chunk, _ in by_name["messages"]] == ["In ", "30 days."]
    stream = clients[1].runs.join_stream(thread, run, stream_mode="messages")
    parts = [part async for part in stream]
    by_name |= {name: [part.data for part in parts if part.event == name] for name in named(parts)}
    assert [data[0]["content"] for data in by_name["messages/partial"]] == ["In ", "In 30 days."]
    assert len(by_name["messages/metadata"]) == 1
    answer = by_name["values"][-1]["messages"][-1]
    ids = {chunk["id"] for chunk, _ in by_name["messages"]} | {data[0]["id"] for data in by_name["messages/partial"]}
    assert ids == {answer["id"]} == {answer_id(run)}
    assert set(by_name["messages/metadata"][0]) == ids
    joined: Any = await clients[1].runs.join(thread, run)
    assert joined == by_name["values"][-1]
    assert [message["id"] for message in joined["messages"]] == [question_id(run), answer_id(run)]
    again: Any = await clients[1].runs.wait(thread, "agent", input=asked("And then?"))
    assert again["messages"][:2] == joined["messages"]


async def test_a_stream_has_only_the_modes_that_were_asked_for(clients: list[LangGraphClient], thread: str) -> None:
    """`values` is the default; a join has the run's modes unless it names others."""
    run = await begun(clients[0], thread)
    parts = [part async for part in clients[1].runs.join_stream(thread, run)]
    assert named(parts) == ["metadata", "values", "values", "values"]
    updates = [part async for part in clients[1].runs.join_stream(thread, run, stream_mode="updates")]
    assert named(updates) == ["updates"] * 3
    response = await clients[1].http.client.get(
        f"/threads/{thread}/runs/{run}/stream", params={"stream_mode": '["updates", "custom"]'}
    )
    assert response.text.count("event: updates") == 3
    assert "event: values" not in response.text


@pytest.mark.parametrize("count", [12, pytest.param(100, marks=pytest.mark.soak)])
async def test_cut_streams_are_resumed_on_the_other_replica_without_holes(
    clients: list[LangGraphClient], model: ScriptedModel, count: int
) -> None:
    """Streams that are cut at random points and resumed elsewhere equal an uncut one."""
    model.script("answer", tokens([f"{number} " for number in range(10)], pause=0.02))
    chance = random.Random(7)  # noqa: S311 - where a test cuts need not be secret

    async def cut_and_resume(number: int) -> None:
        mine, other = clients[number % 2], clients[1 - number % 2]
        name, stop = str(uuid.uuid4()), chance.randrange(1, 40)
        seen: list[StreamPart] = []
        stream = mine.runs.stream(
            name, "agent", input=asked(f"Question {number}?"), stream_mode=EVERY_MODE, if_not_exists="create"
        )
        async for part in stream:
            seen.append(part)
            if len(seen) == stop:
                break
        await stream.aclose()  # pyright: ignore[reportAttributeAccessIssue] - an async generator
        run, last = seen[0].data["run_id"], seen[-1].id
        rest = other.runs.join_stream(name, run, last_event_id=last, stream_mode=EVERY_MODE)
        seen += [part async for part in rest]
        uncut = [part async for part in mine.runs.join_stream(name, run)]
        assert plain(seen) == plain(uncut)

    await asyncio.gather(*(cut_and_resume(number) for number in range(count)))


async def test_runs_of_one_thread_wait_for_each_other_are_rejected_or_interrupt(
    clients: list[LangGraphClient], model: ScriptedModel, thread: str
) -> None:
    """`enqueue`, the default, runs in order of arrival; `reject` is a 409; `interrupt` cancels what runs and waits."""
    go_on = asyncio.Event()
    model.script("answer", tokens([], then=until(go_on, "One")))
    first = await begun(clients[0], thread, "First?")
    second = await begun(clients[0], thread, "Second?")
    third = await begun(clients[0], thread, "Third?")
    assert await status_of(clients[1], thread, second) == "pending"
    assert await status_of(clients[1], thread, first, but="pending") == "running"
    with pytest.raises(ConflictError):
        await clients[1].runs.create(thread, "agent", input=asked("Me?"), multitask_strategy="reject")
    waiting = asyncio.create_task(clients[1].runs.join(thread, third))
    go_on.set()
    assert said(await waiting)[::2] == ["First?", "Second?", "Third?"]
    model.script("answer", tokens(["Two"], then=stall))
    fourth = await begun(clients[0], thread, "Fourth?")
    fifth = await begun(clients[0], thread, "Fifth?")
    assert await status_of(clients[1], thread, fourth, but="pending") == "running"
    model.script("answer", tokens(["Three"]))
    values = await clients[1].runs.wait(thread, "agent", input=asked("Sixth?"), multitask_strategy="interrupt")
    assert said(values)[6:] == ["Sixth?", "Three"]
    assert [await status_of(clients[1], thread, run) for run in (fourth, fifth)] == ["interrupted"] * 2
    listed = await clients[0].runs.list(thread, status="interrupted", select=["run_id", "status"])
    assert listed == [{"run_id": run, "status": "interrupted"} for run in (fifth, fourth)]


@pytest.mark.parametrize("canceller", [0, 1])
async def test_a_waiting_run_is_followed_and_cancelled_from_any_replica(
    clients: list[LangGraphClient], model: ScriptedModel, thread: str, canceller: int
) -> None:
    """Who joins a run before it begins is told of its end, also where that is a cancellation."""
    model.script("answer", tokens(["Hello"], then=stall))
    first = await begun(clients[0], thread)
    second = await begun(clients[0], thread, "And?")

    async def read(client: LangGraphClient) -> list[StreamPart]:
        return [part async for part in client.runs.join_stream(thread, second)]

    reading = [asyncio.create_task(read(client)) for client in clients]
    await clients[canceller].runs.cancel(thread, second, wait=True)
    streams = [named(await stream) for stream in reading]
    assert streams == [["metadata", "values"]] * 2
    assert await status_of(clients[canceller], thread, second) == "interrupted"
    assert await status_of(clients[canceller], thread, first) == "running"
    await clients[canceller].runs.cancel(thread, first, wait=True)


async def test_a_cancelled_run_leaves_no_trace(
    clients: list[LangGraphClient], neighbours: list[httpx.AsyncClient], model: ScriptedModel, thread: str
) -> None:
    """Its stream just ends, its thread is idle without its message, and it can't be cancelled twice."""
    model.script("answer", tokens(["Hello"], then=stall))
    seen: list[StreamPart] = []
    stream = clients[0].runs.stream(
        thread, "agent", input=asked("Hello?"), stream_mode=["custom"], if_not_exists="create"
    )
    async for part in stream:
        seen.append(part)
        if part.event == "custom" and part.data["event"] == "token":
            await clients[1].runs.cancel(thread, seen[0].data["run_id"])
    assert named(seen) == ["metadata", "custom", "custom", "custom"]
    run = seen[0].data["run_id"]
    assert await status_of(clients[1], thread, run) == "interrupted"
    assert await clients[1].runs.join(thread, run) == {"messages": []}
    assert (await neighbours[0].get(f"/sessions/{thread}")).status_code == 404
    with pytest.raises(NotFoundError):
        await clients[1].runs.cancel(thread, run)
    with pytest.raises(UnprocessableEntityError, match="interrupt"):
        await clients[1].runs.cancel(thread, run, action="rollback")


async def test_a_failed_run_says_so_once(clients: list[LangGraphClient], model: ScriptedModel, thread: str) -> None:
    """A stream ends with one `error`, a result is `__error__`, and nothing of the failure's text is told."""
    model.script("answer", status(500))
    stream = clients[0].runs.stream(thread, "agent", input=asked("Hello?"), if_not_exists="create")
    parts = [part async for part in stream]
    assert named(parts)[-1:] == ["error"]
    assert named(parts).count("error") == 1
    assert parts[-1].data["error"] == "model-unavailable"
    run = parts[0].data["run_id"]
    assert plain([part async for part in clients[1].runs.join_stream(thread, run)]) == plain(parts)
    assert await status_of(clients[1], thread, run) == "error"
    joined: Any = await clients[1].runs.join(thread, run)
    waited: Any = await clients[1].runs.wait(thread, "agent", input=asked("Hello?"), raise_error=False)
    for result in (joined, waited):
        assert result["__error__"]["error"] == "model-unavailable"
        assert "secret" not in str(result)


async def test_a_run_goes_on_without_readers_unless_it_is_to_be_cancelled(
    clients: list[LangGraphClient], model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`continue`, the default, outlives its readers; `cancel` ends the run when its client leaves."""
    monkeypatch.setattr(sessions, "UNREAD", 0.3)
    model.script("answer", tokens([f"{number} " for number in range(20)], pause=0.1))
    ends: list[tuple[str, str]] = []
    choices: list[Any] = ["continue", "cancel", None]
    for choice in choices:
        name = str(uuid.uuid4())
        stream = clients[0].runs.stream(
            name, "agent", input=asked("Hello?"), if_not_exists="create", on_disconnect=choice
        )
        run = (await anext(stream)).data["run_id"]
        await stream.aclose()  # pyright: ignore[reportAttributeAccessIssue] - an async generator
        ends.append((name, run))
    found = [await clients[1].runs.join(name, run) and await status_of(clients[1], name, run) for name, run in ends]
    assert found == ["success", "interrupted", "success"]


async def test_a_result_that_nobody_waits_for_can_end_its_run(
    clients: list[LangGraphClient], model: ScriptedModel, thread: str
) -> None:
    """A client that leaves while it waits cancels the run, if it has asked for that."""
    model.script("answer", tokens(["Hello"], then=stall))
    body = {"assistant_id": "agent", "input": asked(TEXT), "if_not_exists": "create", "on_disconnect": "cancel"}
    async with clients[0].http.client.stream("POST", f"/threads/{thread}/runs/wait", json=body) as response:
        run = response.headers["Content-Location"].rpartition("/")[2]
    assert await status_of(clients[1], thread, run, but="running") == "interrupted"


async def test_a_join_can_cancel_the_run_that_it_leaves(
    clients: list[LangGraphClient], model: ScriptedModel, thread: str
) -> None:
    """With `cancel_on_disconnect` a run is cancelled when that reader leaves, on any replica."""
    for client in clients:
        model.script("answer", tokens(["Hello"], then=stall))
        run = await begun(clients[0], thread)
        stream = client.runs.join_stream(thread, run, cancel_on_disconnect=True)
        await anext(stream)
        await stream.aclose()  # pyright: ignore[reportAttributeAccessIssue] - an async generator
        assert await status_of(clients[0], thread, run, but="running") == "interrupted"


JSON = {"Content-Type": "application/json"}
TEXT = "Why was I charged twice?"


FORMS: list[Any] = [
    TEXT,
    [TEXT],
    {"type": "human", "content": TEXT},
    [{"role": "user", "content": TEXT, "id": "m-1"}],
    [{"role": "human", "content": [{"type": "text", "text": TEXT}]}],
    [["user", TEXT]],
    [{"type": "human", "content": TEXT, "additional_kwargs": {"handoff": "h-1"}, "response_metadata": {}}],
]


async def test_a_message_may_come_in_any_of_langchains_forms(
    clients: list[LangGraphClient], model: ScriptedModel
) -> None:
    """The customer's message is the text, and its id the client's, if it has one."""
    for messages in FORMS:
        values: Any = await clients[0].runs.wait(None, "agent", input={"messages": messages, "other": 1})
        question = values["messages"][0]
        assert (question["content"], question["additional_kwargs"]) == (TEXT, {}), messages
        assert (question["id"] == "m-1") == ("m-1" in str(messages))
        assert model.of("answer")[-1].prompt[1] == ("user", TEXT)


USER = {"role": "user", "content": TEXT}


REFUSED_INPUT: list[tuple[Any, str]] = [
    ({"messages": [{"role": "assistant", "content": "\ud800"}, {"role": "user", "content": "Hello?"}]}, "content"),
    ({"messages": [{"role": "user", "content": "\ud800"}]}, "content"),
    ({"messages": [{"role": "user", "content": "Hello?", "id": "\ud800"}]}, "id"),
    (None, "input"),
    ({}, "input"),
    ({"messages": []}, "input"),
    ({"messages": [USER, {"role": "assistant", "content": "Hello"}]}, "messages"),
    ({"messages": [{"role": "system", "content": "Obey"}, USER]}, "messages.0"),
    ({"messages": [{"role": "tool", "content": "x", "tool_call_id": "1"}, USER]}, "messages.0"),
    ({"messages": [{"role": "nobody", "content": "x"}]}, "messages.0"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}, "content"),
    ({"messages": [{"role": "user", "content": " "}]}, "content"),
    ({"messages": [{"role": "user", "content": "x" * 4001}]}, "4000 characters"),
    ({"messages": [7]}, "messages.0"),
    ({"messages": [{**USER, "id": "a"}, {**USER, "id": "a"}]}, "same id"),
    ({"messages": [{**USER, "id": "x" * 200}]}, "id"),
    ({"messages": [{"role": "remove", "id": "a", "content": ""}, USER]}, "messages.0"),
]


async def test_input_that_the_graph_can_not_take_is_refused_by_name(clients: list[LangGraphClient]) -> None:
    """A 422 says what of the input was wrong."""
    for given, name in REFUSED_INPUT:
        body = json.dumps({"assistant_id": "agent", "input": given})
        response = await clients[0].http.client.post("/runs/wait", content=body, headers=JSON)
        assert response.status_code == 422, given
        assert name in response.json()["detail"]


DEEP = json.loads('{"a":' * 260 + "1" + "}" * 260)

REFUSED_PARAMETERS: list[tuple[str, Any]] = [
    ("metadata", DEEP),
    ("metadata", {"a": "\ud800"}),
    ("config", {"configurable": {"a": "\ud800"}}),
    ("config", {"metadata": DEEP}),
    ("assistant_id", "other"),
    ("command", {"resume": 1}),
    ("interrupt_before", ["answer"]),
    ("interrupt_after", "*"),
    ("webhook", "https://example.com/hook"),
    ("feedback_keys", ["score"]),
    ("after_seconds", 5),
    ("langsmith_tracer", {"project_name": "x"}),
    ("stream_mode", ["values", "events"]),
    ("stream_mode", "debug"),
    ("stream_mode", []),
    ("multitask_strategy", "rollback"),
    ("on_disconnect", "wait"),
    ("on_completion", "delete"),
    ("if_not_exists", "maybe"),
    ("checkpoint_id", "1f0-unknown"),
    ("checkpoint", {"checkpoint_id": "1f0-unknown"}),
    ("checkpoint", {"checkpoint_ns": "answer:1"}),
    ("context", {"tenant": "other"}),
    ("context", {"model": "other"}),
    ("context", {"customer_id": "a b"}),
    ("config", {"configurable": {"tenant": "other"}}),
    ("config", {"configurable": {"customer_id": "a b"}}),
    ("config", {"recursion_limit": 1}),
    ("config", {"run_name": "x"}),
    ("unheard_of", 1),
]


async def test_a_parameter_that_can_not_be_honoured_is_refused_by_name(
    clients: list[LangGraphClient], thread: str
) -> None:
    """A 422 names the parameter; nothing is silently ignored."""
    for field, value in REFUSED_PARAMETERS:
        body = {"assistant_id": "agent", "input": asked(TEXT), "if_not_exists": "create", field: value}
        path = f"/threads/{thread}/runs/wait"
        response = await clients[0].http.client.post(path, content=json.dumps(body), headers=JSON)
        assert response.status_code == 422, field
        assert field in response.json()["detail"]


async def test_parameters_that_change_nothing_are_taken(clients: list[LangGraphClient], thread: str) -> None:
    """What clients send by default, and what this graph has no use for, does not stop a run."""
    body = {
        "assistant_id": "fe096781-5601-53d2-b2f6-0d3403f7e9ca",
        "input": asked(TEXT),
        "if_not_exists": "create",
        "stream_subgraphs": True,
        "stream_resumable": True,
        "durability": "async",
        "checkpoint_during": False,
        "strict_resume": False,
        "command": None,
        "interrupt_before": [],
        "checkpoint": {"thread_id": thread, "checkpoint_ns": "", "checkpoint_id": None, "checkpoint_map": {}},
        "config": {"tags": ["a"], "recursion_limit": 25, "configurable": {"other": 1}, "metadata": {"step": 1}},
        "context": {"customer_id": "c-1"},
        "metadata": {"from": "test"},
    }
    response = await clients[0].http.client.post(f"/threads/{thread}/runs/wait", json=body)
    assert "__error__" not in response.json()
    (run,) = await clients[0].runs.list(thread)
    assert run["metadata"] is not None
    assert (run["metadata"]["from"], run["metadata"]["step"]) == ("test", 1)


async def test_a_client_may_send_the_whole_conversation_each_time(
    clients: list[LangGraphClient], model: ScriptedModel, thread: str
) -> None:
    """Messages that a thread has are known by their ids; without a thread all of them are what the model gets."""
    values: Any = await clients[0].runs.wait(thread, "agent", input=asked("First?"), if_not_exists="create")
    second: Any = await clients[1].runs.wait(thread, "agent", input=asked(*values["messages"], "Second?"))
    assert said(second)[::2] == ["First?", "Second?"]
    assert second["messages"][:2] == values["messages"]
    with pytest.raises(Exception, match="422"):
        await clients[0].runs.wait(thread, "agent", input=asked(*second["messages"][:3]))
    alone: Any = await clients[0].runs.wait(None, "agent", input=asked(*second["messages"], "Third?"))
    assert alone["messages"][:4] == second["messages"]
    assert [text for role, text in model.of("answer")[-1].prompt if role == "user"] == ["First?", "Second?", "Third?"]


async def test_a_run_without_a_thread_leaves_no_conversation(clients: list[LangGraphClient], redis: Redis) -> None:
    """It is deleted at its end, but `keep` makes it a thread."""
    alone: Any = await clients[0].runs.wait(None, "agent", input=asked("Hello?"))
    assert len(alone["messages"]) == 2
    assert [key for key in await keys(redis) if key.startswith(("turn:", "thread"))] == []
    kept = await clients[0].runs.create(None, "agent", input=asked("Hello?"), on_completion="keep")
    joined: Any = await clients[1].runs.join(kept["thread_id"], kept["run_id"])
    more: Any = await clients[1].runs.wait(kept["thread_id"], "agent", input=asked("And?"))
    assert more["messages"][:2] == joined["messages"]


async def test_a_turn_of_another_route_can_be_read_as_a_run(
    clients: list[LangGraphClient], neighbours: list[httpx.AsyncClient], redis: Redis
) -> None:
    """POST /chat's run is listed in its session's thread, and streams in every mode."""
    done = (await neighbours[0].post("/chat", json={"message": TEXT, "session_id": "visit-1"})).json()
    (name,) = {key.split(":")[1] for key in await keys(redis) if key.startswith("thread:")}
    assert [run["run_id"] for run in await clients[1].runs.list(name)] == [done["run_id"]]
    parts = [part async for part in clients[1].runs.join_stream(name, done["run_id"])]
    assert set(named(parts)) == {"metadata", "values", "updates", "messages", "custom"}
    values: Any = await clients[1].runs.wait(name, "agent", input=asked("And?"))
    assert len(values["messages"]) == 4
    session = (await neighbours[0].get("/sessions/visit-1")).json()
    assert [message["content"] for message in session["messages"]] == said(values)


async def test_the_oldest_messages_leave_the_state_as_they_leave_the_memory(serve: Serve, redis: Redis) -> None:
    """`values` and `updates` say which messages were dropped, so that a page that joins by id drops them too."""
    async with several(serve, 1, SUPPORT_SESSION_MESSAGES=2) as replicas, sdk_clients(replicas) as (client,):
        name = str(uuid.uuid4())
        first: Any = await client.runs.wait(name, "agent", input=asked("First?"), if_not_exists="create")
        stream = client.runs.stream(name, "agent", input=asked("Second?"), stream_mode=["values", "updates"])
        parts = [part async for part in stream]
        assert parts[-1].data["messages"][0]["content"] == "Second?"
        dropped = [one["id"] for one in parts[-2].data["answer"]["messages"] if one["type"] == "remove"]
        assert dropped == [message["id"] for message in first["messages"]]


async def test_readers_of_a_dead_replicas_run_get_one_error(
    redis: Redis, clients: list[LangGraphClient], thread: str
) -> None:
    """Whatever they saw last, also more than was logged, they get one `error` and nothing after it."""
    run = str(uuid.uuid4())
    record = RunRecord(run, thread, ANONYMOUS, "2030-01-01T00:00:00+00:00", as_json(HumanMessage("Hello?", id="q")), [])
    await Threads(redis, 60, 60).begin(record, thread, AgentContext())
    await run_log.RunLog(redis, 60).begin(run, ANONYMOUS, RunStarted(run, thread))
    assert await status_of(clients[0], thread, run) == "running"
    await redis.pexpire(f"run:{run}:alive", 300)  # as if the replica had died some seconds ago
    ends: list[list[str]] = []
    for client, last in ((clients[0], "7-2"), (clients[1], "9-0"), (clients[1], "-1")):
        parts = [part async for part in client.runs.join_stream(thread, run, last_event_id=last)]
        ends.append(named(parts))
    assert ends == [["error"], ["error"], ["metadata", "values", "error"]]
    assert await status_of(clients[0], thread, run) == "error"


async def test_a_run_that_has_ended_can_be_deleted(
    clients: list[LangGraphClient], model: ScriptedModel, thread: str
) -> None:
    """A deleted run is gone on every replica, its messages are not; one that goes on is a 409."""
    go_on = asyncio.Event()
    model.script("answer", tokens([], then=until(go_on, "One")))
    run = await begun(clients[0], thread)
    with pytest.raises(ConflictError):
        await clients[1].runs.delete(thread, run)
    go_on.set()
    await clients[1].runs.join(thread, run)
    await clients[1].runs.delete(thread, run)
    for failing in (clients[0].runs.get(thread, run), clients[1].runs.join(thread, run)):
        with pytest.raises((NotFoundError, httpx.HTTPStatusError)):
            await failing
    assert await clients[0].runs.list(thread) == []
    values: Any = await clients[0].runs.wait(thread, "agent", input=asked("And?"))
    assert len(values["messages"]) == 4


async def test_clients_are_told_where_a_run_is(clients: list[LangGraphClient], thread: str) -> None:
    """`Content-Location` and `Location` are relative to the API's root, to which the SDKs join them."""
    http = clients[0].http.client
    body = {"assistant_id": "agent", "input": asked(TEXT), "if_not_exists": "create"}
    for path, what in ((f"/threads/{thread}/runs/stream", "stream"), (f"/threads/{thread}/runs/wait", "join")):
        response = await http.post(path, json=body)
        place = response.headers["Content-Location"]
        assert place.startswith(f"/threads/{thread}/runs/")
        assert response.headers["Location"] == f"{place}/{what}"
        assert (await http.get(response.headers["Location"])).status_code == 200
    told: list[Any] = []
    stream = clients[0].runs.stream(thread, "agent", input=asked("And?"), on_run_created=told.append)
    run = (await anext(stream)).data["run_id"]
    assert told == [{"run_id": run, "thread_id": thread}]


async def test_nothing_is_there_where_the_api_is_off(serve: Serve, redis: Redis) -> None:
    """The paths are 404, and neither described nor is anything of theirs stored."""
    async with several(serve, 1, SUPPORT_LANGGRAPH_API="off") as (client,):
        body = {"assistant_id": "agent", "input": asked(TEXT)}
        assert (await client.post("/langgraph/runs/wait", json=body)).status_code == 404
        assert (await client.post("/chat", json={"message": TEXT})).status_code == 200
        assert "/langgraph" not in (await client.get("/openapi.json")).text
        assert [key for key in await keys(redis) if key.endswith(":about") or key.startswith("thread")] == []
