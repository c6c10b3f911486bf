"""The LangGraph API: its assistant, its threads and their states, through LangGraph's own client."""

from collections.abc import AsyncGenerator
from typing import Any

import httpx
import pytest
from langgraph_sdk import get_client
from langgraph_sdk.client import LangGraphClient
from langgraph_sdk.errors import APIStatusError, ConflictError, NotFoundError, UnprocessableEntityError
from redis.asyncio import Redis

from api.langgraph.assistant import ASSISTANT_ID
from conftest import Serve
from harness.scripted_model import ScriptedModel, status, tokens

STRANGE = "7f0c3a4e-3c55-4a53-9f0e-0f6f0e9f6a11"


@pytest.fixture
async def sdk(serve: Serve, redis: Redis, model: ScriptedModel) -> AsyncGenerator[LangGraphClient]:
    """The SDK's client of a service without keys."""
    async with serve() as url, get_client(url=f"{url}/langgraph") as client:
        yield client


async def test_there_is_one_assistant(sdk: LangGraphClient) -> None:
    """It is found by its name and its id, with the graph's drawing and schemas; any other is not there."""
    (found,) = await sdk.assistants.search(graph_id="agent", metadata={"created_by": "system"})
    assert found["assistant_id"] == ASSISTANT_ID
    assert await sdk.assistants.search(name="other") == []
    assert await sdk.assistants.search(offset=1) == []
    assert await sdk.assistants.search(select=["graph_id"]) == [{"graph_id": "agent"}]
    for name in ("agent", ASSISTANT_ID):
        assert await sdk.assistants.get(name) == found
        drawn: Any = await sdk.assistants.get_graph(name, xray=True)
        assert [node["id"] for node in drawn["nodes"]] == ["__start__", "classify", "retrieve", "answer", "__end__"]
        schemas: Any = await sdk.assistants.get_schemas(name)
        assert list(schemas["input_schema"]["properties"]) == ["messages"]
        assert list(schemas["context_schema"]["properties"]) == ["customer_id"]
        assert schemas["state_schema"]["properties"]["category"]["enum"] == ["general", "billing", "technical"]
        assert await sdk.assistants.get_subgraphs(name) == {}
    for call in (
        sdk.assistants.get,
        sdk.assistants.get_graph,
        sdk.assistants.get_schemas,
        sdk.assistants.get_subgraphs,
    ):
        with pytest.raises(NotFoundError):
            await call(STRANGE)
    with pytest.raises(NotFoundError):
        await sdk.assistants.search(graph_id="other")


async def test_a_thread_is_made_found_and_deleted(sdk: LangGraphClient) -> None:
    """With an id of the client's or of the service's; a second one of the same id is refused, or the first returned."""
    made: Any = await sdk.threads.create(metadata={"a": {"b": 1}})
    assert (made["status"], made["values"]) == ("idle", None)
    assert made["metadata"].items() >= {"a": {"b": 1}, "graph_id": "agent"}.items()
    assert await sdk.threads.get(made["thread_id"]) == made
    named = await sdk.threads.create(thread_id=STRANGE.replace("-", ""))
    assert named["thread_id"] == STRANGE
    with pytest.raises(ConflictError, match="if_exists"):
        await sdk.threads.create(thread_id=STRANGE)
    assert await sdk.threads.create(thread_id=STRANGE, if_exists="do_nothing", metadata={"c": 1}) == named
    await sdk.threads.delete(STRANGE)
    for gone in (sdk.threads.get, sdk.threads.delete, sdk.threads.get_state, sdk.threads.get_history):
        with pytest.raises(NotFoundError):
            await gone(STRANGE)


async def test_metadata_is_added_to(sdk: LangGraphClient) -> None:
    """A key replaces that of before; what the service sets can be sent back, but not changed; it stays small."""
    thread = (await sdk.threads.create(metadata={"a": 1, "b": [1, None, {"x": "é"}]}))["thread_id"]
    changed: Any = await sdk.threads.update(thread, metadata={"a": 2, "c": True})
    assert changed["metadata"].items() >= {"a": 2, "b": [1, None, {"x": "é"}], "c": True}.items()
    again: Any = await sdk.threads.update(thread, metadata=changed["metadata"])
    assert again["metadata"] == changed["metadata"]
    with pytest.raises(UnprocessableEntityError, match=r"metadata.category: is set by the service"):
        await sdk.threads.update(thread, metadata={"category": "billing"})
    with pytest.raises(UnprocessableEntityError, match="16,384 bytes"):
        await sdk.threads.update(thread, metadata={"d": "x" * 16_384})
    assert await sdk.threads.update(thread, metadata={"e": 1}, return_minimal=True) is None
    found: Any = await sdk.threads.get(thread)
    assert found["metadata"]["e"] == 1
    await sdk.threads.create()
    moved: Any = await sdk.threads.update(thread, metadata={"f": 1})
    assert moved["updated_at"] > moved["state_updated_at"] == changed["state_updated_at"]
    assert (await sdk.threads.search(limit=1))[0]["thread_id"] == thread


