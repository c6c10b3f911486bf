"""LangGraph's clients over two replicas: its SDKs in Python and JavaScript, and RemoteGraph as a node of a graph."""

import asyncio
import hashlib
import json
import os
import uuid
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen
from typing import Annotated, Any, Protocol
from urllib.parse import urlsplit

import httpx
import pytest
from langchain_core.messages import AnyMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.graph.state import CompiledStateGraph
from langgraph.pregel.remote import RemoteException, RemoteGraph
from langgraph_sdk import get_client
from redis.asyncio import Redis
from typing_extensions import TypedDict

from conftest import REPOSITORY, Serve
from harness.fault_proxy import FaultProxy, fault_proxy
from harness.langgraph_script import Script, asked
from harness.nginx import nginx
from harness.npm import installed
from harness.programs import program
from harness.replica import replica
from harness.scripted_model import ScriptedModel, tokens

pytestmark = pytest.mark.soak

KEY = "k" * 43
MODES: list[Any] = ["values", "updates", "messages-tuple", "custom"]

Seen = tuple[str, Any]
"""The name of an event, and its JSON."""


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the JavaScript SDK."""
    return installed(tmp_path_factory)


@dataclass
class Cluster:
    """Two replicas behind a proxy that connects to one of them."""

    url: str
    """The API, through the proxy."""
    proxy: FaultProxy
    processes: list[Popen[bytes]]
    ports: list[int]

    async def move(self, to: int) -> None:
        """Cut the connections; new ones go to this replica."""
        self.proxy.move(self.ports[to])
        await self.proxy.cut()

    def kill(self, which: int) -> None:
        """End a replica at once; new connections go to the other one."""
        self.proxy.move(self.ports[1 - which])
        self.processes[which].kill()


@pytest.fixture
async def cluster(redis: Redis, redis_url: str, model: ScriptedModel, articles: Path) -> AsyncGenerator[Cluster]:
    keys = {"SUPPORT_API_KEYS": f"web:{hashlib.sha256(KEY.encode()).hexdigest()}", "SUPPORT_LANGGRAPH_API": "on"}
    async with (
        replica(model, redis_url, articles, **keys) as (first, url),
        replica(model, redis_url, articles, **keys) as (second, other),
    ):
        ports = [int(address.rsplit(":", 1)[1]) for address in (url, other)]
        async with fault_proxy("127.0.0.1", ports[0]) as proxy:
            yield Cluster(f"http://127.0.0.1:{proxy.port}/langgraph", proxy, [first, second], ports)


class Follow(Protocol):
    """A client that streams a run in a new thread."""

    def __call__(self, cluster: Cluster, packages: Path, question: str) -> AsyncIterator[Seen]:
        """Yield the events that the client shows."""
        ...


async def python(cluster: Cluster, packages: Path, question: str) -> AsyncIterator[Seen]:
    """LangGraph's SDK in Python."""
    async with get_client(url=cluster.url, api_key=KEY) as client:
        thread = (await client.threads.create())["thread_id"]
        async for event in client.runs.stream(thread, "agent", input=asked(question), stream_mode=MODES):
            yield event.event, event.data


async def javascript(cluster: Cluster, packages: Path, question: str) -> AsyncIterator[Seen]:
    """LangGraph's SDK in JavaScript."""
    asking = {"apiUrl": cluster.url, "apiKey": KEY, "question": question, "streamMode": MODES}
    async with node("langgraph_stream.mjs", packages, asking) as process:
        async for line in process.stdout or ():
            event, data = json.loads(line)
            yield event, data


async def remote_graph(cluster: Cluster, packages: Path, question: str) -> AsyncIterator[Seen]:
    """RemoteGraph as a node of another graph, as that one streams it."""
    config: Any = {"configurable": {"thread_id": str(uuid.uuid4()), "customer_id": "c-1"}}
    modes: list[Any] = ["values", "updates", "messages", "custom"]
    async with composed(cluster) as (graph, _):
        async for place, mode, data in graph.astream(asked(question), config, stream_mode=modes, subgraphs=True):
            if place:  # otherwise it is an event of the other graph itself
                yield mode, json.loads(json.dumps(data))


