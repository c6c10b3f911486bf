"""`useStream`, the hook that Agent Chat UI is made of, against the service in a real Chromium."""

import asyncio
import hashlib
import json
import re
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Locator, Page, Request, expect
from redis.asyncio import Redis
from starlette.applications import Starlette
from starlette.responses import FileResponse, HTMLResponse
from starlette.routing import Route

from conftest import REPOSITORY, Serve
from harness.chat_page import PATIENCE, chromium
from harness.fault_proxy import FaultProxy, fault_proxy
from harness.langgraph_script import Script
from harness.npm import bundled, installed
from harness.scripted_model import ScriptedModel
from harness.serving import serving

pytestmark = pytest.mark.soak

KEY = "k" * 43
AGENT_CHAT_UI = [
    "GET /langgraph/info",
    'POST /langgraph/threads/search {"metadata":{"graph_id":"agent"},"limit":100,"offset":0}',
    'POST /langgraph/threads {"metadata":{}}',
    (
        'POST /langgraph/threads/ID/runs/stream {"input":{"messages":[{"id":"ID","type":"human","content":'
        '[{"type":"text","text":"Is it SLOW?"}]}]},"stream_mode":["values","messages-tuple"],"stream_subgraphs":true,'
        '"stream_resumable":true,"assistant_id":"agent","on_disconnect":"continue"}'
    ),
    "GET /langgraph/threads/ID/runs/ID",
    'POST /langgraph/threads/ID/history {"limit":10}',
    'POST /langgraph/threads/search {"metadata":{"graph_id":"agent"},"limit":100,"offset":0}',
]
"""The requests of Agent Chat UI for a first message, in their order."""
_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

PAGE = "<!doctype html><link rel=icon href=data:,><title>Chat</title><div id=page></div><script src=/page.js></script>"


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page's program, bundled with what npm has."""
    return bundled(REPOSITORY / "tests/browser/langgraph/page.js", installed(tmp_path_factory))


@dataclass
class Chat:
    """The page, as a customer uses it."""

    page: Page
    proxy: FaultProxy
    """Between the page and the service."""
    asked: list[tuple[str, Any]] = field(default_factory=list[tuple[str, Any]])
    """The requests to the service: method and path, and JSON."""

    async def send(self, message: str) -> None:
        """Send a message."""
        await self.page.locator("#message").fill(message)
        await self.page.locator("#send").click()

    async def stop(self) -> None:
        """Stop the stream."""
        await self.page.locator("#stop").click()
        await self.page.locator("#send").wait_for()

    async def shows(self, *messages: str) -> None:
        """Wait until the page shows these messages and no others."""
        await expect(self.messages).to_have_text(messages, timeout=PATIENCE)

    async def ends_with(self, message: str) -> None:
        """Wait until the page's last message is this one."""
        await expect(self.messages.last).to_have_text(message, timeout=PATIENCE)

    async def ids(self) -> list[str]:
        """Return the ids of the messages."""
        return await self.messages.evaluate_all("(seen) => seen.map((message) => message.dataset.id)")

    @property
    def messages(self) -> Locator:
        """The messages, oldest first."""
        return self.page.locator("#messages li")

    @property
    def threads(self) -> Locator:
        """The list of conversations."""
        return self.page.locator("#threads li")

    @property
    def error(self) -> Locator:
        """What the hook reports."""
        return self.page.locator("#error")

    def note(self, request: Request) -> None:
        """Note a request to the service."""
        path = urlsplit(request.url).path
        if path.startswith("/langgraph") and request.method != "OPTIONS":
            self.asked.append((f"{request.method} {path}", request.post_data_json))


@asynccontextmanager
async def chatting(program: Path, serve: Serve, query: str = "", **variables: str) -> AsyncGenerator[Chat]:
    """Open the page, which is on another origin than the service."""

    async def page(_: Any) -> HTMLResponse:
        return HTMLResponse(PAGE)

    async def source(_: Any) -> FileResponse:
        return FileResponse(program)

    routes = [Route("/", page), Route("/page.js", source)]
    async with (
        serving(Starlette(routes=routes), lifespan=False) as origin,
        serve(SUPPORT_ALLOWED_ORIGINS=origin, SUPPORT_LANGGRAPH_API="on", **variables) as url,
        fault_proxy("127.0.0.1", urlsplit(url).port or 0) as proxy,
        chromium() as browser,
    ):
        chat = Chat(await browser.new_page(), proxy)
        chat.page.set_default_timeout(PATIENCE)
        chat.page.on("request", chat.note)
        await chat.page.goto(f"{origin}/?apiUrl=http://127.0.0.1:{proxy.port}/langgraph{query}")
        await expect(chat.page.locator("#status")).to_have_text("connected", timeout=PATIENCE)
        yield chat


async def until(happens: Callable[[], bool]) -> None:
    """Wait for something."""
    async with asyncio.timeout(PATIENCE / 1000):
        while not happens():
            await asyncio.sleep(0.05)