async def test_threads_are_searched(sdk: LangGraphClient) -> None:
    """By metadata, status and ids, in any order, page by page, with the fields that are asked for."""
    made = [(await sdk.threads.create(metadata={"n": n, "of": {"kind": n % 2}}))["thread_id"] for n in range(5)]

    async def ids(**query: Any) -> list[str]:
        return [thread["thread_id"] for thread in await sdk.threads.search(**query)]

    assert await ids() == made[::-1]
    assert await ids(sort_by="created_at", sort_order="asc") == made
    assert await ids(sort_by="thread_id", sort_order="asc") == sorted(made)
    assert await ids(sort_by="status", limit=2, offset=4) == made[:1]
    assert await ids(metadata={"of": {"kind": 1}}) == [made[3], made[1]]
    assert await ids(metadata={"of": {"kind": True}}) == []
    assert await ids(metadata={"graph_id": "agent"}, limit=2) == [made[4], made[3]]
    assert await ids(ids=[made[1], made[2], STRANGE]) == [made[2], made[1]]
    assert await ids(status="busy") == []
    assert await sdk.threads.search(select=["thread_id"], limit=1) == [{"thread_id": made[4]}]
    page = await sdk.http.client.post("/threads/search", json={"limit": 2, "offset": 2})
    assert (page.headers["X-Pagination-Next"], page.headers["X-Pagination-Total"]) == ("4", "5")
    page = await sdk.http.client.post("/threads/search", json={"limit": 2, "offset": 4})
    assert (page.headers.get("X-Pagination-Next"), page.headers["X-Pagination-Total"]) == (None, "5")


async def test_a_new_thread_has_an_empty_state(sdk: LangGraphClient) -> None:
    """Until its first turn has ended it has no checkpoint, and no history."""
    thread = (await sdk.threads.create())["thread_id"]
    state: Any = await sdk.threads.get_state(thread)
    assert (state["values"], state["next"], state["checkpoint"], state["created_at"]) == ({}, [], None, None)
    assert await sdk.threads.get_history(thread) == []


async def test_a_conversation_of_another_route_is_a_thread(sdk: LangGraphClient, client: httpx.AsyncClient) -> None:
    """What was said at /chat is its state, with the category and the sources in its metadata, until it is deleted."""
    said = {"message": "Why was I charged twice?", "session_id": "s-1"}
    answer = (await sdk.http.client.post("/../chat", json=said)).json()
    found: Any = (await sdk.threads.search(metadata={"session_id": "s-1"}))[0]
    thread, metadata = found["thread_id"], found["metadata"]
    assert (metadata["category"], metadata["sources"]) == (answer["category"], answer["sources"])
    state: Any = await sdk.threads.get_state(thread)
    assert [(message["type"], message["content"]) for message in state["values"]["messages"]] == [
        ("human", said["message"]),
        ("ai", answer["answer"]),
    ]
    assert found["values"] == state["values"]
    assert await sdk.threads.get_history(thread) == [state]
    assert await sdk.threads.get_history(thread, before=state["checkpoint"]) == []
    assert await sdk.threads.get_history(thread, metadata={"source": "update"}) == []
    assert await sdk.threads.get_state(thread, checkpoint_id=state["checkpoint_id"]) == state
    assert await sdk.threads.get_state(thread, checkpoint=state["checkpoint"]) == state
    with pytest.raises(NotFoundError):
        await sdk.threads.get_state(thread, checkpoint_id=STRANGE)
    part: Any = await sdk.threads.get_state(thread, select=["values.category", "next"])
    assert part == {"values": {"category": answer["category"]}, "next": []}
    assert (await sdk.http.client.delete("/../sessions/s-1")).status_code == 204
    with pytest.raises(NotFoundError):
        await sdk.threads.get(thread)


async def test_a_state_is_what_its_run_has_streamed(sdk: LangGraphClient) -> None:
    """The last values of the stream, those that the thread has, and those of the state are the same."""
    thread = (await sdk.threads.create())["thread_id"]
    asked: Any = {"messages": [{"role": "user", "content": "Why was I charged twice?", "id": "mine"}]}
    streamed = [part.data async for part in sdk.runs.stream(thread, "agent", input=asked, stream_mode="values")]
    state: Any = await sdk.threads.get_state(thread)
    assert streamed[-1] == state["values"] == (await sdk.threads.get(thread))["values"]
    assert state["values"]["messages"][0]["id"] == "mine"


