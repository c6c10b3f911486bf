import asyncio
import importlib.util
import inspect
import json
import re
import signal
import socket
import subprocess
import sys
import threading
import tomllib
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from langgraph_sdk import get_client
from langgraph_sdk.client import LangGraphClient
from langgraph_sdk.schema import StreamMode
from starlette.applications import Starlette

from conftest import REPOSITORY
from harness.studio import development_server, studio_environment, studio_project

STUDIO = "https://smith.langchain.com"
QUESTION = "I was charged twice, can I have my money back?"


@pytest.fixture(scope="module")
def environment() -> Generator[dict[str, str]]:
    with studio_environment() as environment:
        yield environment


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return studio_project(tmp_path / "project")


class World:
    """A proxy for all outgoing connections that counts and closes them."""

    def __init__(self) -> None:
        self.said: list[bytes] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.said.append(b"")
                with connection, suppress(ConnectionError):
                    self.said[-1] = connection.recv(1000)

    def close(self) -> None:
        """Accept no more connections."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@pytest.fixture
def world() -> Generator[World]:
    world = World()
    yield world
    world.close()


@contextmanager
def studio(
    project: Path, environment: dict[str, str], world: World, **variables: str
) -> Generator[tuple[subprocess.Popen[bytes], str]]:
    """Run the command as a developer does, offline."""
    proxies = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), world.url)
    proxies |= {name.lower(): url for name, url in proxies.items()}
    with development_server(project, environment, **proxies, **variables) as server:
        yield server


async def drawing(client: LangGraphClient, assistant: str) -> set[str]:
    """Return the nodes of the graph's drawing."""
    return {str(node["id"]) for node in (await client.assistants.get_graph(assistant))["nodes"]}


def asked(question: str) -> Any:
    return {"messages": [{"role": "user", "content": question}]}


async def say(client: LangGraphClient, thread: str, assistant: str, question: str) -> str:
    """Stream a turn and return its tokens."""
    events: dict[str, list[Any]] = {}
    context: Any = {"tenant": "acme", "customer_id": "c-1"}
    modes: list[StreamMode] = ["messages-tuple", "updates"]
    async for part in client.runs.stream(thread, assistant, input=asked(question), context=context, stream_mode=modes):
        events.setdefault(part.event, []).append(part.data)
    assert "error" not in events
    assert {name for update in events["updates"] for name in update} == {"classify", "retrieve", "answer"}
    tokens = [chunk["content"] for chunk, _ in events["messages"] if chunk["type"] == "AIMessageChunk"]
    assert len(tokens) > 10
    return "".join(tokens)


async def step(client: LangGraphClient, assistant: str) -> None:
    """Interrupt before the answer, inspect the state, and continue."""
    thread = (await client.threads.create())["thread_id"]
    await client.runs.wait(thread, assistant, input=asked(QUESTION), interrupt_before=["answer"])
    stopped: Any = await client.threads.get_state(thread)
    assert stopped["next"] == ["answer"]
    assert stopped["values"]["category"] == "billing"
    assert "duplicate-charge" in [passage["id"] for passage in stopped["values"]["passages"]]
    await client.runs.wait(thread, assistant)
    assert len(await remembered(client, thread)) == 2


async def remembered(client: LangGraphClient, thread: str) -> list[Any]:
    state: Any = await client.threads.get_state(thread)
    return state["values"]["messages"]


async def readers(http: httpx.AsyncClient) -> set[str]:
    """Return which of four origins may read responses of Studio's server."""
    origins = (STUDIO, "http://localhost:3000", "https://smith.langchain.com.example", "https://example")
    answers = [await http.get("/info", headers={"Origin": origin}) for origin in origins]
    allowed = {answer.headers.get("Access-Control-Allow-Origin") for answer in answers}
    return allowed - {None}