def told(model: ScriptedModel) -> list[str]:
    """Return the conversation that the model was told last."""
    return [text for _, text in model.of("answer")[-1].prompt[1:]]


def digest(key: str) -> str:
    """Return a key as SUPPORT_API_KEYS has it."""
    return hashlib.sha256(key.encode()).hexdigest()


def recorded(asked: list[tuple[str, Any]]) -> list[str]:
    """Return requests without the ids in them."""
    lines = [
        f"{path} {'' if sent is None else json.dumps(sent, separators=(',', ':'))}".strip() for path, sent in asked
    ]
    return [_ID.sub("ID", line) for line in lines]


async def test_a_page_of_use_stream_holds_a_conversation(
    program: Path, serve: Serve, redis: Redis, model: ScriptedModel
) -> None:
    """With Agent Chat UI's requests an answer is seen once, while it streams and after a reload; then a follow-up."""
    script = Script(model)
    async with chatting(program, serve, f"&apiKey={KEY}", SUPPORT_API_KEYS=f"web:{digest(KEY)}") as chat:
        await chat.send("Is it SLOW?")
        await chat.shows("Is it SLOW?", "One moment ")
        script.release.set()
        await chat.shows("Is it SLOW?", "One moment please.")
        await expect(chat.threads).to_have_text(["Is it SLOW?"], timeout=PATIENCE)
        assert recorded(chat.asked) == AGENT_CHAT_UI
        before = await chat.ids()
        assert len(set(before)) == 2
        await chat.page.reload()
        await chat.shows("Is it SLOW?", "One moment please.")
        assert await chat.ids() == before
        await chat.send("And then?")
        await expect(chat.messages).to_have_count(4, timeout=PATIENCE)
        await chat.ends_with("Hello, world.")
        assert (await chat.ids())[:2] == before
        assert [text for _, text in model.of("answer")[-1].prompt[1:]] == [
            "Is it SLOW?",
            "One moment please.",
            "And then?",
        ]
        await expect(chat.threads).to_have_count(1)
        await expect(chat.error).to_have_count(0)


async def test_a_page_whose_connection_is_cut_reads_on(
    program: Path, serve: Serve, redis: Redis, model: ScriptedModel
) -> None:
    """The hook finds the run by the headers that it may read from another origin, and shows the rest of the answer."""
    script = Script(model)
    async with chatting(program, serve) as chat:
        await chat.send("Is it SLOW?")
        await chat.ends_with("One moment ")
        await chat.proxy.cut()
        await until(lambda: any(re.search(r"^GET .*/runs/.*/stream", path) for path, _ in chat.asked))
        script.release.set()
        await chat.shows("Is it SLOW?", "One moment please.")
        await expect(chat.error).to_have_count(0)


async def test_stopping_ends_the_run_unless_the_page_wants_it_to_go_on(
    program: Path, serve: Serve, redis: Redis, model: ScriptedModel
) -> None:
    """Stop cancels the run, which leaves nothing; the run of a stream that can be resumed goes on, and is kept."""
    script = Script(model)
    async with chatting(program, serve, "&cancel") as chat:
        await chat.send("Is it SLOW?")
        await chat.ends_with("One moment ")
        await chat.stop()
        await until(lambda: model.of("answer")[-1].cut is not None)
        await chat.send("Hello?")
        await chat.ends_with("Hello, world.")
        await chat.page.reload()
        await chat.shows("Hello?", "Hello, world.")
        assert told(model) == ["Hello?"]
    async with chatting(program, serve) as chat:
        await chat.send("Is it SLOW?")
        await chat.ends_with("One moment ")
        await chat.stop()
        script.release.set()
        await chat.send("Hello?")
        await chat.shows("Is it SLOW?", "One moment please.", "Hello?", "Hello, world.")
        await expect(chat.error).to_have_count(0)


async def test_a_page_that_is_reloaded_joins_its_run(
    program: Path, serve: Serve, redis: Redis, model: ScriptedModel
) -> None:
    """With `reconnectOnMount` the answer goes on after a reload, from its beginning, and Stop cancels it."""
    script = Script(model)
    async with chatting(program, serve, "&reconnect") as chat:
        await chat.send("Is it SLOW?")
        await chat.ends_with("One moment ")
        await chat.page.reload()
        await chat.shows("Is it SLOW?", "One moment ")
        script.release.set()
        await chat.shows("Is it SLOW?", "One moment please.")
        await expect(chat.page.locator("#send")).to_be_visible(timeout=PATIENCE)
        script.release.clear()
        await chat.send("Still SLOW?")
        await chat.ends_with("One moment ")
        await chat.stop()
        await until(lambda: model.of("answer")[-1].cut is not None)
        await chat.page.reload()
        await chat.shows("Is it SLOW?", "One moment please.")
        await expect(chat.error).to_have_count(0)
