"""The clients in docs/clients, each a process of its own, against the service."""

import asyncio
import os
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import httpx
import pytest
from redis.asyncio import Redis

from api.auth import digest, new_key
from conftest import REPOSITORY, Serve
from graph.runs.memory import lock_name
from harness.fault_proxy import FaultProxy, fault_proxy
from harness.programs import node, program, tool
from harness.scripted_model import ScriptedModel, status, tokens, until
from local.process import Service

CLIENTS = REPOSITORY / "docs/clients"
PATIENCE = 45  # seconds that tell endless from slow
KEY = new_key()
PIECES = ["Every ", "payment ", "is ", "returned ", "in ", "full."]
ANSWER = "".join(PIECES)


def shell() -> list[str]:
    program("curl")
    program("jq")
    return [program("bash"), str(CLIENTS / "chat.sh")]


CLIENT: dict[str, Callable[[], list[str]]] = {
    "curl": shell,
    "httpx-sse": lambda: [sys.executable, str(CLIENTS / "chat_httpx_sse.py")],
    "fetch": lambda: [node((20, 0)), str(CLIENTS / "chat_fetch.mjs")],
    "websockets": lambda: [sys.executable, str(CLIENTS / "chat_websocket.py")],
}
each_client = pytest.mark.parametrize("name", CLIENT)
each_stream = pytest.mark.parametrize("name", ["httpx-sse", "fetch"])


def test_shellcheck_finds_nothing() -> None:
    """It finds no mistake in the shell's client."""
    found = tool("shellcheck", CLIENTS / "chat.sh")
    assert found.returncode == 0, found.stdout


@asynccontextmanager
async def running(name: str, url: str, key: str = "") -> AsyncGenerator[asyncio.subprocess.Process]:
    """A client that waits for messages."""
    pipe = asyncio.subprocess.PIPE
    address = url.replace("http:", "ws:") if name == "websockets" else url
    environment = {**os.environ, "AGENT_KEY": key}
    client = await asyncio.create_subprocess_exec(
        *CLIENT[name](), address, stdin=pipe, stdout=pipe, stderr=pipe, env=environment
    )
    try:
        yield client
    finally:
        if client.returncode is None:
            client.kill()
            await client.wait()


async def say(client: asyncio.subprocess.Process, *messages: str) -> tuple[str, str]:
    """Send messages, and return what the client prints until it ends: answers and errors."""
    async with asyncio.timeout(PATIENCE):
        printed, errors = await client.communicate("".join(f"{message}\n" for message in messages).encode())
    return printed.decode(), errors.decode()


@asynccontextmanager
async def breakable(url: str) -> AsyncGenerator[tuple[str, FaultProxy]]:
    """A proxy to the service, and its URL."""
    address = urlsplit(url)
    async with fault_proxy(str(address.hostname), address.port or 0) as proxy:
        yield f"http://127.0.0.1:{proxy.port}", proxy


@each_client
async def test_a_client_has_a_conversation(name: str, serve: Serve, redis: Redis, offline_model: Service) -> None:
    """It sends its key, prints whole answers, and stays in one conversation."""
    messages = ["I was charged twice, can I have my money back?", 'Say "when", \\please\\: à demain?']
    model = {"OPENAI_BASE_URL": offline_model.url, "OPENAI_API_KEY": offline_model.secret}
    keys = f"shop:{digest(KEY).hex()}"
    async with serve(**model, SUPPORT_API_KEYS=keys, SUPPORT_KNOWLEDGE=REPOSITORY / "knowledge") as url:
        async with running(name, url, KEY) as client:
            printed, errors = await say(client, *messages)
        async with httpx.AsyncClient(base_url=url, headers={"X-API-Key": KEY}, timeout=20) as own:
            [conversation] = (await own.get("/inbox/conversations")).json()["conversations"]
            first = (await own.post("/ask", json={"question": messages[0]})).json()
    assert errors == ""
    assert [turn["question"] for turn in conversation["turns"]] == messages
    assert printed == "".join(f"{turn['answer']}\n" for turn in conversation["turns"]).replace(
        conversation["turns"][0]["answer"], first["answer"]
    )


@each_client
async def test_a_client_without_a_key_says_so(name: str, serve: Serve, redis: Redis) -> None:
    """What the service refuses for good is printed once, and not tried again."""
    async with serve(SUPPORT_API_KEYS=f"shop:{digest(KEY).hex()}") as url, running(name, url) as client:
        printed, errors = await say(client, "Hello there, is anybody in?")
    assert printed == ""
    assert "401" in errors or "Send a valid key" in errors