@pytest.mark.soak
async def test_studio_steps_through_the_graph_offline(project: Path, environment: dict[str, str], world: World) -> None:
    """Without a key or network, threads, streams, states, the drawing and our own routes work."""
    with studio(project, environment, world) as (process, url):
        async with get_client(url=url) as client:
            assistant = (await client.assistants.create("agent", context={"tenant": "acme"}))["assistant_id"]
            assert await drawing(client, assistant) == {"__start__", "classify", "retrieve", "answer", "__end__"}
            schemas = await client.assistants.get_schemas(assistant)
            assert "messages" in str(schemas["input_schema"])
            assert "customer_id" in str(schemas["context_schema"])
            thread = (await client.threads.create())["thread_id"]
            first = await say(client, thread, assistant, QUESTION)
            second = await say(client, thread, assistant, "How long does that take?")
            messages = await remembered(client, thread)
            assert [message["type"] for message in messages] == ["human", "ai"] * 2
            assert [message["content"] for message in messages[1::2]] == [first, second]
            assert "30 days" in first
            history = await client.threads.get_history(thread)
            steps = [sorted(checkpoint["next"]) for checkpoint in history]
            assert steps == [[], ["answer"], ["classify", "retrieve"], ["__start__"]] * 2
            await step(client, assistant)
        async with httpx.AsyncClient(base_url=url, timeout=30, trust_env=False) as http:
            answer = (await http.post("/ask", json={"question": QUESTION})).json()
            assert answer["category"] == "billing"
            assert (await http.post("/chat", json={"message": QUESTION})).json()["messages_in_history"] == 2
            assert await readers(http) == {STUDIO, "http://localhost:3000"}
            family = psutil.Process(process.pid).children(recursive=True)
            assert any("valkey-server" in member.name() for member in family)
            async with http.stream("GET", f"/threads/{thread}/stream"):  # like a page that stays open
                process.send_signal(signal.SIGTERM)
                assert await asyncio.to_thread(process.wait, 20) == 0
        assert psutil.wait_procs(family, timeout=10)[1] == []
    output = Path("output").read_text()
    assert f"{STUDIO}/studio/?baseUrl={url}" in output
    assert "Traceback" not in output
    assert QUESTION not in output
    assert world.said == []


@pytest.mark.soak
async def test_studio_sends_nothing_to_langsmith_without_being_told_to(
    project: Path, environment: dict[str, str], world: World
) -> None:
    """A LangSmith key in the environment or `.env` alone does not enable tracing."""
    (project / ".env").write_text(f"LANGSMITH_ENDPOINT={world.url}\nREDIS_URL=\n")
    with studio(project, environment, world, LANGSMITH_API_KEY="lsv2_pt_canary") as (process, url):
        async with get_client(url=url) as client:
            thread = (await client.threads.create())["thread_id"]
            assert "30 days" in await say(client, thread, "agent", QUESTION)
        process.send_signal(signal.SIGINT)
        assert await asyncio.to_thread(process.wait, 20) == 0
    assert world.said == []


def test_studio_without_its_group_says_how_to_get_it() -> None:
    """Without the dependency group one line says which command to run."""
    code = "import sys; sys.modules['langgraph_api'] = None; from cli.main import main; main()"
    result = subprocess.run([sys.executable, "-c", code, "studio"], capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert result.stderr.endswith("run: uv run --group studio support-agent studio\n")
    assert result.stderr.count("\n") == 1


def test_langgraph_json_names_what_there_is() -> None:
    """langgraph.json names an existing graph factory and application, and matches the project."""
    config = json.loads((REPOSITORY / "langgraph.json").read_text())

    def named(place: str) -> Any:
        path, name = place.split(":")
        spec = importlib.util.spec_from_file_location("named", REPOSITORY / path)
        assert spec
        assert spec.loader
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return getattr(module, name)

    assert list(config["graphs"]) == ["agent"]
    graph = named(config["graphs"]["agent"]["path"])
    assert inspect.iscoroutinefunction(graph)
    assert not inspect.signature(graph).parameters
    assert isinstance(named(config["http"]["app"]), Starlette)
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    assert project["project"]["requires-python"].startswith(f">={config['python_version']}")
    assert config["dependencies"] == ["."]
    assert config["env"] == ".env"


def test_studios_server_is_no_dependency_of_the_service() -> None:
    """Studio's licence allows development only, so images do not install its server."""
    locked = (REPOSITORY / "requirements.lock").read_text()
    assert re.search(r"^langgraph==", locked, re.MULTILINE)
    assert not re.search(r"^langgraph-(api|cli|runtime)", locked, re.MULTILINE)