async def test_a_thread_says_how_its_last_run_failed(sdk: LangGraphClient, model: ScriptedModel) -> None:
    """Until the next one; what was said before is still its state."""
    thread = (await sdk.threads.create())["thread_id"]
    asked: Any = {"messages": [{"role": "user", "content": "Hello there, is anybody in?"}]}
    await sdk.runs.wait(thread, "agent", input=asked)
    model.script("answer", status(400))
    await sdk.runs.wait(thread, "agent", input=asked, raise_error=False)
    failed: Any = (await sdk.threads.search(status="error"))[0]
    assert (failed["error"]["error"], len(failed["values"]["messages"])) == ("model-refused", 2)
    model.script("answer", tokens(["Hi!"]))
    await sdk.runs.wait(thread, "agent", input=asked)
    found: Any = await sdk.threads.get(thread)
    assert (found["status"], found["error"], len(found["values"]["messages"])) == ("idle", None, 4)


async def test_an_operator_changes_a_state(sdk: LangGraphClient, redis: Redis) -> None:
    """Messages are added, replaced and removed; the conversation must still end with an answer, and stays short."""
    thread = (await sdk.threads.create())["thread_id"]
    first: Any = [
        {"role": "user", "content": "Hello?", "id": "m-1"},
        {"role": "assistant", "content": "Hi!", "id": "m-2"},
    ]
    changed: Any = await sdk.threads.update_state(thread, {"messages": first}, as_node="answer")
    state: Any = await sdk.threads.get_state(thread)
    assert changed["checkpoint"] == state["checkpoint"]
    assert state["metadata"]["source"] == "update"
    more: Any = [
        {"type": "remove", "id": "m-1"},
        {"type": "remove", "id": "m-2"},
        {"type": "human", "content": "And now?", "id": "m-3"},
        {"type": "ai", "content": "Ahoy!", "id": "m-4"},
    ]
    await sdk.threads.update_state(thread, {"messages": more}, checkpoint_id=state["checkpoint_id"])
    await sdk.threads.update_state(thread, {"messages": [{"role": "ai", "content": "Bye!", "id": "m-4"}]})
    values: Any = (await sdk.threads.get(thread))["values"]
    assert [(message["id"], message["content"]) for message in values["messages"]] == [
        ("m-3", "And now?"),
        ("m-4", "Bye!"),
    ]
    wrong: list[tuple[Any, str]] = [
        ({"messages": [{"type": "remove"}]}, "id: is missing"),
        ({"messages": [{"role": "ai", "content": " "}]}, "content: must match"),
        ({"messages": [{"content": "Who?"}]}, "role: is missing"),
        ({"messages": first, "category": "billing"}, "values.category: is not served"),
        (None, "values: must be a JSON object"),
    ]
    for values, why in wrong:
        with pytest.raises(UnprocessableEntityError, match=why):
            await sdk.threads.update_state(thread, values)
    refused: list[tuple[Any, str]] = [
        ([{"role": "user", "content": "And?"}], "ends with an answer"),
        ([{"type": "remove", "id": "m-4"}], "ends with an answer"),
        ([{"type": "remove", "id": "m-3"}], "begins with a customer's message"),
        ([{"type": "remove", "id": "m-9"}, *first], "not there"),
    ]
    for messages, why in refused:
        with pytest.raises(ConflictError, match=why):
            await sdk.threads.update_state(thread, {"messages": messages})
    with pytest.raises(UnprocessableEntityError, match="as_node: must be 'answer'"):
        await sdk.threads.update_state(thread, {"messages": first}, as_node="classify")
    with pytest.raises(NotFoundError):
        await sdk.threads.update_state(thread, {"messages": first}, checkpoint_id=STRANGE)
    many: Any = [{"role": "user" if n % 2 == 0 else "ai", "content": f"{n}"} for n in range(50)]
    await sdk.threads.update_state(thread, {"messages": many})
    values = (await sdk.threads.get(thread))["values"]
    assert [message["content"] for message in values["messages"]] == [f"{n}" for n in range(30, 50)]