@each_client
async def test_a_client_waits_while_the_limit_is_spent(
    name: str, serve: Serve, redis: Redis, model: ScriptedModel
) -> None:
    """After 429 a message is sent again, and answered."""
    model.script("answer", tokens(PIECES))
    async with serve(SUPPORT_RATE_LIMIT="1/2second") as url, running(name, url) as client:
        printed, errors = await say(client, "Can I have a refund?", "When?")
    assert printed.count(ANSWER) == 2
    assert errors == ""


@each_client
async def test_a_client_waits_for_its_busy_conversation(
    name: str, serve: Serve, redis: Redis, model: ScriptedModel
) -> None:
    """While the conversation has another turn, the message is sent again until it is answered."""
    model.script("answer", tokens(PIECES))
    async with serve() as url, running(name, url) as client:
        assert client.stdin
        assert client.stdout
        client.stdin.write(b"Can I have a refund?\n")
        async with asyncio.timeout(PATIENCE):
            await client.stdout.readline()
        [thread] = [key.decode().removeprefix("turn:") async for key in redis.scan_iter("turn:*")]
        await redis.set(lock_name(thread), "another's", px=1_500)
        printed, errors = await say(client, "When?")
    assert printed.endswith(f"{ANSWER}\n")
    assert errors == ""


@each_stream
async def test_a_stream_that_is_cut_is_read_on(name: str, serve: Serve, redis: Redis, model: ScriptedModel) -> None:
    """After a lost connection the rest of the answer comes, without a doubled or a missing word."""
    model.script("answer", tokens([f"{number} " for number in range(40)], pause=0.02))
    async with serve() as direct, breakable(direct) as (url, proxy), running(name, url) as client:
        saying = asyncio.create_task(say(client, "Can I have a refund?"))
        for _ in range(2):
            while not proxy.connections:
                await asyncio.sleep(0.01)
            await proxy.cut(after=1_500)
            while proxy.connections:
                await asyncio.sleep(0.01)
        printed, errors = await saying
    assert printed == "".join(f"{number} " for number in range(40)) + "\n"
    assert errors == ""
    assert len(model.of("answer")) == 1


async def test_curl_gets_the_answer_that_was_lost(serve: Serve, redis: Redis, model: ScriptedModel) -> None:
    """A repeated request gets the answer of the first one, which is not made twice."""
    is_lost = asyncio.Event()
    model.script("answer", tokens([], then=until(is_lost, *PIECES)))
    async with serve() as direct, breakable(direct) as (url, proxy), running("curl", url) as client:
        saying = asyncio.create_task(say(client, "Can I have a refund?"))
        while not model.of("answer"):
            await asyncio.sleep(0.01)
        await proxy.reset()
        is_lost.set()
        printed, errors = await saying
    assert printed == f"{ANSWER}\n"
    assert "reset" in errors.lower()
    assert len(model.of("answer")) == 1


async def test_a_websocket_that_is_cut_is_asked_again(serve: Serve, redis: Redis, model: ScriptedModel) -> None:
    """After a lost connection the message is sent again in the same conversation, which keeps it once."""
    model.script("answer", tokens(PIECES[:1], then=until(asyncio.Event())), tokens(PIECES))
    async with serve() as direct, breakable(direct) as (url, proxy), running("websockets", url) as client:
        assert client.stdin
        assert client.stdout
        client.stdin.write(b"Can I have a refund?\n")
        async with asyncio.timeout(PATIENCE):
            begun = await client.stdout.readexactly(len(PIECES[0]))
        await proxy.reset()
        printed, errors = await say(client, "When?")
    assert begun.decode() == PIECES[0]
    lost, again, second = printed.splitlines()
    assert lost.strip() == "(The connection was lost.)"
    assert again == second == ANSWER
    assert errors == ""
    asked = [text for role, text in model.of("answer")[-1].prompt if role == "user"]
    assert asked[:-1] == ["Can I have a refund?"]


@each_client
async def test_a_client_says_why_there_is_no_answer(
    name: str, serve: Serve, redis: Redis, model: ScriptedModel
) -> None:
    """A problem, or an `error` event, is printed; the conversation goes on with the next message."""
    failing = [] if name == "curl" else [status(401)]  # curl tries again after any 502
    model.script("answer", *failing, tokens(PIECES))
    async with serve() as url, running(name, url) as client:
        printed, errors = await say(client, "x" * 4_001, *("Can I have a refund?" for _ in failing), "When?")
    assert printed.strip() == ANSWER
    first, *more = errors.splitlines()
    assert "4000 characters" in first
    assert ["model" in line for line in more] == [True for _ in failing]