FOLLOWERS = pytest.mark.parametrize("follow", [python, javascript, remote_graph])


@asynccontextmanager
async def node(name: str, packages: Path, argument: dict[str, Any]) -> AsyncGenerator[asyncio.subprocess.Process]:
    """Run a program of tests/harness with the JavaScript SDK."""
    own = packages / f"{os.getpid()}-{name}"  # beside the packages, since node looks for them there
    own.write_text((REPOSITORY / "tests/harness" / name).read_text())
    process = await asyncio.create_subprocess_exec(
        program("node"),
        own.name,
        json.dumps(argument),
        cwd=packages,
        stdout=asyncio.subprocess.PIPE,
        limit=2**22,
    )
    try:
        yield process
        assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


class _Conversation(TypedDict):
    messages: Annotated[list[AnyMessage], add_messages]


@asynccontextmanager
async def composed(cluster: Cluster) -> AsyncGenerator[tuple[CompiledStateGraph[Any, Any, Any, Any], RemoteGraph]]:
    """Compile a graph of another application, with ours as its node; yield both."""
    async with get_client(url=cluster.url, api_key=KEY) as client:
        remote = RemoteGraph("agent", client=client)
        builder = StateGraph(_Conversation)
        builder.add_node("support", remote)
        builder.add_edge(START, "support")
        builder.add_edge("support", END)
        yield builder.compile(checkpointer=InMemorySaver()), remote


async def uncut(cluster: Cluster) -> tuple[dict[str, Any], list[Seen]]:
    """Return the only run, and its events as a client gets them that is never cut off."""
    async with get_client(url=cluster.url, api_key=KEY) as client:
        (thread,) = await client.threads.search()
        (run,) = await client.runs.list(thread["thread_id"])
        events = client.runs.join_stream(thread["thread_id"], run["run_id"], last_event_id="-1")
        return dict(run), [(event.event, event.data) async for event in events]


@FOLLOWERS
async def test_a_stream_survives_the_replica_that_relays_it(
    cluster: Cluster, packages: Path, model: ScriptedModel, follow: Follow
) -> None:
    """A client whose connection moves to another replica, which is then killed, gets the events of an uncut one."""
    model.script("answer", tokens([f"{number} " for number in range(40)], pause=0.15))
    seen: list[Seen] = []
    async for event in follow(cluster, packages, "Refund?"):
        seen.append(event)
        if len(seen) == 10:
            await cluster.move(1)
        if len(seen) == 20:
            cluster.kill(1)
    run, whole = await uncut(cluster)
    assert run["status"] == "success"
    assert cluster.processes[1].poll() is not None
    shown = [(name, data) for name, data in whole if follow is not remote_graph or name != "metadata"]
    assert seen == shown
    assert whole[-1][1]["messages"][-1]["content"] == "".join(f"{number} " for number in range(40))


@FOLLOWERS
async def test_a_run_whose_replica_is_killed_ends_with_one_error(
    cluster: Cluster, packages: Path, model: ScriptedModel, follow: Follow
) -> None:
    """The client learns from another replica, once, that the run was interrupted."""
    model.script("answer", tokens([f"{number} " for number in range(40)], pause=0.15))
    seen: list[Seen] = []
    errors: list[Any] = []
    try:
        async for event in follow(cluster, packages, "Refund?"):
            seen.append(event)
            if len(seen) == 20:
                cluster.kill(0)
    except RemoteException as error:
        errors += error.args
    errors += [data for name, data in seen if name == "error"]
    seen = [event for event in seen if event[0] != "error"]
    run, whole = await uncut(cluster)
    assert run["status"] == "error"
    assert errors == [data for name, data in whole if name == "error"] == [whole[-1][1]]
    logged = [event for event in whole[:-1] if follow is not remote_graph or event[0] != "metadata"]
    assert seen[: len(logged)] == logged, "the killed replica may have shown what it had not logged yet"