UNSERVED: list[tuple[Any, ...]] = [
    ("assistants.create", ["agent"]),
    ("assistants.update", ["agent"]),
    ("assistants.delete", ["agent"]),
    ("assistants.count", []),
    ("assistants.get_versions", ["agent"]),
    ("assistants.set_latest", ["agent", 1]),
    ("threads.count", []),
    ("threads.copy", [STRANGE]),
    ("threads.prune", [[STRANGE]]),
    ("runs.create_batch", [[]]),
    ("runs.cancel_many", []),
    ("crons.create", ["agent"], {"schedule": "* * * * *"}),
    ("crons.create_for_thread", [STRANGE, "agent"], {"schedule": "* * * * *"}),
    ("crons.search", []),
    ("crons.count", []),
    ("crons.update", [STRANGE]),
    ("crons.delete", [STRANGE]),
    ("store.put_item", [["a"], "b", {}]),
    ("store.get_item", [["a"], "b"]),
    ("store.delete_item", [["a"], "b"]),
    ("store.search_items", [["a"]]),
    ("store.list_namespaces", [["a"]]),
]


async def test_what_is_not_served_says_why(sdk: LangGraphClient) -> None:
    """501, whatever is sent, with one sentence that the SDK shows."""
    for name, arguments, *named in UNSERVED:
        part, method = name.split(".")
        with pytest.raises(APIStatusError) as refused:
            await getattr(getattr(sdk, part), method)(*arguments, **dict(*named))
        assert refused.value.status_code == 501, name
        assert refused.value.message.endswith("."), name
        assert refused.value.type == "not-served", name


async def test_what_a_request_may_not_ask_for_is_refused_by_name(sdk: LangGraphClient) -> None:
    """No parameter is ignored without a word."""
    thread = (await sdk.threads.create())["thread_id"]
    wrong: list[tuple[str, str, Any, str]] = [
        ("POST", "/threads", {"ttl": {"ttl": 5}}, "ttl"),
        ("POST", "/threads", {"supersteps": [{"updates": []}]}, "supersteps"),
        ("POST", "/threads", {"thread_id": "s-1"}, "thread_id"),
        ("POST", "/threads", {"metadata": None}, "metadata"),
        ("POST", "/threads", {"other": 1}, "other"),
        ("PATCH", f"/threads/{thread}", {"ttl": 5}, "ttl"),
        ("POST", "/threads/search", {"values": {"category": "billing"}}, "values"),
        ("POST", "/threads/search", {"extract": {"a": "values.b"}}, "extract"),
        ("POST", "/threads/search", {"limit": 0}, "limit"),
        ("POST", "/threads/search", {"select": ["secret"]}, "select.0"),
        ("GET", f"/threads/{thread}?include=ttl", None, "include"),
        ("GET", f"/threads/{thread}/state?select=secret", None, "select.0"),
        (
            "POST",
            f"/threads/{thread}/state/checkpoint",
            {"checkpoint": {"checkpoint_ns": "a"}},
            "checkpoint.checkpoint_ns",
        ),
        ("POST", f"/threads/{thread}/history", {"limit": 1001}, "limit"),
        ("GET", "/threads/s-1", None, "thread_id"),
    ]
    for method, path, body, field in wrong:
        response = await sdk.http.client.request(method, path, json=body)
        assert response.status_code == 422, (path, body, response.text)
        assert response.json()["errors"][0]["field"] == field, (path, body)
        assert response.json()["detail"].startswith(field), (path, body)


@pytest.mark.parametrize("value", ["NaN", '"\\ud800"', "[" * 2000 + "]" * 2000], ids=["NaN", "surrogate", "deep"])
async def test_metadata_that_is_no_plain_json_is_refused(sdk: LangGraphClient, value: str) -> None:
    """It could not be sent again."""
    for path in ("/threads", "/threads/search", "/assistants/search"):
        content = f'{{"metadata": {{"a": {value}}}}}'
        response = await sdk.http.client.post(path, content=content, headers={"Content-Type": "application/json"})
        assert response.status_code in (400, 422), path


async def test_the_server_says_what_it_is(sdk: LangGraphClient) -> None:
    """Clients ask before anything else."""
    info = (await sdk.http.client.get("/info")).json()
    assert info["flags"] == {"assistants": True, "crons": False, "langsmith": False}
    assert (await sdk.http.client.get("/ok")).json() == {"ok": True}


async def test_it_is_off_in_production_unless_it_is_turned_on(serve: Serve, redis: Redis) -> None:
    """Off: no route of it exists, it is not described, and threads leave nothing in Redis."""
    async with serve(SUPPORT_LANGGRAPH_API="off") as url, httpx.AsyncClient(base_url=url) as client:
        assert (await client.get("/langgraph/ok")).status_code == 404
        assert "/langgraph" not in (await client.get("/openapi.json")).text
        await client.post("/chat", json={"message": "Hello there, is anybody in?"})
    assert not [key async for key in redis.scan_iter("thread*")]