async def test_a_remote_graph_speaks_for_its_tenant_and_its_customer(cluster: Cluster, model: ScriptedModel) -> None:
    """The key says which tenant it is and `configurable` which customer, and each turn sends the whole conversation."""
    config: Any = {"configurable": {"thread_id": str(uuid.uuid4()), "customer_id": "c-1"}}
    async with composed(cluster) as (graph, remote), httpx.AsyncClient(headers={"x-api-key": KEY}) as http:
        await graph.ainvoke(asked("Refund?"), config)
        state = await graph.ainvoke(asked("How long does that take?"), config)
        ids = [message.id for message in state["messages"]]
        assert [message.text for message in state["messages"]] == [
            "Refund?",
            "Hello, world.",
            "How long does that take?",
            "Hello, world.",
        ]
        told = [text for _, text in model.of("answer")[-1].prompt[1:]]
        assert told == ["Refund?", "Hello, world.", "How long does that take?"]
        assert [message["id"] for message in (await remote.aget_state(config)).values["messages"]] == ids
        await graph.ainvoke(asked("I want to talk to a human"), config)
        (handoff,) = (await http.get(f"{cluster.url.removesuffix('/langgraph')}/handoffs")).json()["handoffs"]
        assert handoff["customer_id"] == "c-1"
        answer = await remote.ainvoke({"messages": [*state["messages"][:2], {"role": "user", "content": "Why?"}]})
        told = [message["content"] for message in answer["messages"]]
        assert told == ["Refund?", "Hello, world.", "Why?", "Hello, world."]


async def test_the_javascript_sdk_gets_along(cluster: Cluster, packages: Path, model: ScriptedModel) -> None:
    """Each call of a tour through the SDK gets what it should, or an error that it can read."""
    Script(model)
    got: dict[str, Any] = {}
    async with node("langgraph_tour.mjs", packages, {"apiUrl": cluster.url, "apiKey": KEY}) as process:
        async for line in process.stdout or ():
            name, result = json.loads(line)
            got[name] = result
    failed = {name: result["failed"] for name, result in got.items() if isinstance(result, dict) and "failed" in result}
    assert failed == {"runs.create rejected": 409, "threads.get of a deleted one": 404}
    names = [name for name, _ in got["runs.stream"]]
    assert names[0] == "metadata"
    assert set(names) == {"metadata", "updates", "messages"}
    assert got["runs.wait"]["messages"][-1]["content"] == "Hello, world."
    assert [run["status"] for run in got["runs.list"]] == ["interrupted", "success", "success"]
    assert len(got["threads.getState"]["values"]["messages"]) == 4
    assert got["threads.getHistory"][0]["values"] == got["threads.getState"]["values"]
    assert [thread["metadata"]["colour"] for thread in got["threads.search"]] == ["red"]


async def test_a_run_is_found_again_behind_a_path_prefix(serve: Serve, redis: Redis, model: ScriptedModel) -> None:
    """Clients are told where a run is, from the API's address on, so a cut stream continues under a prefix too."""
    model.script("answer", tokens([f"{number} " for number in range(20)], pause=0.1))
    seen: list[Seen] = []
    async with serve(SUPPORT_LANGGRAPH_API="on", SUPPORT_TRUSTED_PROXIES="127.0.0.1") as url:
        prefixed = f"location /support/ {{ proxy_pass {url}/; proxy_set_header X-Forwarded-Prefix /support; }}"
        async with (
            nginx(prefixed) as front,
            fault_proxy("127.0.0.1", urlsplit(front).port or 0) as proxy,
            get_client(url=f"http://127.0.0.1:{proxy.port}/support/langgraph", api_key=None) as client,
        ):
            thread = (await client.threads.create())["thread_id"]
            async for event in client.runs.stream(thread, "agent", input=asked("Refund?"), stream_mode=MODES):
                seen.append((event.event, event.data))
                if len(seen) == 10:
                    await proxy.cut()
            (run,) = await client.runs.list(thread)
            whole = client.runs.join_stream(thread, run["run_id"], last_event_id="-1")
            assert seen == [(event.event, event.data) async for event in whole]
